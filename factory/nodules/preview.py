"""A picture of one case's new layouts: a slice through each new nodule, outlined on the CT."""

from collections.abc import Sequence
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from factory.axes import Triple
from factory.layouts import BACKGROUND, NODULE
from factory.nodules.new_layout import NewLayout, NewNodule
from factory.pictures import LUNG_WINDOW_HU, display_slice

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_NODULES = 5
"""Panels of a row; what further nodules a layout has is in its table."""

_PANEL_INCHES = 2.8
_LUNG_COLOUR, _NODULE_COLOUR = "#56b4e9", "#ffd21f"


def draw_preview(
    ct: NDArray[np.int16], spacing_mm: Triple, layouts: Sequence[tuple[str, NewLayout]]
) -> bytes:
    """Return a PNG with a row for each layout and a panel for each of its new nodules.

    A panel is the axial slice through the nodule's centre, anterior up and the patient's right on
    the viewer's left, in the lung window; lungs are outlined in blue, nodules in yellow.

    Args:
        ct: (z, y, x) HU.
        spacing_mm: Voxel size (z, y, x).
        layouts: Ids and layouts, top to bottom; at least one.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = min(MOST_NODULES, max(1, *(len(layout.placed) for _, layout in layouts)))
    height = ct.shape[1] * spacing_mm[1] / (ct.shape[2] * spacing_mm[2]) * _PANEL_INCHES + 0.5
    figure = Figure(figsize=(columns * _PANEL_INCHES, len(layouts) * height), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(layouts), columns, squeeze=False)
    for row, (layout_id, layout) in zip(panels, layouts, strict=True):
        row[0].set_ylabel(layout_id, fontsize=7)
        for panel, nodule in zip(row, layout.placed, strict=False):
            _draw(panel, ct, layout.layout, nodule, spacing_mm)
        for panel in row:
            panel.set_xticks([])
            panel.set_yticks([])
        for panel in row[len(layout.placed) :]:
            panel.set_frame_on(False)
    png = BytesIO()
    figure.savefig(png, format="png", dpi=110, metadata={"Software": None})
    return png.getvalue()


def _draw(
    panel: "Axes",
    ct: NDArray[np.int16],
    layout: NDArray[np.uint8],
    nodule: NewNodule,
    spacing_mm: Triple,
) -> None:
    z = nodule.center_zyx[0]
    low, high = LUNG_WINDOW_HU
    aspect = spacing_mm[1] / spacing_mm[2]
    picture = display_slice(ct, z)
    panel.imshow(picture, cmap="gray", vmin=low, vmax=high, aspect=aspect, interpolation="nearest")
    shown = display_slice(layout, z)
    _outline(panel, shown != BACKGROUND, _LUNG_COLOUR, 0.6)
    _outline(panel, shown == NODULE, _NODULE_COLOUR, 1.1)
    title = f"z {z}: {nodule.diameter_mm:.1f} mm, {nodule.attachment}\n{nodule.zone}"
    panel.set_title(title, fontsize=7)


def _outline(panel: "Axes", mask: NDArray[np.bool_], colour: str, width: float) -> None:
    if not mask.any():
        return
    # A rim of False lets the line close around what touches the slice's edge.
    y, x = (np.arange(-1, length + 1) for length in mask.shape)
    panel.set_autoscale_on(False)
    panel.contour(x, y, np.pad(mask, 1), levels=[0.5], colors=[colour], linewidths=[width])
