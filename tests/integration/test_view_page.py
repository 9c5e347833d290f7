"""The page of `factory view` in a browser: Chromium, and a server on loopback.

Skipped where there is no Chromium. FACTORY_CHROMIUM names another than those that are looked for.
"""

import base64
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
from browsers import check_contrast, running_browser, windowed
from mix_sources import AFFINE, SHAPE, case, drawn, make_source, nodules, volume_of
from PIL import Image

from factory.axes import ras_from_zyx
from jobs.view.catalog import open_catalog
from jobs.view.server import Server
from jobs.view.site import Site
from jobs.view.voxels import first_voxel

pytestmark = pytest.mark.slow

LUNG, MEDIASTINUM = (-600, 1500), (40, 400)
HOSTILE = "<img src=x onerror=\"document.title='broken'\"><script>alert(1)</script>"
NODULE = (1, 4, 6)
"""Voxel of the first volume's nodule."""

NUM_DRAWN = 60
TORN = 3
"""Which draw cannot be read."""

PLANES: dict[str, Callable[[np.ndarray, int], np.ndarray]] = {
    "axial": lambda volume, z: volume[z, ::-1, ::-1],
    "coronal": lambda volume, y: volume[::-1, y, ::-1],
    "sagittal": lambda volume, x: volume[::-1, ::-1, x],
}
"""As radiologists look at them: anterior or superior up, right or anterior on the left."""

Shown = tuple[str, dict[str, int]]


def rows() -> Iterator[dict[str, object]]:
    """Yield a donor, another, and draws of the first: accepted, one in ten to be reviewed."""
    yield case("A")
    yield case("B")
    center = list(ras_from_zyx(AFFINE, NODULE))
    for number in range(NUM_DRAWN):
        is_good = number % 10 != 5
        yield drawn(
            "A",
            number,
            seed_index=number,
            qc_verdict="accept" if is_good else "review",
            qc_reasons=[] if is_good else [f"{HOSTILE} seam {number}"],
            nodules=[nodules(6.0)[0] | {"center_ras_mm": center}] if number == 0 else [],
        )


def hu_of(number: int) -> np.ndarray:
    """Return the CT of a draw."""
    return volume_of(str(drawn("A", number)["work_id"])).ct


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("view") / "a <b> & %20 #1"
    make_source(path, "lake", rows())
    shutil.rmtree(path / "volumes" / f"{drawn('A', TORN)['work_id']}.ome.zarr")
    return path


@pytest.fixture(scope="module")
def server(lake: Path) -> Iterator[Server]:
    with Server(Site(open_catalog(str(lake))), 0) as running:
        Thread(target=running.serve_forever, args=(0.01,), daemon=True).start()
        yield running
        running.shutdown()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    yield from running_browser()


@dataclass
class Seen:
    """A page that is open, and what it did."""

    page: Any
    told: list[str] = field(default_factory=list)
    """Console messages and errors."""
    asked: list[str] = field(default_factory=list)
    """URLs that were asked for."""

    def do(self, action: Callable[[], object]) -> None:
        """Do something, and wait until it is painted."""
        action()
        self.page.evaluate(
            "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
        )

    def press(self, key: str) -> None:
        self.do(lambda: self.page.keyboard.press(key))

    def go(self, action: Callable[[], object], index: int) -> None:
        """Do something, and wait until a row is shown."""
        action()
        self.page.locator(f'html[data-drawn="{index}"]').wait_for(state="attached")
        self.page.locator("#shown:not([aria-busy])").wait_for(state="attached")
        self.do(lambda: None)

    def bare(self) -> None:
        """Leave nothing on the pictures but voxels and letters."""
        for name in ("overlay", "crosshair"):
            self.do(self.page.locator(f"#{name}").uncheck)

    def picture(self, plane: str, source: str = "volume") -> np.ndarray:
        """Return a canvas, a colour for each of its pixels."""
        url = self.page.locator(f"#{source}-{plane}").evaluate("one => one.toDataURL('image/png')")
        with Image.open(BytesIO(base64.b64decode(url.partition(",")[2]))) as picture:
            return np.asarray(picture.convert("RGB")).astype(np.float64)

    def voxels(self, plane: str, source: str = "volume") -> np.ndarray:
        """Return the colour in the middle of each voxel."""
        picture = self.picture(plane, source)
        rows, columns = PLANES[plane](np.zeros(SHAPE), 0).shape
        y = ((np.arange(rows) + 0.5) * picture.shape[0] / rows).astype(int)
        x = ((np.arange(columns) + 0.5) * picture.shape[1] / columns).astype(int)
        return picture[np.ix_(y, x)]

    def slide(self, plane: str, place: int, source: str = "volume") -> None:
        self.do(lambda: self.page.locator(f"#{source}-{plane}-slice").fill(str(place)))

    def text(self, selector: str) -> str:
        found: str = self.page.locator(selector).inner_text()
        return found

    def readout(self) -> tuple[int, tuple[float, ...], tuple[int, ...]]:
        """Return the HU, the RAS mm and the (z, y, x) under the crosshair."""
        told = self.text("#readout").replace("\u2212", "-")
        hu = int(re.match(r"(-?\d+) HU", told)[1])  # type: ignore[index]
        letters = re.findall(r"([RLAPSI]) (\d+\.\d)", told)
        ras = tuple(float(mm) * (1 if letter in "RAS" else -1) for letter, mm in letters)
        return hu, ras, tuple(int(one) for one in re.findall(r"[zyx] (\d+)", told))

    def titles(self) -> list[str]:
        return [
            text.splitlines()[0] for text in self.page.locator("#rows button").all_inner_texts()
        ]

    def matched(self, text: str) -> None:
        """Wait until the list says how many there are."""
        self.page.locator("#matched", has_text=text).wait_for()


