from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from factory.errors import CaseError, UsageError
from factory.layouts import LUNG, NODULE
from factory.pictures import ComparisonRow, comparison_figure, display_slice, slice_index


@pytest.fixture
def row() -> ComparisonRow:
    layout = np.zeros((8, 20, 30), dtype=np.uint8)
    layout[2:7, 4:16, 4:26] = LUNG
    layout[4:6, 8:11, 8:11] = NODULE
    reference = np.full(layout.shape, -1000, dtype=np.int16)
    return ComparisonRow("LIDC-0042, seed 3", reference, layout, reference + 100, (5.0, 2.0, 2.0))


def _pixels(path: Path) -> NDArray[np.float32]:
    from matplotlib.image import imread

    return np.asarray(imread(path))[..., :3]


def test_slice_goes_through_the_largest_nodule_at_its_widest() -> None:
    layout = np.zeros((12, 16, 16), dtype=np.uint8)
    layout[:, 1:15, 1:15] = LUNG
    layout[1:3, 2:8, 2:8] = NODULE
    layout[5:12, 10:14, 10:14] = NODULE
    layout[9, 9:15, 9:15] = NODULE

    assert slice_index(layout) == 9


def test_slice_is_the_middle_one_of_equally_wide_ones() -> None:
    layout = np.zeros((12, 6, 6), dtype=np.uint8)
    layout[3:8, 2:4, 2:4] = NODULE

    assert slice_index(layout) == 5


def test_nodule_that_touches_itself_only_at_corners_counts_as_one() -> None:
    layout = np.zeros((10, 10, 10), dtype=np.uint8)
    layout[1, 1, 1:4] = NODULE
    for step in range(4):
        layout[5, 2 + step, 2 + step] = NODULE

    assert slice_index(layout) == 5


def test_slice_without_a_nodule_shows_most_lung_and_without_lungs_the_middle_of_the_volume() -> (
    None
):
    layout = np.zeros((20, 4, 4), dtype=np.uint8)
    assert slice_index(layout) == 10

    layout[13:18, 1:3, 1:3] = LUNG
    assert slice_index(layout) == 15

    layout[17, 1:4, 1:4] = LUNG
    assert slice_index(layout) == 17


def test_anterior_is_up_and_the_right_of_the_patient_is_on_the_left_of_the_viewer() -> None:
    volume = np.zeros((3, 4, 5), dtype=np.int16)
    volume[1, 3, 4] = 7  # RAS: greatest y is anterior, greatest x is the patient's right.
    volume[1, 0, 4] = 8

    shown = display_slice(volume, 1)

    assert shown[0, 0] == 7
    assert shown[3, 0] == 8


def test_file_shows_the_right_anterior_corner_at_the_top_left(
    row: ComparisonRow, tmp_path: Path
) -> None:
    synthetic = row.reference_hu.copy()
    synthetic[:, 15:, 24:] = 600
    comparison_figure([replace(row, synthetic_hu=synthetic)], tmp_path / "a.png")

    pixels = _pixels(tmp_path / "a.png")
    # The fourth panel is red where the synthetic volume is denser than the reference.
    width = pixels.shape[1]
    panel = pixels[:, int(0.72 * width) : int(0.93 * width)]
    red = (panel[..., 0] > 0.3) & (panel[..., 1] < 0.1)
    not_white = panel.min(axis=-1) < 0.9
    frame_y, frame_x = np.nonzero(not_white)
    y, x = np.nonzero(red)
    assert red.sum() > 500
    assert y.mean() < (frame_y.min() + frame_y.max()) / 2
    assert x.mean() < (frame_x.min() + frame_x.max()) / 2


def test_pixels_that_are_taller_than_wide_are_drawn_so(row: ComparisonRow, tmp_path: Path) -> None:
    def red_height_over_width(spacing_mm: tuple[float, float, float]) -> float:
        synthetic = row.reference_hu.copy()
        synthetic[:, 5:15, 10:20] = 600
        path = tmp_path / "aspect.png"
        comparison_figure([replace(row, synthetic_hu=synthetic, spacing_mm=spacing_mm)], path)
        pixels = _pixels(path)
        y, x = np.nonzero((pixels[..., 0] > 0.3) & (pixels[..., 1] < 0.1) & (pixels[..., 2] < 0.2))
        inside = x < 0.93 * pixels.shape[1]  # without the colour bar
        return float(np.ptp(y[inside]) / np.ptp(x[inside]))

    assert red_height_over_width((5.0, 2.0, 2.0)) == pytest.approx(1.0, abs=0.05)
    assert red_height_over_width((5.0, 3.0, 2.0)) == pytest.approx(1.5, abs=0.08)


