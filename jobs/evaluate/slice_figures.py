"""The 2.5-D Fréchet distance of sets, with its floor.

sides --what slices/ has not--> SliceMeasurer actors --> slices/KEY.npz --> moments --> figures
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from factory.evaluation.folds import folds_by_patient
from factory.evaluation.frechet import frechet_distance
from factory.evaluation.intervals import Interval
from factory.evaluation.planes import FoldMoments, frechet_of_planes, moments_by_fold
from factory.evaluation.set_distances import real_floor
from jobs.evaluate.figures import Figure, Side, folds_told
from jobs.evaluate.measure import MeasureSettings
from jobs.evaluate.sides import LEAST, Sides, measure_items
from jobs.evaluate.slices import PLANES, KeptSlices, SliceMeasurer, open_slice_extractor

NAME = "fid_2_5d"

_PROTOCOL = (
    "middle two fifths of the slices of three planes, mean over planes, on the real set's grid"
)


def slice_figures(
    sides: Sides,
    out: Path,
    weights: Path,
    *,
    num_folds: int,
    device: str,
    ray_address: str | None,
    tell: Callable[[str], None],
) -> Iterator[Figure]:
    """Yield the 2.5-D Fréchet distance of each set, and of halves of the real one.

    Args:
        sides: The measured sets.
        out: Folder of the evaluation; slices are kept there.
        weights: State of a 2-D ResNet-50.
        num_folds: Folds of the intervals, and random halves of the floor.
        device: `auto`, `cpu` or `cuda`.
        ray_address: Cluster to join; None starts one.
        tell: Is given a sentence for each volume or figure that could not be told.

    Raises:
        UsageError: The weights are no such state.
    """
    extractor = open_slice_extractor(weights, "cpu")
    settings = MeasureSettings(
        weights=str(weights), digest=extractor.digest, kept_as=extractor.digest, device=device
    )
    every = [sides.real, *sides.synthetic]
    items = {item.key(extractor.digest): item for side in every for item in side.items}
    kept = KeptSlices(out)
    broken = measure_items(items, kept, settings, ray_address, SliceMeasurer)
    for key, problem in broken.items():
        tell(f"{NAME}: {items[key].name}: {problem}")

    real = _with_slices(sides.real, kept, extractor.digest)
    for side in sides.synthetic:
        synthetic = _with_slices(side, kept, extractor.digest)
        if min(len(real.items), len(synthetic.items)) < LEAST:
            tell(f"{NAME}: {side.name}: fewer than {LEAST} volumes have slices")
            continue
        found, count = _of_set(real, synthetic, kept, extractor.digest, num_folds)
        note = f"against {len(real.items)} real; {_PROTOCOL}; {folds_told(count)}"
        yield _figure(side.name, NAME, extractor.name, found, len(synthetic.items), note)
    floor = _floor(real, kept, extractor.digest, num_folds)
    if np.isfinite(floor.value):
        note = f"mean, least and greatest of {num_folds} random halves by patient"
        name = f"{NAME}_real_to_real"
        yield _figure(real.name, name, extractor.name, floor, len(real.items), note)


def _figure(of: str, name: str, extractor: str, interval: Interval, n: int, note: str) -> Figure:
    return Figure(
        of=of, name=name, region="whole", extractor=extractor, interval=interval, n=n, note=note
    )


def _with_slices(side: Side, kept: KeptSlices, kept_as: str) -> Side:
    return side.where(lambda item: item.key(kept_as) in kept)


def _keys(side: Side, kept_as: str) -> list[str]:
    return [item.key(kept_as) for item in side.items]


def _of_set(
    real: Side, synthetic: Side, kept: KeptSlices, kept_as: str, num_folds: int
) -> tuple[Interval, int]:
    """Return the distance of two sets, and over how many folds its interval is."""
    folds = folds_by_patient(real.patients, synthetic.patients, num_folds)
    sides = [
        (_keys(side, kept_as), fold.tolist())
        for side, fold in zip((real, synthetic), folds, strict=True)
    ]

    def plane(name: str) -> tuple[FoldMoments, FoldMoments]:
        one, other = (moments_by_fold(kept.planes(keys, name), fold) for keys, fold in sides)
        return one, other

    return frechet_of_planes(map(plane, PLANES)), len(np.unique(np.concatenate(folds)))


def _floor(real: Side, kept: KeptSlices, kept_as: str, num_splits: int) -> Interval:
    keys = _keys(real, kept_as)

    def apart(one: NDArray[np.floating], other: NDArray[np.floating]) -> float:
        """Return how far two parts of the real set lie apart, given the places of their volumes."""
        found = []
        for plane in PLANES:
            halves = (
                moments_by_fold(kept.planes([keys[int(i)] for i in half], plane), [0] * len(half))[
                    0
                ]
                for half in (one, other)
            )
            found.append(frechet_distance(*halves))
        return float(np.mean(found))

    places: NDArray[np.float64] = np.arange(len(keys), dtype=np.float64)
    return real_floor(places, real.patients, apart, num_splits=num_splits)
