"""Intervals of means over test cases: over patients, over trainings, over folds."""

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from factory.evaluation.intervals import Interval, interval_of_folds

LEAST_PATIENTS = 5
"""Of an interval over patients: of fewer, what is drawn again says too little of those not seen."""

_RESAMPLES = 2000
_LEVEL = 0.95


def interval_over_patients(
    values: NDArray[np.floating], patients: Sequence[str], seed: int = 0
) -> Interval:
    """Return the mean over values, and its 95 % interval by a bootstrap of whole patients.

    It covers what other patients of the same kind would have given with the same trainings. It does not
    cover other trainings: all values of a patient, of whatever seed, are drawn together.

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


def interval_over_means(whole: float, means: Sequence[float]) -> Interval:
    """Return a mean over all values, and Student's 95 % interval from the means of parts of them.

    Of seeds it covers other trainings, tested on the same patients. Of folds it covers other patients
    with the trainings that go with them, as in the tables of the field; folds share training cases, so
    it is somewhat too narrow.

    Args:
        whole: Mean over all.
        means: One a seed, or a fold.

    Returns:
        `whole`; without an interval of fewer than two means.
    """
    if len(means) < 2:
        return Interval(whole, math.nan, math.nan)
    found = interval_of_folds(means)
    return Interval(whole, found.low, found.high)


@lru_cache(maxsize=8)
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
