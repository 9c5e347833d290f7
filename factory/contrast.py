"""How far nodules stand out from the lung around them."""

import math

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from factory.layouts import LUNG, NODULE
from factory.nodules.measure import TOUCHING

_SHELL_VOXELS = 3
"""How far the lung reaches that a nodule is compared with."""


def nodule_contrast(hu: NDArray[np.int16], layout: NDArray[np.uint8]) -> float:
    """Return how far the median nodule voxel lies above the lung around.

    The lung around, not all of it: at the back of a lying patient it is some 100 HU denser than in
    front. And not the voxels that touch a nodule, which are partly nodule on a coarse grid.

    Args:
        hu: (z, y, x) HU.
        layout: (z, y, x) labels; all its nodules count together.

    Returns:
        The difference in HU; NaN where there is no nodule, or no lung around one.
    """
    if not (layout == NODULE).any():
        return math.nan
    around = _around_nodules(layout)
    hu, layout = hu[around], layout[around]
    nodules = layout == NODULE
    touching = ndimage.binary_dilation(nodules, TOUCHING)
    near = ndimage.binary_dilation(touching, TOUCHING, iterations=_SHELL_VOXELS - 1)
    shell = (layout == LUNG) & near & ~touching
    if not shell.any():
        return math.nan
    return float(np.median(hu[nodules]) - np.median(hu[shell]))


def _around_nodules(layout: NDArray[np.uint8]) -> tuple[slice, ...]:
    # Dilating a whole scan for a few nodules takes longer than all else that is measured of it.
    (box,) = ndimage.find_objects((layout == NODULE).astype(np.uint8), max_label=1)
    return tuple(
        slice(max(along.start - _SHELL_VOXELS, 0), along.stop + _SHELL_VOXELS) for along in box
    )
