"""Which part of the lungs a voxel lies in.

lungs --left and right--> thirds by height: an approximation      lobe masks --> lobes, where given

A lung's lobes lie obliquely, which thirds do not know: much of what is high at the back is lower lobe.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from factory.nodules.bank import box_of
from factory.nodules.measure import TOUCHING

ZONES = ("right-upper", "right-middle", "right-lower", "left-upper", "left-middle", "left-lower")
"""Names of the zones; number n of a map is the n-th, 0 lies in none."""

RIGHT, LEFT = 1, 2
"""Numbers of the lungs in a map of sides."""

_MIDDLE = (0.3, 0.7)
"""Of the lungs' width, where the mediastinum is looked for."""
_ONE_SIDED = 0.8
"""Share of a piece that lies on one side of the midline for all of it to be that lung."""
_SINGLE = 0.5
"""Of the widest slice: where the narrowest of the middle is above it, there is but one lung."""


def sides_of(lungs: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Tell the right lung from the left.

    Pieces are told by the side of the midline that they lie on, and those that lie on both, as
    lungs that touch do, are split there. The midline is the sagittal slice with the least lung in
    the middle of the lungs' width. A single lung is told by the side of the grid that it lies on.

    Args:
        lungs: (z, y, x) bool; x grows to the right, as in all our arrays.

    Returns:
        (z, y, x) uint8, 0 outside, `RIGHT` or `LEFT`.
    """
    sides = np.zeros(lungs.shape, dtype=np.uint8)
    if not lungs.any():
        return sides
    beyond = np.arange(lungs.shape[2]) >= _midline(lungs)
    pieces, num_pieces = ndimage.label(lungs, structure=TOUCHING)
    num_all = np.bincount(pieces.ravel(), minlength=num_pieces + 1)
    num_right = np.bincount(pieces[:, :, beyond].ravel(), minlength=num_pieces + 1)
    share = num_right / np.maximum(num_all, 1)
    split = np.where(beyond, RIGHT, LEFT).astype(np.uint8)
    of_piece = np.select([share >= _ONE_SIDED, share <= 1.0 - _ONE_SIDED], [RIGHT, LEFT], 0)
    whole = of_piece.astype(np.uint8)[pieces]
    return np.where(lungs, np.where(whole > 0, whole, split), 0).astype(np.uint8)


def thirds_of(sides: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Split each lung into thirds of its own height.

    Args:
        sides: (z, y, x) of `sides_of`; z grows upwards.

    Returns:
        (z, y, x) uint8 map of `ZONES`.
    """
    zones = np.zeros(sides.shape, dtype=np.uint8)
    for side, first in ((RIGHT, 1), (LEFT, 4)):
        lung = sides == side
        if not lung.any():
            continue
        heights = np.flatnonzero(lung.any(axis=(1, 2)))
        low, high = int(heights[0]), int(heights[-1]) + 1
        # From the top: upper, middle, lower.
        third = 3 * (high - 1 - np.arange(sides.shape[0])) // (high - low)
        zones += (lung * (first + np.clip(third, 0, 2))[:, None, None]).astype(np.uint8)
    return zones


def mediastinum_of(sides: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return what lies between the lungs: (z, y, x) voxels with left lung and right lung beside them."""
    left_before = np.logical_or.accumulate(sides == LEFT, axis=2)
    right_after = np.logical_or.accumulate((sides == RIGHT)[:, :, ::-1], axis=2)[:, :, ::-1]
    return np.asarray((sides == 0) & left_before & right_after)


def _midline(lungs: NDArray[np.bool_]) -> int:
    """Return the first sagittal slice of the right side."""
    areas = np.count_nonzero(lungs, axis=(0, 1))
    box = box_of(lungs)[2]
    start, stop = int(box.start), int(box.stop)
    first = start + int(_MIDDLE[0] * (stop - start))
    middle = areas[first : max(first + 1, start + int(_MIDDLE[1] * (stop - start)))]
    narrowest = np.flatnonzero(middle == middle.min())
    if middle.min() > _SINGLE * areas.max():
        is_right = start + stop >= lungs.shape[2]
        return 0 if is_right else lungs.shape[2]
    return first + int(narrowest[len(narrowest) // 2])
