"""What is checked of each synthetic volume, recorded with it, and its verdict."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from factory.intensity import Scale
from factory.layouts import LUNG

MIN_CHANGED_FRACTION = 0.5
"""A volume that repeats its reference in most of the lungs is no new lung."""

MAX_SATURATED_FRACTION = 0.25
"""Above this share of voxels at the scale's ends the sampler has run away."""

LUNG_MEDIAN_HU = (-1088.6, -366.95)
"""Accepted median HU of lung: the organ-median rule of MAISI's quality check."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Quality:
    """Figures of one synthetic volume against its reference."""

    background_equal: bool
    """Every voxel that was not drawn equals the reference, bit for bit."""

    changed_fraction: float
    """Share of the drawn voxels whose HU differ from the reference."""

    lung_median_hu: float
    """Median HU of the layout's lung voxels; NaN if there are none."""

    reference_lung_median_hu: float
    """The same in the reference."""

    saturated_fraction: float
    """Share of the drawn voxels at either end of the HU that the model can draw."""

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
    drawn: NDArray[np.bool_],
    scale: Scale,
) -> Quality:
    """Measure a synthetic volume against its reference.

    Args:
        synthetic_hu: (z, y, x) HU.
        reference_hu: (z, y, x) HU.
        layout: (z, y, x) labels; its lungs are what the medians are of.
        drawn: (z, y, x) voxels that the model drew; at least one.
        scale: What the model's output was decoded with.
    """
    lung = layout == LUNG
    differs = synthetic_hu != reference_hu
    return Quality(
        background_equal=not differs[~drawn].any(),
        changed_fraction=float(differs[drawn].mean()),
        lung_median_hu=_median(synthetic_hu[lung]),
        reference_lung_median_hu=_median(reference_hu[lung]),
        saturated_fraction=float(scale.saturated(synthetic_hu)[drawn].mean()),
    )


def _median(hu: NDArray[np.int16]) -> float:
    # NumPy warns of a median of nothing before it returns the same.
    return float(np.median(hu)) if hu.size else float("nan")
