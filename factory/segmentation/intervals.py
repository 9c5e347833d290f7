"""Intervals of means over test cases: over patients, over trainings, over folds."""

import math
from collections.abc import Sequence

import numpy as np
from scipy import stats

from factory.evaluation.intervals import LEAST_PATIENTS, Interval, interval_by_patient

__all__ = [
    "LEAST_PATIENTS",
    "interval_over_both",
    "interval_over_means",
    "interval_over_patients",
]

interval_over_patients = interval_by_patient
"""Of test cases: what other patients would have given with the same trainings."""


def interval_over_means(whole: float, means: Sequence[float], counts: Sequence[int]) -> Interval:
    """Return a mean over all values, and a 95 % interval from the means of parts of them.

    Of seeds it covers other trainings, tested on the same patients. Of folds it covers other patients
    with the trainings that go with them, as in the tables of the field; folds share training cases, so
    it is somewhat too narrow.

    Parts count by their values, as in the mean over all, and the interval lies around that mean: its
    variance is k / (k - 1) times the sum of (w (m - mean))^2, for k parts of share w, as of a ratio of two
    totals (Cochran, Sampling Techniques, 3rd edition, 1977). Of even parts it is Student's, of k - 1
    degrees of freedom.

    Args:
        whole: Mean over all.
        means: One a seed, or a fold.
        counts: Values that each mean is of.

    Returns:
        `whole`; without an interval of fewer than two means.
    """
    if len(means) < 2:
        return Interval(whole, math.nan, math.nan)
    count, share = len(means), np.asarray(counts, np.float64) / sum(counts)
    apart = share * (np.asarray(means) - share @ np.asarray(means))
    error = math.sqrt(count / (count - 1) * float(apart @ apart))
    half = float(stats.t.ppf(0.975, count - 1)) * error
    return Interval(whole, whole - half, whole + half)


def interval_over_both(over_patients: Interval, over_seeds: Interval) -> Interval:
    """Return a mean, and the 95 % interval over other patients and other trainings at once.

    The distances to the ends of both intervals, in quadrature (Zou and Donner, Statistics in Medicine
    27, 2008). What a patient and a training have with each other is in both of them, so that it is
    somewhat too wide.

    Args:
        over_patients: Of the mean.
        over_seeds: Of the same mean.

    Returns:
        The mean; without an interval where one of the two has none.
    """
    value = over_patients.value
    low = math.hypot(value - over_patients.low, value - over_seeds.low)
    high = math.hypot(over_patients.high - value, over_seeds.high - value)
    return Interval(value, value - low, value + high)
