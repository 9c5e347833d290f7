"""How far the HU of a set's lungs lie from those of real ones, whoever its volumes were drawn into.

sides --histograms, pooled--> Wasserstein distance of each set, and of halves of the real one
"""

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from factory.evaluation.folds import folds_by_patient
from factory.evaluation.histograms import histogram_distance
from factory.evaluation.intervals import Interval
from factory.evaluation.set_distances import distance_over_folds, real_floor
from jobs.evaluate.figures import Figure, Side, folds_told
from jobs.evaluate.sides import LEAST

NAME = "set_histogram_distance_hu"

_POOLED = "Wasserstein, of lungs pooled a volume alike; nodules left out"


def histogram_figures(
    real: Side, sets: Sequence[Side], num_folds: int, tell: Callable[[str], None]
) -> Iterator[Figure]:
    """Yield the distance of each set from the real one, and of random halves of the real one.

    Args:
        real: Two volumes or more.
        sets: Of synthetic volumes.
        num_folds: Folds of the intervals, and random halves of the floor.
        tell: Is given a sentence for a set of which no distance could be told.
    """
    known = _with_lungs(real)
    for one in sets:
        drawn = _with_lungs(one)
        if min(len(known.items), len(drawn.items)) < LEAST:
            tell(f"{NAME}: {one.name}: fewer than {LEAST} volumes have lungs")
            continue
        found, count = _of_set(known, drawn, num_folds)
        note = f"{_POOLED}; against {len(known.items)} real; {folds_told(count)}"
        yield _figure(one.name, NAME, found, len(drawn.items), note)
    floor = _floor(known, num_folds)
    if math.isfinite(floor.value):
        note = f"mean, least and greatest of {num_folds} random halves by patient"
        yield _figure(real.name, f"{NAME}_real_to_real", floor, len(known.items), note)


def _figure(of: str, name: str, interval: Interval, n: int, note: str) -> Figure:
    return Figure(of=of, name=name, region="lungs", extractor="", interval=interval, n=n, note=note)


def _with_lungs(side: Side) -> Side:
    return side.only([bool(one.lung_hu.any()) for one in side.measured])


def _of_set(real: Side, synthetic: Side, num_folds: int) -> tuple[Interval, int]:
    """Return the distance of two sets, and over how many folds its interval is."""
    folds = folds_by_patient(real.patients, synthetic.patients, num_folds)
    one, other = real.features("lung_hu"), synthetic.features("lung_hu")
    found = distance_over_folds(one, other, *folds, histogram_distance)
    # Student's interval does not know that distances are not below 0.
    above = Interval(found.value, float(np.maximum(found.low, 0.0)), found.high)
    return above, len(np.unique(np.concatenate(folds)))


def _floor(real: Side, num_splits: int) -> Interval:
    if len(real.items) < LEAST:
        return Interval(math.nan, math.nan, math.nan)
    histograms = real.features("lung_hu")
    return real_floor(histograms, real.patients, histogram_distance, num_splits=num_splits)
