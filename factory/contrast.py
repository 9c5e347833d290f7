"""How far nodules stand out from the lung around them."""

import math

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from factory.layouts import LUNG, NODULE

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
    shell = (layout == LUNG) & _grown(nodules, _SHELL_VOXELS) & ~_grown(nodules, 1)
    if not shell.any():
        return math.nan
    return float(np.median(hu[nodules]) - np.median(hu[shell]))


def _grown(mask: NDArray[np.bool_], num_voxels: int) -> NDArray[np.bool_]:
    """Return a mask with all voxels around it, corners too."""
    # A maximum goes axis by axis: a fifth of the time of a dilation by the whole cube.
    grown = ndimage.maximum_filter(mask.view(np.uint8), 2 * num_voxels + 1, mode="constant", cval=0)
    return grown.view(np.bool_)


def _around_nodules(layout: NDArray[np.uint8]) -> tuple[slice, ...]:
    # Dilating a whole scan for a few nodules takes longer than all else that is measured of it.
    (box,) = ndimage.find_objects((layout == NODULE).astype(np.uint8), max_label=1)
    return tuple(
        slice(max(along.start - _SHELL_VOXELS, 0), along.stop + _SHELL_VOXELS) for along in box
    )
