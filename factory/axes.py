"""The one crossing between axis orders.

Arrays, spacings and points are (z, y, x) everywhere in this project. NIfTI files
and their affines speak (i, j, k) = (x, y, z). Nothing else converts between them.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Triple = tuple[float, float, float]


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
