"""How often intervals of 95 % hold the truth, where very many test patients and trainings tell it."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from factory.evaluation.intervals import Interval
from factory.segmentation.summary import Summary, differences, summarise
from factory.segmentation.trials import ALL, Trial

SMALL_TEST, GROUP = 12, 3
GROUPS, SIMULATED = 400, 1000

Row = dict[str, Any]


def coverage(mixes: Mapping[str, Mapping[int, Trial]], whole: str, smallest: str) -> Row:
    """Return, by kind of interval, how many were made and how many held the truth.

    Args:
        mixes: Trainings by their seed, of each mix by its label.
        whole: Label of the mix that others are compared with.
        smallest: Label of one that has as many trainings, more than `GROUP`.

    Returns:
        Of each kind `intervals`, how many `held`, their `share` and the `expected` one; over seeds also the
        bounds `by chance`.
    """
    pair = mixes[whole], mixes[smallest]
    every = [trial for mix in mixes.values() for trial in mix.values()]
    over_patients = [held for trial in every for held in _small_tests([trial], None)]
    paired = [
        held
        for seed in pair[1].keys() & pair[0].keys()
        for held in _small_tests([pair[1][seed]], [pair[0][seed]])
    ]
    over_seeds = [held for mix in pair for held in _groups(list(mix.values()))]
    right = _right_shares(len(pair[0]), num_mixes=2)
    bounds = [round(float(bound), 3) for bound in np.quantile(right, [0.025, 0.975])]
    return {
        f"Dice of {SMALL_TEST} patients": _counted(over_patients, 0.95),
        f"difference of two mixes, {SMALL_TEST} patients": _counted(paired, 0.95),
        f"Dice of {GROUP} seeds": _counted(over_seeds, right.mean()) | {"by chance": bounds},
    }


def _threes(num_seeds: int) -> NDArray[np.int64]:
    """Return the groups of seeds that are judged, (groups, GROUP): drawn, for all would be too many."""
    rng = np.random.default_rng(0)
    return np.stack([rng.choice(num_seeds, GROUP, replace=False) for _ in range(GROUPS)])


def _right_shares(num_seeds: int, num_mixes: int) -> NDArray[np.float64]:
    """Return the share of the groups in which a right interval holds the truth, (SIMULATED,), of normal draws."""
    groups, rng = _threes(num_seeds), np.random.default_rng(1)
    width = stats.t.ppf(0.975, GROUP - 1) / np.sqrt(GROUP)
    shares = []
    for _ in range(SIMULATED):
        draws = rng.normal(size=(num_mixes, num_seeds))
        mine = draws[:, groups]
        others = (draws.sum(1, keepdims=True) - mine.sum(2)) / (num_seeds - GROUP)
        off = np.abs(mine.mean(2) - others)
        shares.append((off <= width * mine.std(2, ddof=1)).mean())
    return np.array(shares)


def _small_tests(trials: Sequence[Trial], baseline: Sequence[Trial] | None) -> Iterator[bool]:
    """Yield for each small test whether its interval over patients holds the large one's mean."""
    truth = _dice(trials, baseline)
    names = [case.case_id for case in trials[0].cases]
    np.random.default_rng(0).shuffle(names)
    for start in range(0, len(names) - SMALL_TEST + 1, SMALL_TEST):
        part = names[start : start + SMALL_TEST]
        sides = [_of_cases(side, part) for side in (trials, baseline or [])]
        found = _dice(sides[0], sides[1] if baseline else None)
        yield _holds(found.over_patients, truth.value)


def _groups(trials: Sequence[Trial]) -> Iterator[bool]:
    """Yield for each group of seeds whether its interval over seeds holds the mean of the others."""
    dice = np.array([_dice([trial], None).value for trial in trials])
    for group in _threes(len(trials)):
        interval = _dice([trials[number] for number in group], None).over_seeds
        yield _holds(interval, float(np.delete(dice, group).mean()))


def _of_cases(trials: Iterable[Trial], names: Sequence[str]) -> list[Trial]:
    return [
        replace(trial, cases=tuple(case for case in trial.cases if case.case_id in names))
        for trial in trials
    ]


def _dice(trials: Sequence[Trial], baseline: Sequence[Trial] | None) -> Summary:
    found = summarise(trials) if baseline is None else differences(trials, baseline)
    return next(one for one in found if (one.name, one.group) == ("dice", ALL))


def _holds(interval: Interval, value: float) -> bool:
    return interval.low <= value <= interval.high


def _counted(held: Sequence[bool], expected: float) -> Row:
    share = round(sum(held) / len(held), 3)
    return {
        "intervals": len(held),
        "held": sum(held),
        "share": share,
        "expected": round(float(expected), 3),
    }
