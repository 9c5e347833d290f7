"""Masses that sit on the chest wall, and look like wall to a threshold.

A ball that is wide enough cannot enter the dent that a mass makes in a lung. Nor can it enter
what the heart, the great vessels and the diaphragm leave of a lung, so only dents in the outer
surface count: those with no lung between them and the ribs.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

DENT_MM = 16.0
"""Radius of the ball: masses on the wall up to about twice as wide are found."""

_TISSUE_HU = (-150.0, 150.0)
"""Between fat and bone, both of which belong to the wall."""

_THINNEST_MM = 6.0
"""Less than this is the wall's own waves between the ribs."""

_PARASPINAL = 0.25
"""Of a lung's width, next to the spine, where what lies behind the lung is no wall."""

_PARASTERNAL = 0.5
"""The same before the lung, where the heart lies."""

_OTHER_SIDE = 0.2
"""A mask that has more than this on either side of the midline is both lungs."""

Mask = NDArray[np.bool_]


def wall_masses(
    lung: Mask,
    closed: Mask,
    hu: NDArray[np.float32],
    middle: float,
    spacing_mm: tuple[float, float, float],
) -> Mask:
    """Return the tissue in dents of a lung's outer surface.

    Args:
        lung: (z, y, x) one lung or both, in RAS orientation.
        closed: The same, closed by a ball of `DENT_MM`.
        hu: (z, y, x) of the scan.
        middle: Column of the patient's midline.
        spacing_mm: Voxel spacing (z, y, x) in mm.
    """
    masses = np.zeros_like(lung)
    box = ndimage.find_objects(closed.astype(np.int8))[0]
    low, high = _TISSUE_HU
    dents = closed[box] & ~lung[box] & (hu[box] > low) & (hu[box] < high)
    dents &= _outer_surface(lung[box], round(middle) - box[2].start)
    masses[box] = dents & _thick(dents | lung[box], spacing_mm)
    return masses


def _outer_surface(lung: Mask, middle: int) -> Mask:
    """Return what lies outwards of a lung, or of both in one mask, split at the midline."""
    middle = max(1, min(middle, lung.shape[2] - 1))
    share = int(lung[:, :, :middle].sum()) / int(lung.sum())
    if share < _OTHER_SIDE or share > 1.0 - _OTHER_SIDE:
        return _outer(lung) if share > 0.5 else _outer(lung[:, :, ::-1])[:, :, ::-1]
    halves = _outer(lung[:, :, :middle]), _outer(lung[:, :, : middle - 1 : -1])[:, :, ::-1]
    return np.concatenate(halves, axis=2)


def _outer(lung: Mask) -> Mask:
    """Return what has no lung beside it towards the ribs, for a lung whose ribs are at column 0."""
    beside = ~np.logical_or.accumulate(lung, axis=2)
    behind = ~np.logical_or.accumulate(lung, axis=1)
    before = ~np.logical_or.accumulate(lung[:, ::-1], axis=1)[:, ::-1]
    columns: Mask = np.asarray(lung.any(axis=1))
    num = columns.shape[1]
    first = np.where(columns.any(axis=1), columns.argmax(axis=1), 0)
    last = np.where(columns.any(axis=1), num - 1 - columns[:, ::-1].argmax(axis=1), 0)
    width = np.maximum(last - first, 1)
    inwards = ((np.arange(num) - first[:, None]) / width[:, None])[:, None, :]
    outer: Mask = (
        beside
        | (behind & (inwards < 1.0 - _PARASPINAL))
        | (before & (inwards < 1.0 - _PARASTERNAL))
    )
    return outer


def _thick(mask: Mask, spacing_mm: tuple[float, float, float]) -> Mask:
    """Return the part of a mask that a ball of `_THINNEST_MM` across can reach from within."""
    radius_mm = _THINNEST_MM / 2
    core = ndimage.distance_transform_edt(mask, sampling=spacing_mm) > radius_mm
    thick: Mask = ndimage.distance_transform_edt(~core, sampling=spacing_mm) <= radius_mm
    return thick
