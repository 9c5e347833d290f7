"""Pictures that put a synthetic CT beside the scan it was drawn from."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from factory.errors import CaseError, UsageError
from factory.layouts import BACKGROUND, LUNG, NODULE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage

LUNG_WINDOW_HU = (-1350.0, 150.0)
"""Lung window, level -600 and width 1500."""

DIFFERENCE_HU = 500.0
"""End of the difference scale; fixed, so that pictures of two runs can be compared."""

# Okabe and Ito's blue and orange differ in lightness too, so they survive a grey print.
_TINT = {LUNG: (0.00, 0.45, 0.70), NODULE: (0.90, 0.62, 0.00)}
_TINT_SHARE = 0.4
_PANEL_INCHES = 3.2
_BARS_MM = (100, 50, 20, 10, 5, 2, 1)
_LONGEST_BAR = 0.25
"""Of a panel's width."""


@dataclass(frozen=True, slots=True)
class ComparisonRow:
    """One volume of a comparison; all arrays are (z, y, x) in RAS orientation."""

    title: str
    """Case id and seed, as the picture shall name them."""

    reference_hu: NDArray[np.int16]
    """The real scan, in HU."""

    layout: NDArray[np.uint8]
    """0 background, 1 lung, 2 nodule, on the grid of the scan."""

    synthetic_hu: NDArray[np.int16]
    """The volume that was drawn from the layout, in HU."""

    spacing_mm: tuple[float, float, float]
    """Voxel spacing (z, y, x) in mm."""

    reference_name: str = "reference"
    """What the picture calls the reference: `real scan` where it is one, for a phantom is none."""

    def __post_init__(self) -> None:
        shapes = {self.reference_hu.shape, self.layout.shape, self.synthetic_hu.shape}
        if len(shapes) > 1 or self.layout.ndim != 3:
            raise CaseError(
                self.title,
                f"reference {self.reference_hu.shape}, layout {self.layout.shape} and synthetic "
                f"{self.synthetic_hu.shape} must share one (z, y, x) grid to be compared. "
                "Resample them onto the reference's grid.",
            )


