"""The pictures of `factory view` in a browser: voxels, tints and crosshair, and what a click on them reads."""

from collections.abc import Callable

import numpy as np
import pytest
from browsers import windowed
from mix_sources import AFFINE, SHAPE, drawn, volume_of
from view_pages import LUNG, MEDIASTINUM, NODULE, PLANES, SeenView, hu_of

from factory.axes import ras_from_zyx

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("plane", PLANES)
def test_a_plane_shows_the_voxels_of_its_slice_in_the_window(
    open_view: Callable[..., SeenView], plane: str
) -> None:
    seen = open_view()
    seen.bare()
    axis = list(PLANES).index(plane)
    for window, name in ((LUNG, "lung"), (MEDIASTINUM, "mediastinum")):
        seen.do(seen.page.locator(f"button[data-window={name}]").click)
        for place in range(SHAPE[axis]):
            seen.slide(plane, place)
            expected = windowed(PLANES[plane](hu_of(0), place), window)
            for channel in range(3):
                np.testing.assert_allclose(seen.voxels(plane)[..., channel], expected, atol=1)


def test_a_picture_is_as_wide_and_high_as_the_patient(open_view: Callable[..., SeenView]) -> None:
    seen = open_view()
    millimetres = {"axial": (12.0, 12.0), "coronal": (12.0, 10.0), "sagittal": (12.0, 10.0)}
    for plane, (width, height) in millimetres.items():
        box = seen.page.locator(f"#volume-{plane}").bounding_box()
        assert box["width"] / box["height"] == pytest.approx(width / height, rel=0.02)


def test_the_layout_tints_lungs_and_nodules_as_strongly_as_is_asked(
    open_view: Callable[..., SeenView],
) -> None:
    seen = open_view()
    seen.do(seen.page.locator("#crosshair").uncheck)
    seen.slide("axial", 2)
    layout = PLANES["axial"](volume_of(str(drawn("A", 0)["work_id"])).layout, 2)
    grey = windowed(PLANES["axial"](hu_of(0), 2), LUNG)
    tints = {1: (0, 115, 178), 2: (230, 158, 0)}
    for percent in (0, 40, 100):
        seen.do(lambda percent=percent: seen.page.locator("#opacity").fill(str(percent)))
        found = seen.voxels("axial")
        for label in (0, 1, 2):
            for channel in range(3):
                share = percent / 100 if label else 0.0
                tint = tints.get(label, (0, 0, 0))[channel]
                expected = grey + (tint - grey) * share
                is_label = layout == label
                np.testing.assert_allclose(
                    found[..., channel][is_label], expected[is_label], atol=1.5
                )
    before = seen.picture("axial")
    seen.press("o")
    assert not seen.page.locator("#overlay").is_checked()
    np.testing.assert_allclose(seen.voxels("axial")[..., 0], grey, atol=1)
    seen.do(seen.page.locator("#overlay").check)
    np.testing.assert_array_equal(seen.picture("axial"), before)


def test_a_nodule_has_an_outline_along_the_edges_of_its_voxels(
    open_view: Callable[..., SeenView],
) -> None:
    seen = open_view()
    seen.do(seen.page.locator("#crosshair").uncheck)
    seen.slide("axial", 2)
    nodule = PLANES["axial"](volume_of(str(drawn("A", 0)["work_id"])).layout, 2) == 2
    picture = seen.picture("axial")
    step_y, step_x = picture.shape[0] / nodule.shape[0], picture.shape[1] / nodule.shape[1]
    across = np.argwhere(nodule[:, 1:] != nodule[:, :-1])
    assert len(across) > 1
    for y, x in across:
        edge = picture[int((y + 0.5) * step_y), round((x + 1) * step_x)]
        np.testing.assert_allclose(edge, (255, 210, 31), atol=60)


def test_a_click_reads_hu_and_millimetres_of_the_voxel(open_view: Callable[..., SeenView]) -> None:
    seen = open_view()
    seen.slide("axial", 1)
    canvas = seen.page.locator("#volume-axial")
    box = canvas.bounding_box()
    # Fourth column from the patient's right, second row from anterior.
    spot = {"x": box["width"] * 3.5 / 8, "y": box["height"] * 1.5 / 6}
    seen.do(lambda: canvas.click(position=spot))
    hu, ras, voxel = seen.readout()
    assert voxel == (1, 4, 4)
    assert hu == hu_of(0)[1, 4, 4]
    assert ras == pytest.approx(ras_from_zyx(AFFINE, (1.0, 4.0, 4.0)), abs=0.051)
    assert f"reference {volume_of('A').ct[1, 4, 4]}".replace("-", "\u2212") in seen.text("#readout")


