"""The scores of many trainings, one by one: what summaries and comparisons are of."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from factory.segmentation.score import CaseScore

ALL = "all"
"""Group of all cases, or of all nodules."""

SIZES_MM = (0.0, 6.0, 8.0, 15.0, 30.0, math.inf)
"""Edges of the groups by diameter: those that guidelines for nodules go by."""

SIZE_GROUPS = ("<6 mm", "6-8 mm", "8-15 mm", "15-30 mm", ">30 mm")
"""Names of the groups; one of 8 mm is in the third, and one of 30 mm in the last."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """The test of one training."""

    seed: int
    """Of the training."""
    fold: int
    """Whose patients tested; the others trained."""
    cases: tuple[CaseScore, ...]


class Key(NamedTuple):
    """What a value is of; equal in two mixes, the values are a pair."""

    patient_id: str
    case_id: str
    nodule: int
    """Number of the nodule; 0 where the value is of a case."""
    seed: int
    fold: int


Values = dict[Key, float]


def size_group(diameter_mm: float) -> str:
    """Return the name of the group that a diameter above 0 is in."""
    for upper, name in zip(SIZES_MM[1:], SIZE_GROUPS, strict=True):
        if diameter_mm < upper:
            return name
    return SIZE_GROUPS[-1]


def values_of(trials: Sequence[Trial]) -> dict[tuple[str, str], Values]:
    """Return all values by name and group.

    `dice` and `sensitivity` are of cases that have a nodule: of one without, Dice is 0 or undefined by
    what was predicted, and two mixes would be measured on different cases. What is predicted in those
    counts in `specificity` and in `false_per_scan`, which are of all cases. By size, a case is in the
    group of its largest nodule.

    `nodules_found` and `nodule_sensitivity` are of nodules, each in its own group.
    """
    found: dict[tuple[str, str], Values] = {}
    for trial in trials:
        for case in trial.cases:
            for name, group, nodule, value in _values(case):
                key = Key(case.patient_id, case.case_id, nodule, trial.seed, trial.fold)
                found.setdefault((name, group), {})[key] = value
    return found


def _values(case: CaseScore) -> Iterator[tuple[str, str, int, float]]:
    if not math.isnan(case.specificity):
        yield "specificity", ALL, 0, case.specificity
    yield "false_per_scan", ALL, 0, float(case.num_false)
    if case.num_nodules:
        for group in (ALL, size_group(case.largest_mm)):
            yield "dice", group, 0, case.dice
            yield "sensitivity", group, 0, case.sensitivity
    for number, nodule in enumerate(case.sizes):
        for group in (ALL, size_group(nodule.diameter_mm)):
            yield "nodules_found", group, number, float(nodule.found)
            yield "nodule_sensitivity", group, number, nodule.sensitivity