@pytest.fixture
def open_page(browser: Any, server: Server) -> Iterator[Callable[..., Seen]]:
    contexts = []

    def opened(width: int = 1280, url: str = "", **settings: Any) -> Seen:
        context = browser.new_context(viewport={"width": width, "height": 900}, **settings)
        contexts.append(context)
        seen = Seen(context.new_page())
        seen.page.on("console", lambda message: seen.told.append(message.text))
        seen.page.on("pageerror", lambda error: seen.told.append(str(error)))
        seen.page.on("request", lambda request: seen.asked.append(request.url))
        seen.page.goto(url or server.url)
        seen.page.locator("html[data-ready]").wait_for(state="attached")
        seen.do(lambda: None)
        return seen

    yield opened
    for context in contexts:
        context.close()


@pytest.mark.parametrize("plane", PLANES)
def test_a_plane_shows_the_voxels_of_its_slice_in_the_window(
    open_page: Callable[..., Seen], plane: str
) -> None:
    seen = open_page()
    seen.bare()
    axis = list(PLANES).index(plane)
    for window, name in ((LUNG, "lung"), (MEDIASTINUM, "mediastinum")):
        seen.do(seen.page.locator(f"button[data-window={name}]").click)
        for place in range(SHAPE[axis]):
            seen.slide(plane, place)
            expected = windowed(PLANES[plane](hu_of(0), place), window)
            for channel in range(3):
                np.testing.assert_allclose(seen.voxels(plane)[..., channel], expected, atol=1)


def test_a_picture_is_as_wide_and_high_as_the_patient(open_page: Callable[..., Seen]) -> None:
    seen = open_page()
    millimetres = {"axial": (12.0, 12.0), "coronal": (12.0, 10.0), "sagittal": (12.0, 10.0)}
    for plane, (width, height) in millimetres.items():
        box = seen.page.locator(f"#volume-{plane}").bounding_box()
        assert box["width"] / box["height"] == pytest.approx(width / height, rel=0.02)


def test_next_and_previous_show_other_volumes_by_button_and_by_key(
    open_page: Callable[..., Seen],
) -> None:
    seen = open_page()
    seen.bare()
    pictures = {}
    for number in (0, 1, 2):
        seen.slide("axial", 1)
        expected = windowed(PLANES["axial"](hu_of(number), 1), LUNG)
        np.testing.assert_allclose(seen.voxels("axial")[..., 0], expected, atol=1)
        assert seen.text("#title") == f"A, draw {number}"
        assert seen.text("#status") == f"Row {number + 2}, {number + 1} of 60 in the list"
        pictures[number] = seen.picture("axial")
        if number < 2:
            step = [seen.page.locator("#next").click, lambda: seen.page.keyboard.press("n")][number]
            seen.go(step, number + 3)
    assert (pictures[0] != pictures[1]).any()
    seen.go(lambda: seen.page.keyboard.press("p"), 3)
    seen.go(seen.page.locator("#previous").click, 2)
    assert seen.page.locator("#previous").is_disabled()
    seen.press("p")
    assert seen.text("#title") == "A, draw 0"


