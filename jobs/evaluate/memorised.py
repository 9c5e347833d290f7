"""Whether the synthetic set copies: against training volumes, and against real ones held out.

A child of AAS shares its donor's lung layout and all that is outside, so that only what is inside the
lungs is compared, and each figure is told twice: with the donor among the real ones, and without.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import cycle
from typing import Any

import numpy as np
from numpy.typing import NDArray

from factory.evaluation.intervals import Interval, interval_by_patient, interval_of_share
from factory.evaluation.memorisation import (
    Names,
    Neighbours,
    membership_auc,
    nearest,
    share_closer_to_training,
)
from factory.evaluation.verdicts import Nearness, nearness, verdict
from jobs.evaluate.figures import Figure, Side

LEAST_HELD_OUT = 5
"""Real volumes on either side of an attack: with fewer the interval is all there is."""

SPACES = ("lungs", "thumbnail")
_NAMES = {"lungs": "features of the lungs", "thumbnail": "small image of the lungs' box, 16^3"}

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Found:
    """The nearest training volumes of the synthetic ones, in one space."""

    with_donor: Neighbours
    without: Neighbours
    usual: Nearness


def memorisation_rows(real: Side, synthetic: Side) -> list[Row]:
    """Return a row for each synthetic volume: its nearest training volumes, and a verdict."""
    training = real.where(_is_training)
    if not training.items:
        return [_bare_row(synthetic, i) for i in range(len(synthetic.items))]
    found = {space: _found(real, training, synthetic, space) for space in SPACES}
    return [_row(training, synthetic, found, i) for i in range(len(synthetic.items))]


def memorisation_figures(
    real: Side, synthetic: Side, extractor: str, rows: list[Row], tell: Callable[[str], None]
) -> Iterator[Figure]:
    """Yield the shares and the attack's area in both spaces, with the donor and without.

    Args:
        real: Of all splits; `train` against the others.
        synthetic: Drawn from the training ones.
        extractor: Name of what made the features.
        rows: Of `memorisation_rows`.
        tell: Is given a sentence for what could not be told.
    """
    yield from _shares_of_verdicts(synthetic, rows)
    training, held_out = real.where(_is_training), real.where(lambda item: not _is_training(item))
    if not training.items:
        tell("memorisation: no real volume is of the training split, so nothing was told of copies")
        return
    enough = min(len(training.items), len(held_out.items)) >= LEAST_HELD_OUT
    if not enough:
        tell(
            f"memorisation: {len(training.items)} training and {len(held_out.items)} held-out real volumes; "
            f"DCR share and membership AUC need {LEAST_HELD_OUT} of each"
        )
    for space in SPACES:
        for donor in ("included", "excluded"):
            named = extractor if space == "lungs" else f"lung box {space}"
            note = f"{_NAMES[space]}; donor {donor}"
            for name, interval, n in _of_space(
                training, held_out, synthetic, space, donor == "excluded", enough=enough
            ):
                yield Figure(
                    of=synthetic.name,
                    name=f"{name}_donor_{donor}",
                    region="lungs",
                    extractor=named,
                    interval=interval,
                    n=n,
                    note=note,
                )


def _of_space(
    training: Side,
    held_out: Side,
    synthetic: Side,
    space: str,
    without_donor: bool,
    *,
    enough: bool,
) -> Iterator[tuple[str, Interval, int]]:
    drawn, known = synthetic.features(space), training.features(space)
    apart = (synthetic.patients, training.patients) if without_donor else None
    ratios = nearest(drawn, known, apart=apart).ratio
    told = np.isfinite(ratios)
    if told.any():
        patients = [name for name, one in zip(synthetic.patients, told, strict=True) if one]
        yield "nndr", interval_by_patient(ratios[told], patients), int(told.sum())
    if not enough:
        return
    unseen = held_out.features(space)
    share = share_closer_to_training(drawn, known, unseen, apart=apart)
    yield "dcr_share_closer_to_training", share, len(drawn)
    members = _distances(known, drawn, (training.patients, synthetic.patients), without_donor)
    # A training volume goes without its children, and so each of these without somebody's: among fewer
    # the nearest is further by chance.
    instead = [name for name, _ in zip(cycle(training.patients), held_out.patients, strict=False)]
    others = _distances(unseen, drawn, (instead, synthetic.patients), without_donor)
    if min(len(members), len(others)) >= LEAST_HELD_OUT:
        yield "membership_auc", membership_auc(members, others), len(drawn)


def _distances(
    queries: NDArray[np.float32],
    drawn: NDArray[np.float32],
    names: tuple[Names, Names],
    apart: bool,
) -> NDArray[np.float64]:
    found = nearest(queries, drawn, apart=names if apart else None).distance
    finite: NDArray[np.float64] = found[np.isfinite(found)]
    return finite


def _shares_of_verdicts(synthetic: Side, rows: list[Row]) -> Iterator[Figure]:
    judged = [row for row in rows if row["verdict"] != "unknown"]
    if not judged:
        return
    for word in ("copy", "near"):
        flags = np.array([row["verdict"] == word for row in judged])
        yield Figure(
            of=synthetic.name,
            name=f"share_{word}",
            region="lungs",
            extractor="",
            interval=interval_of_share(flags, [row["patient_id"] for row in judged]),
            n=len(judged),
            note="verdicts of memorisation.parquet; Wilson's 95 %, of as many as patients",
        )


def _is_training(item: Any) -> bool:
    return bool(item.split == "train")


def _found(real: Side, training: Side, synthetic: Side, space: str) -> _Found:
    drawn, known = synthetic.features(space), training.features(space)
    apart = (synthetic.patients, training.patients)
    return _Found(
        nearest(drawn, known),
        nearest(drawn, known, apart=apart),
        nearness(real.features(space), real.patients),
    )


def _bare_row(synthetic: Side, i: int) -> Row:
    item, correlation = synthetic.items[i], _correlation(synthetic, i)
    return {
        "set": synthetic.name,
        "work_id": item.work_id,
        "case_id": item.case_id,
        "patient_id": item.patient_id,
        "verdict": verdict(correlation, (), ()),
        "lung_correlation": _or_none(correlation),
    }


def _row(training: Side, synthetic: Side, found: dict[str, _Found], i: int) -> Row:
    distances = tuple(float(found[space].without.distance[i]) for space in SPACES)
    row = _bare_row(synthetic, i)
    row["verdict"] = verdict(
        _correlation(synthetic, i), distances, tuple(found[space].usual for space in SPACES)
    )
    for space in SPACES:
        with_donor, other = found[space].with_donor, found[space].without
        is_there = math.isfinite(other.distance[i])
        row[f"nearest_case_{space}"] = training.items[with_donor.index[i]].case_id
        row[f"distance_{space}"] = float(with_donor.distance[i])
        row[f"ratio_{space}"] = _or_none(float(with_donor.ratio[i]))
        row[f"other_case_{space}"] = training.items[other.index[i]].case_id if is_there else None
        row[f"other_distance_{space}"] = _or_none(float(other.distance[i]))
        row[f"usual_distance_{space}"] = _or_none(found[space].usual.distance)
    return row


def _correlation(synthetic: Side, i: int) -> float:
    found = synthetic.measured[i].pair.get("lung_correlation")
    return math.nan if found is None else found


def _or_none(value: float) -> float | None:
    return value if math.isfinite(value) else None
