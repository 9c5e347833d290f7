"""Figures with their 95 % intervals: none of ours is told without."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import stats

LEAST_PATIENTS = 5
"""Of an interval over patients: of fewer, what is drawn again says too little of those not seen."""

_RESAMPLES = 2000
_LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure, and where it would lie in 95 of 100 repetitions."""

    value: float
    low: float
    """NaN, as `high`, where there was too little to tell."""
    high: float

    def __str__(self) -> str:
        """Return how a table shows it."""
        if not math.isfinite(self.low) or not math.isfinite(self.high):
            return f"{self.value:.4g}"
        return f"{self.value:.4g} ({self.low:.4g} to {self.high:.4g})"


def interval_of_left_out(whole: float, left_out: Sequence[float]) -> Interval:
    """Return a figure of a whole set, and the jackknife's interval from its folds.

    Each fold in turn is left out and the figure taken of the rest: their spread, times
    sqrt(k - 1), is that of the whole (Efron and Stein, 1981), and Student's t of k - 1 degrees of
    freedom makes it an interval. So each figure has nearly all volumes to it, which one of a fold
    alone has not: a Fréchet distance grows as the number of volumes falls.

    Args:
        whole: The figure of all.
        left_out: (k,) figures without a fold.

    Raises:
        ValueError: There are fewer than three folds: of two, Student's t is 12.7 times the error.
    """
    if len(left_out) < 3:
        raise ValueError(f"an interval of {len(left_out)} folds, expected three or more")
    count = len(left_out)
    error = math.sqrt((count - 1) * float(np.var(left_out)))
    half = float(stats.t.ppf(0.975, count - 1)) * error
    return Interval(whole, whole - half, whole + half)


def interval_by_patient(
    values: NDArray[np.floating], patients: Sequence[str], seed: int = 0
) -> Interval:
    """Return the mean over values, and its 95 % interval by a bootstrap of whole patients.

    Volumes that were drawn into one patient's scan are no independent cases, nor are tests of one
    patient by several trainings: all values of a patient are drawn together. So the interval covers
    other patients of the same kind, and no other training.

    Percentiles of few patients lie too near to each other, by (n - 1) / n of the variance and by what
    Student's t has over the normal distribution. They are taken further out by as much (Hesterberg,
    The American Statistician 69, 2015, section 5.3).

    Args:
        values: (n,), one or more.
        patients: n names, whose each is.
        seed: Of the resampling.

    Returns:
        The mean over all values. Without an interval where there are fewer than `LEAST_PATIENTS`, or
        all have the same mean: that nothing was found in ten does not say that nothing ever is.

    Raises:
        ValueError: There is no value, or not one name for each.
    """
    if not len(values) or len(values) != len(patients):
        raise ValueError(
            f"{len(values)} values of {len(patients)} named patients, expected one or more, each with its "
            "patient"
        )
    mean = float(np.mean(values))
    names, owner = np.unique(np.asarray(patients), return_inverse=True)
    sums, counts = np.bincount(owner, np.asarray(values, np.float64)), np.bincount(owner)
    if len(names) < LEAST_PATIENTS or np.ptp(sums / counts) == 0.0:
        return Interval(mean, math.nan, math.nan)
    weights = _weights(len(names), seed)
    means = (weights @ sums) / (weights @ counts)
    low, high = np.quantile(means, _tails(len(names)))
    return Interval(mean, float(low), float(high))


def interval_of_share(flags: NDArray[np.bool_], patients: Sequence[str]) -> Interval:
    """Return the share of volumes that are something, and Wilson's interval of it.

    As if there were as many independent volumes as patients, for those of one are not: of none in
    ten the interval is not 0 to 0, which a bootstrap would say.

    Args:
        flags: (n,), one a volume.
        patients: n names, whose each is.

    Raises:
        ValueError: There is no volume.
    """
    if not len(flags):
        raise ValueError("a share of 0 volumes, expected one or more")
    share, count, z = float(np.mean(flags)), len(set(patients)), 1.96
    centre = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    spread = share * (1 - share) / count + z**2 / (4 * count**2)
    half = z * math.sqrt(spread) / (1 + z**2 / count)
    return Interval(share, max(min(centre - half, share), 0.0), min(max(centre + half, share), 1.0))


@lru_cache(maxsize=2)
def _weights(num_patients: int, seed: int) -> NDArray[np.float64]:
    """Return how often each patient is drawn, (resamples, patients): the same for every figure."""
    rng = np.random.default_rng(seed)
    even = np.full(num_patients, 1.0 / num_patients)
    weights = rng.multinomial(num_patients, even, size=_RESAMPLES).astype(np.float64)
    weights.flags.writeable = False
    return weights


@lru_cache(maxsize=32)
def _tails(num_patients: int) -> tuple[float, float]:
    quantile = stats.t.ppf(0.5 + _LEVEL / 2, num_patients - 1)
    tail = float(stats.norm.cdf(-math.sqrt(num_patients / (num_patients - 1)) * quantile))
    return tail, 1.0 - tail