def test_each_arrow_key_moves_towards_the_letter_on_that_side(
    open_view: Callable[..., SeenView],
) -> None:
    seen = open_view()
    signs = {"R": (0, 1), "L": (0, -1), "A": (1, 1), "P": (1, -1), "S": (2, 1), "I": (2, -1)}
    keys = ("ArrowUp", "ArrowDown", "ArrowLeft", "ArrowRight")
    for plane in PLANES:
        for key, letter in zip(
            keys, seen.page.evaluate(f"Planes.PLANES.{plane}.sides"), strict=True
        ):
            seen.slide("axial", 1)
            seen.slide("coronal", 2)
            seen.slide("sagittal", 3)
            seen.page.locator(f"#volume-{plane}").focus()
            before = seen.readout()[1]
            seen.press(key)
            moved = [round(b - a, 1) for a, b in zip(before, seen.readout()[1], strict=True)]
            axis, sign = signs[letter]
            assert moved[axis] * sign > 0, (plane, key, letter)
            assert sum(map(bool, moved)) == 1
    assert seen.page.evaluate("Planes.PLANES.axial.sides.join('')") == "APRL"
    assert seen.page.evaluate("Planes.PLANES.coronal.sides.join('')") == "SIRL"
    assert seen.page.evaluate("Planes.PLANES.sagittal.sides.join('')") == "SIAP"


def test_page_keys_and_the_wheel_move_through_slices_and_stop_at_the_last(
    open_view: Callable[..., SeenView],
) -> None:
    seen = open_view()
    seen.slide("coronal", 2)
    seen.page.locator("#volume-coronal").focus()
    seen.press("PageUp")
    assert seen.readout()[2][1] == 3
    seen.page.locator("#volume-coronal").hover()
    seen.do(lambda: seen.page.mouse.wheel(0, 100))
    seen.page.locator("#volume-coronal-slice[aria-valuetext^='coronal y = 2']").wait_for()
    for _ in range(9):
        seen.press("PageDown")
    assert seen.readout()[2][1] == 0
    assert seen.page.locator("#volume-coronal-slice").input_value() == "0"


def test_the_crosshair_crosses_at_the_voxel_and_hides_none(
    open_view: Callable[..., SeenView],
) -> None:
    seen = open_view()
    seen.do(seen.page.locator("#overlay").uncheck)
    with_it = seen.picture("axial")
    middle = seen.voxels("axial")
    seen.press("c")
    without = seen.picture("axial")
    _, y, x = seen.readout()[2]
    row, column = SHAPE[1] - 1 - y, SHAPE[2] - 1 - x
    changed = (with_it != without).any(axis=-1)
    assert changed[int((row + 0.5) * changed.shape[0] / SHAPE[1])].mean() > 0.8
    assert changed[:, int((column + 0.5) * changed.shape[1] / SHAPE[2])].mean() > 0.8
    assert (middle[row, column] == seen.voxels("axial")[row, column]).all()
    assert changed.mean() < 0.05


def test_a_click_on_a_nodule_goes_there(open_view: Callable[..., SeenView]) -> None:
    seen = open_view()
    seen.slide("axial", 3)
    button = seen.page.get_by_role("button", name="Nodule 1, 6.0 mm")
    seen.do(button.click)
    hu, ras, voxel = seen.readout()
    assert voxel == NODULE
    assert hu == hu_of(0)[NODULE]
    assert ras == pytest.approx(ras_from_zyx(AFFINE, NODULE), abs=0.051)
    for axis, plane in enumerate(PLANES):
        assert seen.page.locator(f"#volume-{plane}-slice").input_value() == str(NODULE[axis])


def test_the_donor_is_shown_beside_or_instead_on_the_same_slices(
    open_view: Callable[..., SeenView],
) -> None:
    seen = open_view()
    seen.bare()
    seen.do(seen.page.locator("button[data-source=both]").click)
    seen.slide("coronal", 3)
    for source, hu in (("volume", hu_of(0)), ("reference", volume_of("A").ct)):
        expected = windowed(PLANES["coronal"](hu, 3), LUNG)
        np.testing.assert_allclose(seen.voxels("coronal", source)[..., 0], expected, atol=1)
    seen.press("r")
    assert seen.page.locator("#reference").is_visible()
    assert not seen.page.locator("#volume").is_visible()
    seen.press("r")
    assert not seen.page.locator("#reference").is_visible()
    seen.page.locator("#kind").select_option("real")
    seen.matched("2 volumes")
    seen.go(seen.page.locator("#rows button").nth(1).click, 1)
    assert seen.page.locator("button[data-source=both]").is_disabled()
    seen.press("b")
    assert seen.page.locator("#volume").is_visible()
    assert not seen.page.locator("#reference").is_visible()
    seen.page.locator("#kind").select_option("synthetic")
    seen.matched("60 volumes")
    seen.go(seen.page.locator("#next").click, 2)
    seen.press("b")
    assert seen.page.locator("#reference").is_visible()
    seen.go(seen.page.locator("#next").click, 3)
    assert seen.page.locator("#reference").is_visible()
