"""What of a volume is compared: all of it, its lungs alone, and a small image of them."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.transform import resize

from factory.layouts import BACKGROUND

THUMBNAIL = 16
"""Voxels along each edge of the small image."""

_OUTSIDE = np.float32(-1.0)


def lungs_alone(units: NDArray[np.float32], layout: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return a (z, y, x) volume in [-1, 1] with -1, which is air, wherever its layout has no lung."""
    return np.where(layout == BACKGROUND, _OUTSIDE, units)


def lung_thumbnail(units: NDArray[np.float32], layout: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the lungs' bounding box, without what lies outside them, as a small image.

    Args:
        units: (z, y, x) in [-1, 1].
        layout: (z, y, x) labels.

    Returns:
        (THUMBNAIL^3,) of the box, stretched to a cube: place and size of the lungs do not count.

    Raises:
        ValueError: The layout has no lung.
    """
    found = ndimage.find_objects((layout != BACKGROUND).astype(np.uint8), max_label=1)
    if not found or found[0] is None:
        raise ValueError("found a layout without a lung voxel; expected lungs to compare")
    box = lungs_alone(units, layout)[found[0]]
    small = resize(box, (THUMBNAIL,) * 3, order=1, anti_aliasing=True, preserve_range=True)  # type: ignore[no-untyped-call]
    return np.asarray(small, np.float32).ravel()
