"""What the tests of a mix say, and what they say against those of another: each figure with intervals.

trials --values_of--> values by name and group --patients, seeds, folds--> a Summary of each
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from factory.evaluation.intervals import Interval, interval_of_share
from factory.segmentation.intervals import (
    interval_over_both,
    interval_over_means,
    interval_over_patients,
)
from factory.segmentation.trials import ALL, SIZE_GROUPS, Key, Trial, Values, values_of

NAMES = {
    "dice": "cases with a nodule",
    "sensitivity": "share of nodule voxels, cases with a nodule",
    "specificity": "share of other voxels, all cases",
    "false_per_scan": "predicted pieces that share no voxel with a nodule, all cases",
    "nodules_found": "nodules of which one voxel or more was predicted",
    "nodule_sensitivity": "share of a nodule's voxels, mean over nodules",
}
"""What is summarised, and what each is of."""

_UNBOUNDED = "false_per_scan"


@dataclass(frozen=True, kw_only=True, slots=True)
class Summary:
    """One figure of a mix, or of the difference of two."""

    name: str
    """One of `NAMES`."""
    group: str
    """`all`, or one of `SIZE_GROUPS`: of a case its largest nodule's."""
    value: float
    """Mean over all tests of all cases, or nodules."""
    sd: float
    """Standard deviation over the same; NaN of one."""
    over_patients: Interval
    """Covers other patients with the same trainings."""
    over_seeds: Interval
    """Covers other trainings with the same patients; NaN where one seed, or none, has all folds."""
    over_folds: Interval
    """Covers other patients and trainings, somewhat too narrow; NaN where there is one fold."""
    over_both: Interval
    """Covers other patients and other trainings, somewhat too wide; NaN where one of the two is."""
    n: int
    """Different cases or nodules."""
    num_tests: int
    """Of them, over all seeds."""
    num_patients: int
    of_seeds: tuple[float, ...]
    """Mean of each seed that has all folds."""
    note: str

    @property
    def num_seeds_better(self) -> int:
        """Of a difference: seeds whose own one is to the better."""
        sign = -1.0 if self.name == _UNBOUNDED else 1.0
        return sum(sign * one > 0.0 for one in self.of_seeds)


def summarise(trials: Sequence[Trial]) -> list[Summary]:
    """Return the figures of a mix, by name and group; what no case has is left out.

    Args:
        trials: Tests of its trainings.
    """
    found = values_of(trials)
    whole = _whole(trials)
    return [
        _summary(name, group, found[name, group], whole, NAMES[name])
        for name, group in _order(found)
    ]


def differences(trials: Sequence[Trial], baseline: Sequence[Trial]) -> list[Summary]:
    """Return what a mix has above another one: the means of differences, value by value.

    Values are pairs where they are of the same seed, fold, case and nodule; the others are left out.

    Args:
        trials: Of the mix.
        baseline: Of the one that it is compared with.
    """
    ours, theirs = values_of(trials), values_of(baseline)
    pairs = {
        name: {
            key: value - theirs[name][key] for key, value in values.items() if key in theirs[name]
        }
        for name, values in ours.items()
        if name in theirs
    }
    told = {name: values for name, values in pairs.items() if values}
    whole = _whole(trials) & _whole(baseline)
    return [
        _summary(name, group, told[name, group], whole, f"{NAMES[name]}; difference", paired=True)
        for name, group in _order(told)
    ]


def _order(found: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    names, groups = list(NAMES), [ALL, *SIZE_GROUPS]
    return sorted(found, key=lambda one: (groups.index(one[1]), names.index(one[0])))


def _whole(trials: Sequence[Trial]) -> set[tuple[int, int]]:
    """Return the (seed, fold) of the trials of seeds that have all folds."""
    pairs = {(trial.seed, trial.fold) for trial in trials}
    folds = {fold for _, fold in pairs}
    return {pair for pair in pairs if all((pair[0], fold) in pairs for fold in folds)}


def _summary(
    name: str,
    group: str,
    found: Values,
    whole: set[tuple[int, int]],
    note: str,
    *,
    paired: bool = False,
) -> Summary:
    keys = sorted(found)
    values, patients = np.array([found[key] for key in keys]), [key.patient_id for key in keys]
    of_seeds, in_seeds = _means(
        found, lambda key: key.seed if (key.seed, key.fold) in whole else None
    )
    of_folds, in_folds = _means(found, lambda key: key.fold)
    within, mean = _within(name, paired=paired), float(values.mean())
    over_patients = _over_patients(name, values, patients, paired=paired)
    over_seeds = interval_over_means(mean, of_seeds, in_seeds)
    return Summary(
        name=name,
        group=group,
        value=mean,
        sd=float(values.std(ddof=1)) if len(values) > 1 else math.nan,
        over_patients=within(over_patients),
        over_seeds=within(over_seeds),
        over_folds=within(interval_over_means(mean, of_folds, in_folds)),
        over_both=within(interval_over_both(over_patients, over_seeds)),
        n=len({(key.case_id, key.nodule) for key in keys}),
        num_tests=len(keys),
        num_patients=len(set(patients)),
        of_seeds=tuple(of_seeds),
        note=note,
    )


def _means(found: Values, part_of: Callable[[Key], int | None]) -> tuple[list[float], list[int]]:
    """Return the mean of each part, and of how many values it is; what is of none does not count."""
    parts: dict[int, list[float]] = {}
    for key in sorted(found):
        part = part_of(key)
        if part is not None:
            parts.setdefault(part, []).append(found[key])
    ordered = [parts[part] for part in sorted(parts)]
    return [float(np.mean(part)) for part in ordered], [len(part) for part in ordered]


def _over_patients(
    name: str, values: NDArray[np.float64], patients: Sequence[str], *, paired: bool
) -> Interval:
    if name == "nodules_found" and not paired:
        return interval_of_share(values > 0.0, patients)
    return interval_over_patients(values, patients)


def _within(name: str, *, paired: bool) -> Callable[[Interval], Interval]:
    """Return what keeps an interval of a share, or of two shares' difference, where shares are."""
    if name == _UNBOUNDED and paired:
        return lambda found: found
    low, high = (-1.0 if paired else 0.0), (math.inf if name == _UNBOUNDED else 1.0)

    def clipped(found: Interval) -> Interval:
        ends = np.clip((found.low, found.high), low, high)
        return Interval(found.value, float(ends[0]), float(ends[1]))

    return clipped
