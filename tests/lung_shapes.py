"""Lungs as ellipsoids, to place nodules in."""

import numpy as np


def two_lungs(size: int) -> np.ndarray:
    """Return a layout of two lungs, (size, size, size)."""
    z, y, x = (np.ogrid[:size, :size, :size][axis] / size - 0.5 for axis in range(3))
    lungs = [
        (z / 0.42) ** 2 + (y / 0.3) ** 2 + ((x - side) / 0.19) ** 2 < 1 for side in (-0.22, 0.22)
    ]
    return (lungs[0] | lungs[1]).astype(np.uint8)


def affine_of(spacing_mm: tuple[float, float, float]) -> np.ndarray:
    """Return the affine of voxels of this (z, y, x) spacing."""
    return np.diag([*spacing_mm[::-1], 1.0])
