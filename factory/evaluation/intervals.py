"""Figures with their 95 % intervals: none of ours is told without."""

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
    high: float

    def __str__(self) -> str:
        """Return how a table shows it."""
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
