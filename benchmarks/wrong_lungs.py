"""Lungs that are known to be wrong, made from those of a scan."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from factory.layouts import BACKGROUND, LUNG
from factory.volumes import Volume

_WINDOW_HU = (-1024, 600)


def wrong_lungs(scan: Volume) -> Iterator[tuple[str, NDArray[np.int16]]]:
    """Yield how a scan's lungs were spoilt, and the (z, y, x) HU; the same at each call."""
    rng = np.random.default_rng(0)
    hu, lung = scan.ct.astype(np.float64), scan.layout == LUNG
    shuffled = hu.copy()
    shuffled[lung] = rng.permutation(hu[lung])
    spoilt = {
        "median HU everywhere": np.full(hu.shape, np.median(hu[lung])),
        "blurred by one voxel": ndimage.gaussian_filter(hu, 1.0),
        "with noise of 100 HU": hu + rng.normal(0.0, 100.0, hu.shape),
        "lung voxels shuffled": shuffled,
    }
    for way, lungs in spoilt.items():
        drawn = np.clip(np.rint(lungs), *_WINDOW_HU)
        yield way, np.where(scan.layout == BACKGROUND, scan.ct, drawn).astype(np.int16)