def test_the_next_volume_may_be_in_the_next_piece_of_the_list(
    open_page: Callable[..., Seen], server: Server
) -> None:
    seen = open_page(url=f"{server.url}#row=51")
    assert len(seen.titles()) == 50
    assert seen.text("#status") == "Row 51, 50 of 60 in the list"
    seen.go(seen.page.locator("#next").click, 52)
    assert seen.text("#status") == "Row 52, 51 of 60 in the list"
    assert seen.text("#matched") == "51\u201360 of 60 volumes"
    seen.go(seen.page.locator("#previous").click, 51)
    assert seen.text("#matched") == "1\u201350 of 60 volumes"
    seen.page.locator("#later").click()
    seen.matched("51\u201360 of 60")
    seen.page.locator("#earlier").click()
    seen.matched("1\u201350 of 60")
    assert seen.page.locator("#earlier").is_disabled()


def test_the_list_is_filtered_by_kind_verdict_and_text(open_page: Callable[..., Seen]) -> None:
    seen = open_page()
    assert seen.text("#matched") == "1\u201350 of 60 volumes"
    seen.page.locator("#verdict").select_option("review")
    seen.matched("1\u20136 of 6 volumes")
    assert seen.titles() == [f"A, draw {number}" for number in (5, 15, 25, 35, 45, 55)]
    seen.page.locator("#text").fill("SEAM 3")
    seen.matched("1\u20131 of 1 volumes")
    assert seen.titles() == ["A, draw 35"]
    seen.go(seen.page.locator("#next").click, 37)
    assert "seam 35" in seen.text("#facts")
    seen.page.locator("#text").fill("no such thing")
    seen.matched("No volume matches")
    assert seen.page.locator("#next").is_disabled()
    seen.page.locator("#text").fill("")
    seen.page.locator("#verdict").select_option("")
    seen.page.locator("#kind").select_option("real")
    seen.matched("1\u20132 of 2 volumes")
    assert seen.titles() == ["A", "B"]


def test_letters_are_keys_but_not_where_somebody_types_or_wants_none(
    open_page: Callable[..., Seen],
) -> None:
    seen = open_page()
    seen.page.locator("#text").click()
    for key in "npobrc12":
        seen.press(key)
    assert seen.page.locator("#text").input_value() == "npobrc12"
    assert seen.text("#title") == "A, draw 0"
    assert seen.page.locator("#overlay").is_checked()
    seen.page.locator("#keys summary").click()
    seen.page.locator("#letters").uncheck()
    seen.press("o")
    assert seen.page.locator("#overlay").is_checked()
    seen.page.locator("#letters").check()
    seen.press("o")
    assert not seen.page.locator("#overlay").is_checked()


def test_the_layout_tints_lungs_and_nodules_as_strongly_as_is_asked(
    open_page: Callable[..., Seen],
) -> None:
    seen = open_page()
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
    open_page: Callable[..., Seen],
) -> None:
    seen = open_page()
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


def test_a_click_reads_hu_and_millimetres_of_the_voxel(open_page: Callable[..., Seen]) -> None:
    seen = open_page()
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
    open_page: Callable[..., Seen],
) -> None:
    seen = open_page()
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
    open_page: Callable[..., Seen],
) -> None:
    seen = open_page()
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


def test_the_crosshair_crosses_at_the_voxel_and_hides_none(open_page: Callable[..., Seen]) -> None:
    seen = open_page()
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


def test_a_click_on_a_nodule_goes_there(open_page: Callable[..., Seen]) -> None:
    seen = open_page()
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
    open_page: Callable[..., Seen],
) -> None:
    seen = open_page()
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


def test_a_torn_volume_is_told_and_stops_nothing(open_page: Callable[..., Seen]) -> None:
    seen = open_page()
    for index in (3, 4, TORN + 2):
        seen.go(seen.page.locator("#next").click, index)
    trouble = seen.page.locator("#trouble")
    assert trouble.is_visible()
    assert "This volume cannot be shown: volume " in trouble.inner_text()
    assert not seen.page.locator("#volume").is_visible()
    assert seen.page.locator("#reference").is_visible()
    first = tuple(first_voxel(volume_of("A").layout))
    donor_hu = str(volume_of("A").ct[first]).replace("-", "\u2212")
    assert seen.text("#readout").startswith(f"reference {donor_hu} HU")
    seen.go(seen.page.locator("#next").click, TORN + 3)
    assert not trouble.is_visible()
    assert seen.page.locator("#volume").is_visible()
    assert not seen.page.locator("#reference").is_visible()
    # Chromium itself tells of the answer 422.
    assert [text for text in seen.told if "422" not in text] == []


def test_texts_of_a_manifest_stay_texts(open_page: Callable[..., Seen], server: Server) -> None:
    seen = open_page(url=f"{server.url}#row=7")
    assert HOSTILE in seen.text("#facts")
    assert seen.page.locator("#facts img, #facts script").count() == 0
    assert seen.page.title() == "a <b> & %20 #1 \u2013 factory view"
    assert seen.text("h1") == "a <b> & %20 #1"
    assert seen.told == []


