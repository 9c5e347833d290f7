"""What placing nodules needs to know of one case's lungs, computed once.

layout --closed--> lungs without their gaps --> depth, pleura      CT --> vessels      --> zones
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from factory.axes import Triple
from factory.layouts import BACKGROUND, LUNG
from factory.nodules.measure import TOUCHING
from factory.nodules.place import depth_within
from factory.nodules.rules import LayoutsConfig
from factory.nodules.vessels import find_vessels
from factory.nodules.zones import LEFT, RIGHT, mediastinum_of, sides_of, thirds_of

_CLOSING_MM = 10.0
"""Gaps of the lungs narrower than twice this are theirs: vessels and airways that a mask leaves out."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class LungMap:
    """One case's lungs; all arrays are (z, y, x)."""

    layout: NDArray[np.uint8]
    """Labels, with the nodules that the case has."""

    spacing: NDArray[np.float64]
    """(3,) voxel size (z, y, x) in mm."""

    lung: NDArray[np.bool_]
    """Voxels labelled lung: all that new nodules may take."""

    inner_mm: NDArray[np.float64]
    """Distance of lung and nodules to all else: gaps and the grid's edge count."""

    inner: NDArray[np.bool_]
    """Voxels of lung of which no neighbour (of 26) is anything but lung or nodule."""

    pleura_mm: NDArray[np.float64]
    """Distance to what lies outside the closed lungs, 0 there; gaps and the grid's edge do not count."""

    pleura: NDArray[np.bool_]
    """Voxels of lung with a face on what lies outside the closed lungs."""

    vessels: NDArray[np.bool_]
    """Voxels of lung that are vessels, away from border and hilum."""

    vessel_mm: NDArray[np.float64]
    """Distance to the nearest of them; infinite where there are none."""

    zones: NDArray[np.uint8]
    """Map of `ZONES`."""

    @property
    def lung_ml(self) -> float:
        """Volume of the lung that is free of nodules."""
        return float(np.count_nonzero(self.lung) * self.spacing.prod()) / 1000.0


def map_lungs(
    ct: NDArray[np.int16],
    layout: NDArray[np.uint8],
    spacing_mm: Triple,
    config: LayoutsConfig,
    *,
    lobes: NDArray[np.uint8] | None = None,
) -> LungMap:
    """Map the lungs of a case.

    Args:
        ct: (z, y, x) HU.
        layout: (z, y, x) labels of the same grid, with lung.
        spacing_mm: Voxel size (z, y, x).
        config: What counts as a vessel.
        lobes: (z, y, x) map of `ZONES`; None takes thirds by height.
    """
    spacing = np.asarray(spacing_mm, dtype=np.float64)
    lung, lungs = layout == LUNG, layout != BACKGROUND
    sides = sides_of(lungs)
    closed = lungs.copy()
    for side in (RIGHT, LEFT):
        # Each by itself: closed together, the lungs would grow into one before the heart.
        closed |= _closed(sides == side, spacing)
    pleura_mm = np.asarray(ndimage.distance_transform_edt(closed, sampling=spacing))
    vessels = find_vessels(
        ct,
        lung,
        pleura_mm,
        mediastinum_of(sides),
        spacing_mm,
        above_hu=config.vessel_hu,
        border_mm=config.vessel_border_mm,
        hilum_mm=config.hilum_mm,
    )
    return LungMap(
        layout=layout,
        spacing=spacing,
        lung=lung,
        inner_mm=depth_within(lungs, spacing),
        inner=lung & ndimage.binary_erosion(lungs, structure=TOUCHING),
        pleura_mm=pleura_mm,
        pleura=lung & ndimage.binary_dilation(~closed),
        vessels=vessels,
        vessel_mm=_distance_to(vessels, spacing),
        zones=thirds_of(sides) if lobes is None else np.where(lungs, lobes, np.uint8(0)),
    )


def _closed(lung: NDArray[np.bool_], spacing: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return a lung with its gaps and holes filled; the edge of the grid stays open."""
    if not lung.any():
        return lung
    grown = ndimage.distance_transform_edt(~lung, sampling=spacing) <= _CLOSING_MM
    closed = ndimage.distance_transform_edt(grown, sampling=spacing) > _CLOSING_MM
    return np.asarray(ndimage.binary_fill_holes(closed | lung))


def _distance_to(mask: NDArray[np.bool_], spacing: NDArray[np.float64]) -> NDArray[np.float64]:
    if not mask.any():
        return np.full(mask.shape, np.inf)
    return np.asarray(ndimage.distance_transform_edt(~mask, sampling=spacing))
