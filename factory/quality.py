"""What is checked of each synthetic volume, recorded with it, and its verdict."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from factory.intensity import HuWindow
from factory.layouts import BACKGROUND, LUNG

MIN_CHANGED_FRACTION = 0.5
"""A volume that repeats its reference in most of the lungs is no new lung."""

MAX_SATURATED_FRACTION = 0.25
"""Above this share of voxels at the window's ends the sampler has run away."""

LUNG_MEDIAN_HU = (-1088.6, -366.95)
"""Accepted median HU of lung: the organ-median rule of MAISI's quality check."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Quality:
    """Figures of one synthetic volume against its reference."""

    background_equal: bool
    """Every voxel outside the layout equals the reference, bit for bit."""

    changed_fraction: float
    """Share of the layout's voxels whose HU differ from the reference."""

    lung_median_hu: float
    """Median HU of the layout's lung voxels."""

    reference_lung_median_hu: float
    """The same in the reference."""

    saturated_fraction: float
    """Share of the layout's voxels at either end of the HU window."""

    @property
    def verdict(self) -> str:
        """`reject` for a broken volume, `review` for an unlikely one, else `accept`."""
        if not self.background_equal or self.changed_fraction < MIN_CHANGED_FRACTION:
            return "reject"
        low, high = LUNG_MEDIAN_HU
        unlikely = not low <= self.lung_median_hu <= high
        if unlikely or self.saturated_fraction > MAX_SATURATED_FRACTION:
            return "review"
        return "accept"

    def as_columns(self) -> dict[str, bool | float | str]:
        """Return the `qc_` columns of the manifest."""
        return {
            "qc_background_equal": self.background_equal,
            "qc_changed_fraction": self.changed_fraction,
            "qc_lung_median_hu": self.lung_median_hu,
            "qc_reference_lung_median_hu": self.reference_lung_median_hu,
            "qc_saturated_fraction": self.saturated_fraction,
            "qc_verdict": self.verdict,
        }


def assess(
    synthetic_hu: NDArray[np.int16],
    reference_hu: NDArray[np.int16],
    layout: NDArray[np.uint8],
    window: HuWindow,
) -> Quality:
    """Measure a synthetic volume against its reference; all arrays (z, y, x), one shape."""
    inside = layout != BACKGROUND
    lung = layout == LUNG
    drawn = synthetic_hu[inside]
    ends = np.rint([window.low_hu, window.high_hu])
    return Quality(
        background_equal=bool((synthetic_hu[~inside] == reference_hu[~inside]).all()),
        changed_fraction=float((drawn != reference_hu[inside]).mean()),
        lung_median_hu=float(np.median(synthetic_hu[lung])),
        reference_lung_median_hu=float(np.median(reference_hu[lung])),
        saturated_fraction=float(np.isin(drawn, ends).mean()),
    )
