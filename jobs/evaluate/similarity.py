"""MS-SSIM, by MONAI where it is installed."""

import math
from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray

KERNEL = 7
"""Voxels of the window: MONAI's own 11 needs 176 voxels along each edge."""

_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Of five scales, from fine to coarse: Wang, Simoncelli and Bovik (Asilomar 2003)."""


def is_available() -> bool:
    """Tell whether MONAI is installed; it is not loaded."""
    return find_spec("monai") is not None


def num_scales(size: int) -> int:
    """Return how many of the five scales fit a volume; 0 where none does.

    By MONAI's own rule, and so that the window fits the coarsest one, which the rule lets pass.

    Args:
        size: Voxels along its shortest edge.
    """
    smallest = {n: min(size // max(1, n - 1) ** 2, size // 2 ** (n - 1)) for n in range(1, 6)}
    return max((n for n, voxels in smallest.items() if voxels >= KERNEL), default=0)


def ms_ssim(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Return the multi-scale structural similarity of two volumes; 1 for equal ones.

    Args:
        one: (z, y, x) in [-1, 1].
        other: The same.

    Returns:
        Over as many scales as fit, their weights scaled to a sum of 1; NaN where none fits.
    """
    import torch
    from monai.metrics.regression import compute_ms_ssim

    scales = num_scales(min(one.shape))
    if not scales:
        return math.nan
    shares = np.array(_WEIGHTS[:scales]) / sum(_WEIGHTS[:scales])
    first, second = (
        torch.from_numpy(units)[None, None].add(1.0).div(2.0) for units in (one, other)
    )
    found = compute_ms_ssim(
        first,
        second,
        spatial_dims=3,
        data_range=1.0,
        kernel_size=KERNEL,
        weights=shares.tolist(),
    )
    return float(found)
