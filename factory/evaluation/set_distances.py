"""Distances between a real and a synthetic set, and between two halves of the real one.

features --folds, by patient--> moments of each fold --merged without one--> Fréchet distances
"""

import math
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from factory.evaluation.folds import halves_by_patient
from factory.evaluation.frechet import frechet_distance
from factory.evaluation.intervals import Interval, interval_of_left_out
from factory.evaluation.mmd import GaussianKernel, mmd_squared
from factory.evaluation.moments import Moments, merge

Features = NDArray[np.floating]
Folds = NDArray[np.intp]

_LEAST = 2
"""Volumes of a set that has a covariance, or a discrepancy."""

LEAST_FOLDS = 3
"""Of an interval."""


def frechet_over_folds(
    real: Features, synthetic: Features, real_folds: Folds, synthetic_folds: Folds
) -> Interval:
    """Return the Fréchet distance of two sets, and its interval over folds.

    Args:
        real: (n, d), two or more.
        synthetic: (m, d), two or more.
        real_folds: (n,) fold of each.
        synthetic_folds: (m,) fold of each.

    Raises:
        ValueError: A set has fewer than two volumes.
    """
    one, other = _moments(real, real_folds), _moments(synthetic, synthetic_folds)
    whole = frechet_distance(merge(one.values()), merge(other.values()))

    def without(fold: int) -> float:
        sides = [
            merge(part for number, part in side.items() if number != fold) for side in (one, other)
        ]
        return frechet_distance(*sides)

    found = _interval(whole, without, real_folds, synthetic_folds)
    # Student's interval does not know that distances are not below 0.
    return Interval(found.value, float(np.maximum(found.low, 0.0)), found.high)


def mmd_over_folds(
    real: Features,
    synthetic: Features,
    real_folds: Folds,
    synthetic_folds: Folds,
    kernel: GaussianKernel,
) -> Interval:
    """Return the squared discrepancy of two sets, and its interval over folds.

    Args:
        real: (n, d), two or more.
        synthetic: (m, d), two or more.
        real_folds: (n,) fold of each.
        synthetic_folds: (m,) fold of each.
        kernel: One for all folds.

    Raises:
        ValueError: A set has fewer than two volumes.
    """
    distance = partial(mmd_squared, kernel=kernel)
    return distance_over_folds(real, synthetic, real_folds, synthetic_folds, distance)


def distance_over_folds(
    real: Features,
    synthetic: Features,
    real_folds: Folds,
    synthetic_folds: Folds,
    distance: Callable[[Features, Features], float],
) -> Interval:
    """Return the distance of two sets, and its interval over folds.

    Args:
        real: (n, d).
        synthetic: (m, d).
        real_folds: (n,) fold of each.
        synthetic_folds: (m,) fold of each.
        distance: Of two sets.
    """

    def without(fold: int) -> float:
        return distance(real[real_folds != fold], synthetic[synthetic_folds != fold])

    return _interval(distance(real, synthetic), without, real_folds, synthetic_folds)


def real_floor(
    real: Features,
    patients: Sequence[str],
    distance: Callable[[Features, Features], float],
    *,
    num_splits: int,
) -> Interval:
    """Return how far two random halves of the real set lie apart: what no generator need beat.

    Args:
        real: (n, d).
        patients: Patient of each; no patient is in both halves.
        distance: Of two sets.
        num_splits: Random halves.

    Returns:
        The mean, from the least to the greatest over the splits: they share their volumes, so that
        an interval of Student's would say too much. NaN where a half would have fewer than two
        volumes.
    """
    found = []
    for seed in range(num_splits):
        first = halves_by_patient(patients, seed=seed)
        if min(first.sum(), (~first).sum()) >= _LEAST:
            found.append(distance(real[first], real[~first]))
    if not found:
        return Interval(math.nan, math.nan, math.nan)
    return Interval(float(np.mean(found)), min(found), max(found))


def _moments(features: Features, folds: Folds) -> dict[int, Moments]:
    return {int(fold): Moments.of(features[folds == fold]) for fold in np.unique(folds)}


def _interval(
    whole: float, without: Callable[[int], float], real_folds: Folds, synthetic_folds: Folds
) -> Interval:
    """Return the interval of a figure, or none where a set without a fold would have none left."""
    numbers = np.unique(np.concatenate([real_folds, synthetic_folds]))
    left = min(
        int((side != fold).sum()) for side in (real_folds, synthetic_folds) for fold in numbers
    )
    if len(numbers) < LEAST_FOLDS or left < _LEAST:
        return Interval(whole, math.nan, math.nan)
    return interval_of_left_out(whole, [without(int(fold)) for fold in numbers])
