"""The 2.5-D Fréchet distance: of slices, the mean over planes.

features of a volume's slices --> moments of each fold --> distance in a plane --> mean over planes
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from factory.evaluation.frechet import frechet_distance
from factory.evaluation.intervals import Interval, interval_of_left_out
from factory.evaluation.moments import Moments, merge
from factory.evaluation.set_distances import LEAST_FOLDS

FoldMoments = Mapping[int, Moments]
"""Of the slices of one plane, by fold."""


def moments_by_fold(
    features: Iterable[NDArray[np.floating]], folds: Sequence[int]
) -> dict[int, Moments]:
    """Return the moments of each fold's slices.

    Args:
        features: (slices, d) of each volume, one volume in memory at a time.
        folds: Fold of each volume.
    """
    found: dict[int, Moments] = {}
    for slices, fold in zip(features, folds, strict=True):
        moments = Moments.of(slices)
        found[fold] = found[fold].merged(moments) if fold in found else moments
    return found


def frechet_of_planes(planes: Iterable[tuple[FoldMoments, FoldMoments]]) -> Interval:
    """Return the mean Fréchet distance over planes, and its interval over folds of volumes.

    Slices of a volume are no independent images: whole folds are left out, of both sets and in all
    planes at once.

    Args:
        planes: Of each plane the real and the synthetic moments; taken one by one, for each is
            large.

    Returns:
        The mean; without an interval where there are fewer than three folds, or a set has a fold
        and nothing else.

    Raises:
        ValueError: There is no plane.
    """
    of_planes = [_with_each_left_out(*sides) for sides in planes]
    if not of_planes:
        raise ValueError("a mean of 0 planes, expected one or more")
    # The same folds in each plane.
    whole, *left_out = np.mean(of_planes, axis=0).tolist()
    if len(left_out) < LEAST_FOLDS or not np.isfinite(left_out).all():
        return Interval(whole, float("nan"), float("nan"))
    found = interval_of_left_out(whole, left_out)
    return Interval(whole, max(found.low, 0.0), found.high)


def _with_each_left_out(real: FoldMoments, synthetic: FoldMoments) -> list[float]:
    """Return the distance of all, and then without each fold; NaN where nothing is left."""
    found = [frechet_distance(merge(real.values()), merge(synthetic.values()))]
    for fold in sorted(set(real) | set(synthetic)):
        sides = [
            [part for number, part in side.items() if number != fold] for side in (real, synthetic)
        ]
        found.append(frechet_distance(*map(merge, sides)) if all(sides) else float("nan"))
    return found
