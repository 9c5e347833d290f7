"""What quality control accepts."""

import math
from dataclasses import dataclass, fields
from typing import Any


@dataclass(frozen=True, kw_only=True, slots=True)
class QualityLimits:
    """Beyond which figures a synthetic volume is broken, and rejected, or unlikely, and reviewed.

    A range is (lowest, highest); the limits themselves are accepted. That the background is the
    reference's has no limit to set: one voxel of it that is not rejects a volume.
    """

    min_changed_fraction: float = 0.5
    """Reject below this share of drawn voxels that differ from the reference: a volume that repeats
    its reference in most of the lungs is no new lung."""

    lung_median_hu: tuple[float, float] = (-1088.6, -366.95)
    """Reject a median of the lungs outside: the organ-median rule of MAISI's quality check."""

    bone_median_hu: tuple[float, float] = (71.4, 1000.0)
    """Reject a median of bone outside, where there is a mask of it: the same rule."""

    max_lung_shift_hu: float = 100.0
    """Review lungs whose median lies farther from the reference's, in HU. Those of eleven real scans
    lie 180 apart, from -880 to -701; the model that ships is 72 off at most, in four of them."""

    lung_spread: tuple[float, float] = (0.5, 2.0)
    """Review lungs whose interquartile range is another multiple of the reference's: 0 is a lung
    without a vessel; a blur of one voxel, and noise of 100 HU, make 2.4 of lungs that have 70 HU."""

    min_nodule_contrast_hu: float = 100.0
    """Review nodules that were placed and stand out from the lung around by less, in HU. So do 1 of
    231 real nodules at 2 mm, and 1 in 20 by less than 174."""

    min_nodule_share: float = 0.5
    """Review nodules that the reference has too and that stand out by a smaller share of what they
    do there; a faint one is not asked to be dense. A blur of one voxel leaves 0.4."""

    seam_score: tuple[float, float] = (0.5, 2.0)
    """Review a border of what was drawn with another `factory.seam.seam_score`: twice as hard, or
    half. Volumes drawn into real scans have 0.7 to 1.2, a flat lung 1.5."""

    max_saturated_fraction: float = 0.1
    """Review above this share of drawn voxels at the ends of the model's scale, where a sampler that
    ran away is clipped to. Lungs of real scans have 0.00003 at most."""

    def __post_init__(self) -> None:
        for field in fields(self):
            _check(field.name, getattr(self, field.name))


def _check(name: str, limit: Any) -> None:
    ends = limit if isinstance(limit, tuple) else (limit,)
    if not all(map(math.isfinite, ends)):
        raise ValueError(f"{name} is {limit}; it must be finite")
    if len(ends) == 2 and ends[0] > ends[1]:
        raise ValueError(f"{name} is {limit}; the first must not be above the second")
    if len(ends) == 1 and not 0 <= limit <= (1 if name.endswith("_fraction") else math.inf):
        span = "lie in [0, 1]" if name.endswith("_fraction") else "be at least 0"
        raise ValueError(f"{name} is {limit}; it must {span}")