def test_nothing_is_asked_of_another_host_and_the_console_is_empty(
    open_page: Callable[..., Seen], server: Server
) -> None:
    seen = open_page()
    seen.go(seen.page.locator("#next").click, 3)
    for key in ("b", "2", "o", "c", "r"):
        seen.press(key)
    seen.page.locator("#text").fill("A")
    seen.matched("60 volumes")
    others = [url for url in seen.asked if not url.startswith((server.url, "data:"))]
    assert others == []
    assert seen.told == []


def test_a_page_that_is_loaded_again_shows_the_same_volume(open_page: Callable[..., Seen]) -> None:
    seen = open_page()
    seen.go(seen.page.locator("#next").click, 3)
    seen.page.reload()
    seen.page.locator("html[data-ready]").wait_for(state="attached")
    assert seen.text("#title") == "A, draw 1"
    assert seen.text("#status") == "Row 3, 2 of 60 in the list"


def test_an_address_of_a_row_that_the_list_leaves_out_shows_it_all_the_same(
    open_page: Callable[..., Seen], server: Server
) -> None:
    seen = open_page(url=f"{server.url}#row=1")
    assert seen.text("#title") == "B"
    assert seen.text("#status") == "Row 1, 2 of 62 in the list"
    assert open_page(url=f"{server.url}#row=999").text("#title") == "A, draw 0"


def test_a_server_that_has_ended_is_told_with_the_way_out(
    open_page: Callable[..., Seen], lake: Path
) -> None:
    with Server(Site(open_catalog(str(lake))), 0) as own:
        Thread(target=own.serve_forever, args=(0.01,), daemon=True).start()
        seen = open_page(url=own.url)
        own.shutdown()
    seen.page.locator("#next").click()
    seen.page.locator("#trouble", has_text="Run factory view again").wait_for()


def test_the_keyboard_alone_reaches_all_of_it(open_page: Callable[..., Seen]) -> None:
    seen = open_page()
    order = []
    for _ in range(60):
        seen.page.keyboard.press("Tab")
        order.append(
            seen.page.evaluate(
                "(({ id, dataset, innerText }) => id || dataset.index || innerText)(document.activeElement)"
            )
        )
        outline = seen.page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline in ("solid", "auto"), order[-1]
        if order[-1] == "volume-sagittal-slice":
            break
    assert order[0] == "Skip to the volume"
    assert order[1:5] == ["kind", "verdict", "text", "2"]
    wanted = ["later", "next", "overlay", "opacity", "crosshair", "volume-axial"]
    assert [name for name in order if name in wanted] == wanted
    seen.page.locator("#rows button[aria-current]").focus()
    seen.go(lambda: seen.page.keyboard.press("ArrowDown"), 3)
    seen.page.locator("#rows button[data-index='3']:focus").wait_for()
    seen.go(lambda: seen.page.keyboard.press("ArrowUp"), 2)


@pytest.mark.parametrize("width", [1280, 400])
def test_the_page_is_as_wide_as_the_window(open_page: Callable[..., Seen], width: int) -> None:
    seen = open_page(width)
    for key in ("v", "b"):
        seen.press(key)
        for details in seen.page.locator("details").all():
            details.evaluate("one => { one.open = true; }")
        assert seen.page.evaluate("document.documentElement.scrollWidth") == width
        beyond = seen.page.evaluate(
            "[...document.querySelectorAll('body *')].filter(one => !one.closest('.skip, #rows')"
            f" && one.getBoundingClientRect().right > {width} + 1).map(one => one.outerHTML.slice(0, 80))"
        )
        assert beyond == []
        for canvas in seen.page.locator("canvas:visible").all():
            assert canvas.bounding_box()["width"] > 100


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_stand_out_from_what_is_behind_them(
    open_page: Callable[..., Seen], scheme: str
) -> None:
    check_contrast(open_page(color_scheme=scheme).page)


def test_every_control_has_a_name(open_page: Callable[..., Seen]) -> None:
    seen = open_page()
    seen.press("b")
    seen.page.locator("#keys summary").click()
    nameless = seen.page.evaluate(
        "[...document.querySelectorAll('button, select, input, canvas')].filter(one => !(one.innerText || "
        "one.getAttribute('aria-label') || [...(one.labels || [])].some(label => label.innerText.trim())))"
        ".map(one => one.outerHTML)"
    )
    assert nameless == []


def test_a_page_without_scripts_says_what_is_missing(browser: Any, server: Server) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(server.url)
    assert "Volumes need JavaScript" in page.locator("noscript").inner_text()
    context.close()
