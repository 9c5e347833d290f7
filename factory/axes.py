"""The one crossing between axis orders.

Arrays, spacings and points are (z, y, x) everywhere in this project. NIfTI files
and their affines speak (i, j, k) = (x, y, z), and a network that was trained elsewhere
may want its volumes turned. Nothing else converts between them.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Triple = tuple[float, float, float]

CANONICAL = "SAR"
"""Orientation of our arrays: z grows towards Superior, y towards Anterior, x towards Right."""

_DIRECTIONS = ("SI", "AP", "RL")
"""Of z, y and x: as our index grows, and against it."""


def zyx_from_ijk(volume: NDArray[Any]) -> NDArray[Any]:
    """Return a C-contiguous (z, y, x) array of an (i, j, k) volume."""
    return np.ascontiguousarray(volume.transpose(2, 1, 0))


def ijk_from_zyx(volume: NDArray[Any]) -> NDArray[Any]:
    """Return an (i, j, k) view of a (z, y, x) volume."""
    return volume.transpose(2, 1, 0)


def spacing_zyx(affine: NDArray[np.float64]) -> Triple:
    """Return the voxel size (z, y, x) in mm of a voxel (i, j, k) to world affine."""
    x, y, z = np.sqrt((np.asarray(affine)[:3, :3] ** 2).sum(axis=0))
    return float(z), float(y), float(x)


def affine_from_zyx(step: Triple, first: Triple) -> NDArray[np.float64]:
    """Return the 4x4 that takes voxel (i, j, k) to (x, y, z), along the axes.

    Args:
        step: From one voxel to the next, (z, y, x).
        first: Where voxel (0, 0, 0) lies, (z, y, x).
    """
    affine = np.diag([*step[::-1], 1.0])
    affine[:3, 3] = first[::-1]
    return affine


def ras_from_zyx(affine: NDArray[np.float64], point_zyx: Triple) -> Triple:
    """Return the RAS point in mm of a (z, y, x) array index, whole or fractional."""
    z, y, x = point_zyx
    right, anterior, superior = (np.asarray(affine) @ np.array([x, y, z, 1.0]))[:3]
    return float(right), float(anterior), float(superior)


def is_orientation(codes: str) -> bool:
    """Tell whether `codes` are three of S, I, A, P, R and L, one along each axis of the body."""
    named = [pair for pair in _DIRECTIONS for code in codes if code in pair]
    return len(codes) == 3 and len(named) == 3 and len(set(named)) == 3


def to_orientation(volume: NDArray[Any], codes: str) -> NDArray[Any]:
    """Turn a (..., z, y, x) array so that its last three indices grow in other directions.

    Args:
        volume: One of ours, `SAR`; channel axes before the last three stay.
        codes: The direction of the patient in which each of the three indices is to grow.
            `SLP` is (z, x, y), with x from right to left and y from front to back.

    Returns:
        C-contiguous array of the same voxels.

    Raises:
        ValueError: `codes` are no orientation.
    """
    axes, flipped = _turn(codes)
    turned = np.moveaxis(volume, axes, (-3, -2, -1))
    return np.ascontiguousarray(np.flip(turned, flipped))


def from_orientation(volume: NDArray[Any], codes: str) -> NDArray[Any]:
    """Turn an array that `to_orientation` made with these `codes` back into (..., z, y, x).

    Raises:
        ValueError: `codes` are no orientation.
    """
    axes, flipped = _turn(codes)
    turned = np.flip(volume, flipped)
    return np.ascontiguousarray(np.moveaxis(turned, (-3, -2, -1), axes))


def _turn(codes: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return which axis of ours each of the three is, and which of them run against ours."""
    if not is_orientation(codes):
        raise ValueError(
            f"orientation: found {codes!r}; expected three letters, one each of "
            f"{', '.join(' or '.join(pair) for pair in _DIRECTIONS)}, as {CANONICAL!r}"
        )
    # Counted from the end, so that channel axes before them do not matter.
    axes = (next(axis for axis in range(3) if code in _DIRECTIONS[axis]) - 3 for code in codes)
    flipped = (place - 3 for place, code in enumerate(codes) if code not in CANONICAL)
    return tuple(axes), tuple(flipped)