def slice_index(layout: NDArray[np.uint8]) -> int:
    """Return the z index that shows most: through the largest nodule, else through most lung.

    Args:
        layout: (z, y, x) uint8, 0 background, 1 lung, 2 nodule.

    Returns:
        The slice where the largest connected nodule has its greatest area; without a
        nodule, where the lungs have theirs; without lungs, the middle of the volume. Of
        equals it is the middle one.
    """
    areas = _largest_nodule(layout).sum(axis=(1, 2))
    if not areas.any():
        areas = (layout != BACKGROUND).sum(axis=(1, 2))
    candidates = np.flatnonzero(areas == areas.max())
    return int(candidates[len(candidates) // 2])


def display_slice(volume: NDArray[Any], z: int) -> NDArray[Any]:
    """Return axial slice `z` as radiologists look at it, from the feet.

    Row 0 is anterior and column 0 is the patient's right. RAS axes grow towards
    anterior and towards the patient's right, so both are turned round.
    """
    return volume[z, ::-1, ::-1]


def comparison_figure(rows: Sequence[ComparisonRow], path: Path) -> None:
    """Write a PNG with one row per volume: reference, layout, synthetic, difference.

    Each row shows the axial slice of `slice_index`, in the lung window -600/1500 HU;
    the difference is synthetic minus reference, in HU. Anterior is up and the
    patient's right is on the viewer's left; a bar has the length that it says. The same
    rows give the same bytes.

    Args:
        rows: The volumes, top to bottom.
        path: PNG to write; its folder is made when missing.

    Raises:
        UsageError: There are no rows.
    """
    if not rows:
        raise UsageError(
            f"{path} cannot be drawn: found 0 volumes to compare, expected at least 1. "
            "Pass one ComparisonRow per volume."
        )
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    size_inches = (4 * _PANEL_INCHES + 1.2, sum(_row_inches(row) for row in rows) + 0.6)
    figure = Figure(figsize=size_inches, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(
        len(rows), 4, squeeze=False, height_ratios=[_row_inches(row) for row in rows]
    )
    for axes, row in zip(panels, rows, strict=True):
        difference = _draw_row(axes, row)
        figure.colorbar(difference, ax=axes[3], label="HU", extend="both", shrink=0.85)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, format="png", dpi=110, metadata={"Software": None})


def _largest_nodule(layout: NDArray[np.uint8]) -> NDArray[np.bool_]:
    nodules, num_nodules = ndimage.label(layout == NODULE, structure=np.ones((3, 3, 3)))
    if not num_nodules:
        return np.zeros(layout.shape, dtype=np.bool_)
    num_voxels = np.bincount(nodules.ravel())[1:]
    largest: NDArray[np.bool_] = nodules == 1 + int(num_voxels.argmax())
    return largest


def _row_inches(row: ComparisonRow) -> float:
    """Return the height of a row whose panels are `_PANEL_INCHES` wide."""
    _, num_y, num_x = row.layout.shape
    _, y_mm, x_mm = row.spacing_mm
    height_over_width: float = (num_y * y_mm) / (num_x * x_mm)
    return _PANEL_INCHES * height_over_width + 0.35


def _draw_row(axes: NDArray[Any], row: ComparisonRow) -> "AxesImage":
    z = slice_index(row.layout)
    reference = display_slice(row.reference_hu, z)
    synthetic = display_slice(row.synthetic_hu, z)
    layout = display_slice(row.layout, z)
    aspect = row.spacing_mm[1] / row.spacing_mm[2]
    low, high = LUNG_WINDOW_HU
    window = f"lung window {low:.0f} to {high:.0f} HU"

    grey: dict[str, Any] = {"cmap": "gray", "vmin": low, "vmax": high, "aspect": aspect}
    axes[0].imshow(reference, interpolation="nearest", **grey)
    axes[1].imshow(_tinted(reference, layout), interpolation="nearest", aspect=aspect)
    _outline(axes[1], layout == NODULE)
    axes[2].imshow(synthetic, interpolation="nearest", **grey)
    # float32 first: int16 differences of extreme HU wrap round.
    difference: AxesImage = axes[3].imshow(
        synthetic.astype(np.float32) - reference,
        interpolation="nearest",
        cmap="RdBu_r",
        vmin=-DIFFERENCE_HU,
        vmax=DIFFERENCE_HU,
        aspect=aspect,
    )

    axes[0].set_ylabel(row.title)
    names = (
        f"{row.reference_name}, {window}",
        f"layout at z = {z}: lung blue, nodule outlined",
        f"synthetic, {window}",
        f"synthetic minus {row.reference_name}, HU",
    )
    for panel, name in zip(axes, names, strict=True):
        panel.set_title(name, fontsize=9)
        panel.set_xticks([])
        panel.set_yticks([])
    _mark_sides(axes[0])
    _mark_length(axes[0], reference.shape[1], row.spacing_mm[2])
    return difference


def _tinted(reference: NDArray[np.int16], layout: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return the (y, x, 3) windowed slice with the layout's colours laid over it."""
    low, high = LUNG_WINDOW_HU
    grey = np.clip((reference.astype(np.float64) - low) / (high - low), 0.0, 1.0)
    picture = np.repeat(grey[..., np.newaxis], 3, axis=-1)
    for label, tint in _TINT.items():
        inside = layout == label
        picture[inside] = (1.0 - _TINT_SHARE) * picture[inside] + _TINT_SHARE * np.array(tint)
    return picture


def _outline(axes: "Axes", mask: NDArray[np.bool_]) -> None:
    if not mask.any():
        return
    # A rim of False lets the line close around a nodule that touches the slice's edge.
    rimmed = np.pad(mask, 1)
    y, x = (np.arange(-1, length + 1) for length in mask.shape)
    axes.set_autoscale_on(False)
    axes.contour(x, y, rimmed, levels=[0.5], colors=["black"], linewidths=[2.6])
    axes.contour(x, y, rimmed, levels=[0.5], colors=["#ffd21f"], linewidths=[1.2])


def _mark_sides(axes: "Axes") -> None:
    for letter, x in (("R", 0.04), ("L", 0.96)):
        _write(axes, x, 0.93, letter, ha="center", va="center")


def _mark_length(axes: "Axes", num_x: int, x_mm: float) -> None:
    """Draw a bar of a round number of millimetres, with its length."""
    most_mm = _LONGEST_BAR * num_x * x_mm
    length_mm = next((mm for mm in _BARS_MM if mm <= most_mm), _BARS_MM[-1])
    start, end = 0.04, 0.04 + length_mm / (num_x * x_mm)
    # The white line ends where it says, and the black one beyond.
    for color, width, cap in (("black", 5.0, "projecting"), ("white", 2.5, "butt")):
        look: dict[str, Any] = {"color": color, "linewidth": width, "solid_capstyle": cap}
        axes.plot((start, end), (0.05, 0.05), transform=axes.transAxes, **look)
    _write(axes, start, 0.08, f"{length_mm} mm", fontsize=8)


def _write(axes: "Axes", x: float, y: float, text: str, **look: Any) -> None:
    """Write in white with a black edge, which is read on air and on bone; (0, 0) is the lower left."""
    from matplotlib.patheffects import withStroke

    edge = [withStroke(linewidth=2.0, foreground="black")]
    axes.text(x, y, text, color="white", path_effects=edge, transform=axes.transAxes, **look)
