"""Figures with their 95 % intervals: none of ours is told without."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

_RESAMPLES = 2000


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


def interval_of_folds(values: Sequence[float]) -> Interval:
    """Return the mean over folds, and Student's interval of it.

    Folds share their reference, so they are not independent: the interval is as in the tables of
    the field, and somewhat too narrow.

    Raises:
        ValueError: There are fewer than two folds.
    """
    if len(values) < 2:
        raise ValueError(f"an interval of {len(values)} folds, expected two or more")
    mean = float(np.mean(values))
    half = float(stats.t.ppf(0.975, len(values) - 1) * stats.sem(values))
    return Interval(mean, mean - half, mean + half)


def interval_of_mean(values: NDArray[np.floating], seed: int = 0) -> Interval:
    """Return the mean over cases, and the percentile bootstrap's interval of it.

    Args:
        values: (n,), one a case.
        seed: Of the resampling.

    Raises:
        ValueError: There is no case.
    """
    if not len(values):
        raise ValueError("a mean of 0 cases, expected one or more")
    draws = np.random.default_rng(seed).integers(len(values), size=(_RESAMPLES, len(values)))
    low, high = np.percentile(np.asarray(values)[draws].mean(axis=1), (2.5, 97.5))
    return Interval(float(np.mean(values)), float(low), float(high))


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
    """Return the mean over volumes, and its interval by a bootstrap of whole patients.

    Volumes that were drawn into one patient's scan are no independent cases.

    Args:
        values: (n,), one a volume.
        patients: n names, whose each is.
        seed: Of the resampling.

    Returns:
        The mean over all volumes; without an interval where all are of one patient.

    Raises:
        ValueError: There is no volume, or not one name for each.
    """
    if not len(values) or len(values) != len(patients):
        raise ValueError(
            f"{len(values)} values of {len(patients)} named patients, expected one or more, each with its "
            "patient"
        )
    mean = float(np.mean(values))
    names, owner = np.unique(np.asarray(patients), return_inverse=True)
    if len(names) < 2:
        return Interval(mean, math.nan, math.nan)
    sums, counts = np.bincount(owner, np.asarray(values, np.float64)), np.bincount(owner)
    draws = np.random.default_rng(seed).integers(len(names), size=(_RESAMPLES, len(names)))
    low, high = np.percentile(sums[draws].sum(axis=1) / counts[draws].sum(axis=1), (2.5, 97.5))
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
