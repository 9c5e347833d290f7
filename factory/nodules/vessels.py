"""Vessels of the lung, as far as a threshold shows them."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from factory.axes import Triple
from factory.nodules.measure import TOUCHING

MIN_VESSEL_MM3 = 150.0
"""Smaller pieces are noise, or nodules that nobody drew."""


def find_vessels(
    ct: NDArray[np.int16],
    lung: NDArray[np.bool_],
    depth_mm: NDArray[np.float64],
    mediastinum: NDArray[np.bool_],
    spacing_mm: Triple,
    *,
    above_hu: float,
    border_mm: float,
    hilum_mm: float,
) -> NDArray[np.bool_]:
    """Return voxels of the lung that are vessels, away from its border and its hilum.

    Connected (26 neighbours) voxels above a threshold, of at least 150 mm3 in all. What is left out
    at the border shares its voxels with the wall; the hilum's trunks are too wide to hold a nodule.
    A threshold knows no vessel: it takes walls of airways, scars and nodules without a label too.

    Args:
        ct: (z, y, x) HU.
        lung: (z, y, x) voxels of lung that are no nodule.
        depth_mm: (z, y, x) distance of each voxel to what lies outside the lungs.
        mediastinum: (z, y, x) what lies between the lungs; where it is empty, so is the hilum.
        spacing_mm: Voxel size (z, y, x).
        above_hu: Threshold.
        border_mm: Voxels nearer to the lung's edge are left out.
        hilum_mm: Voxels nearer to the mediastinum are left out.
    """
    bright = lung & (ct > above_hu) & (depth_mm > border_mm)
    if mediastinum.any():
        bright &= ndimage.distance_transform_edt(~mediastinum, sampling=spacing_mm) > hilum_mm
    pieces, num_pieces = ndimage.label(bright, structure=TOUCHING)
    volumes_mm3 = np.bincount(pieces.ravel(), minlength=num_pieces + 1) * np.prod(spacing_mm)
    large = volumes_mm3 >= MIN_VESSEL_MM3
    large[0] = False
    return np.asarray(large[pieces])
