"""The HU of lungs as histograms: what a whole set's tissue is like, whoever each volume was drawn into."""

import numpy as np
from numpy.typing import NDArray

from factory.evaluation.paired import WINDOW
from factory.layouts import LUNG

LOW_HU, HIGH_HU = int(WINDOW.low_hu), int(WINDOW.high_hu)
NUM_BINS = HIGH_HU - LOW_HU + 1
"""One a HU; what lies beyond the window counts at its ends."""

Histograms = NDArray[np.floating]


def lung_histogram(ct_hu: NDArray[np.int16], layout: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the share of lung voxels of each HU; nodules are left out.

    Args:
        ct_hu: (z, y, x) HU.
        layout: (z, y, x) labels.

    Returns:
        (NUM_BINS,) with a sum of 1, or zeros where the layout has no lung.
    """
    inside = np.clip(ct_hu[layout == LUNG].astype(np.int32), LOW_HU, HIGH_HU) - LOW_HU
    counts = np.bincount(inside, minlength=NUM_BINS)
    return (counts / max(len(inside), 1)).astype(np.float32)


def histogram_distance(one: Histograms, other: Histograms) -> float:
    """Return the Wasserstein distance in HU between the pooled lungs of two sets.

    Each volume counts alike, however large its lungs are.

    Args:
        one: (n, NUM_BINS) of `lung_histogram`, one or more, none of them all zeros.
        other: (m, NUM_BINS), the same.
    """
    apart = one.mean(axis=0, dtype=np.float64) - other.mean(axis=0, dtype=np.float64)
    # On a line the distance is the area between the two cumulative shares; a bin is 1 HU wide.
    return float(np.abs(np.cumsum(apart)).sum())