def test_difference_does_not_wrap_round_at_the_ends_of_int16(
    row: ComparisonRow, tmp_path: Path
) -> None:
    low = np.full_like(row.reference_hu, -32768)
    high = np.full_like(row.reference_hu, 32767)
    comparison_figure([replace(row, reference_hu=low, synthetic_hu=high)], tmp_path / "a.png")

    pixels = _pixels(tmp_path / "a.png")
    height, width = pixels.shape[:2]
    middle = pixels[height // 2, int(0.82 * width)]
    assert middle[0] > 0.3
    assert middle[2] < 0.2


def test_nodule_is_outlined_so_that_colour_is_not_needed(
    row: ComparisonRow, tmp_path: Path
) -> None:
    flat = np.full_like(row.reference_hu, -600)
    comparison_figure([replace(row, reference_hu=flat, synthetic_hu=flat)], tmp_path / "a.png")

    pixels = _pixels(tmp_path / "a.png")
    width = pixels.shape[1]
    panel = pixels[:, int(0.27 * width) : int(0.47 * width)]
    yellow = (panel[..., 0] > 0.9) & (panel[..., 1] > 0.75) & (panel[..., 2] < 0.3)
    assert yellow.sum() > 40


def test_bar_has_the_length_that_it_says(row: ComparisonRow, tmp_path: Path) -> None:
    """A slice of 150 mm has one of 20 mm: a longer one would take more than a quarter of it."""
    black = np.full_like(row.reference_hu, -2000)
    wide = replace(row, reference_hu=black, synthetic_hu=black, spacing_mm=(5.0, 5.0, 5.0))
    comparison_figure([wide], tmp_path / "a.png")

    pixels = _pixels(tmp_path / "a.png")
    grey = pixels.mean(axis=-1)
    is_dark = (grey < 0.05).mean(axis=0) > 0.5
    start = int(is_dark.argmax())
    panel = grey[:, start : start + int(is_dark[start:].argmin())]
    lower = panel[panel.shape[0] // 2 :]
    of_air = lower[(lower[:, -20:] < 0.05).all(axis=1)]
    length = int((of_air > 0.9).sum(axis=1).max())
    assert length == pytest.approx(20 / 150 * panel.shape[1], abs=3)


def test_panels_say_what_the_reference_is(
    row: ComparisonRow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    titles: list[str] = []
    monkeypatch.setattr("matplotlib.axes.Axes.set_title", lambda _, text, **__: titles.append(text))
    comparison_figure([replace(row, reference_name="real scan")], tmp_path / "a.png")

    assert titles == [
        "real scan, lung window -1350 to 150 HU",
        "layout at z = 5: lung blue, nodule outlined",
        "synthetic, lung window -1350 to 150 HU",
        "synthetic minus real scan, HU",
    ]


def test_same_rows_give_the_same_file(row: ComparisonRow, tmp_path: Path) -> None:
    comparison_figure([row, row], tmp_path / "new" / "a.png")
    comparison_figure([row, row], tmp_path / "b.png")

    assert (tmp_path / "new" / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_layout_without_labels_is_drawn(row: ComparisonRow, tmp_path: Path) -> None:
    comparison_figure([replace(row, layout=np.zeros_like(row.layout))], tmp_path / "a.png")

    assert (tmp_path / "a.png").stat().st_size > 5_000


def test_volumes_on_two_grids_name_the_row_and_both_shapes(row: ComparisonRow) -> None:
    with pytest.raises(
        CaseError,
        match=r"case LIDC-0042, seed 3: reference \(8, 20, 30\), layout \(8, 20, 30\) and "
        r"synthetic \(7, 20, 30\) must share one .* grid .*Resample",
    ):
        replace(row, synthetic_hu=row.synthetic_hu[1:])


def test_no_rows_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none\.png cannot be drawn: found 0 volumes"):
        comparison_figure([], tmp_path / "none.png")
