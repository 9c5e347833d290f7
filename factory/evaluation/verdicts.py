"""Whether one synthetic volume is a copy of a real one."""

import math
from dataclasses import dataclass

import numpy as np

from factory.evaluation.memorisation import Features, Names, nearest

COPY_CORRELATION, NEAR_CORRELATION = 0.5, 0.25
"""Of the fine structure of a lung with its donor's: half of its variance's root is shared, or a quarter."""

_RARE = 5.0
"""Per cent of real lungs that lie nearer to another patient's."""

_COPY_SHARE = 0.5
"""Of that distance."""

_LEAST_PATIENTS = 5
"""Real patients whose distances say what is near."""

VERDICTS = ("clear", "near", "copy", "unknown")


@dataclass(frozen=True, kw_only=True, slots=True)
class Nearness:
    """How near another patient's lungs come to be without anybody copying."""

    distance: float
    """That 5 % of real lungs lie nearer to another real patient's; NaN where there are too few."""


def nearness(real: Features, patients: Names) -> Nearness:
    """Measure how near real lungs of different patients lie.

    Args:
        real: (n, d).
        patients: Patient of each.
    """
    if len(set(patients)) < _LEAST_PATIENTS:
        return Nearness(distance=math.nan)
    found = nearest(real, real, apart=(patients, patients))
    return Nearness(distance=float(np.percentile(found.distance, _RARE)))


def verdict(correlation: float, distances: tuple[float, ...], usual: tuple[Nearness, ...]) -> str:
    """Judge one synthetic volume.

    Args:
        correlation: Of its lungs with its donor's; NaN where the donor is not there.
        distances: To the nearest training lungs of other patients, one a space.
        usual: How near real ones lie, in the same spaces.

    Returns:
        `copy`, `near`, `clear`, or `unknown` where nothing could be told.
    """
    shares = [
        distance / space.distance
        for distance, space in zip(distances, usual, strict=True)
        if math.isfinite(distance) and space.distance > 0.0
    ]
    if math.isnan(correlation) and not shares:
        return "unknown"
    least = min(shares, default=math.inf)
    alike = -1.0 if math.isnan(correlation) else correlation
    if alike >= COPY_CORRELATION or least < _COPY_SHARE:
        return "copy"
    return "near" if alike >= NEAR_CORRELATION or least < 1.0 else "clear"
