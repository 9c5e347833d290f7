"""The figures of each mix of a sweep, and against the real volumes alone.

runs --by mix--> summaries, paired differences --> figures.parquet
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from factory.errors import StoreError
from factory.evaluation.intervals import Interval
from factory.segmentation.summary import Summary, differences, summarise
from factory.segmentation.trials import ALL
from jobs.downstream.results import Run
from jobs.downstream.sweep.mixes import WHOLE, mix_of
from manifests.write import write_table

FIGURES = "figures.parquet"

_COUNT, _REAL, _TEXT = pa.int64(), pa.float64(), pa.string()
_INTERVALS = {
    "": "over_patients",
    "seeds_": "over_seeds",
    "folds_": "over_folds",
    "both_": "over_both",
}

FIGURES_SCHEMA = pa.schema(
    [
        *(pa.field(name, _TEXT, nullable=False) for name in ("mix", "title")),
        *(pa.field(name, _REAL, nullable=False) for name in ("num_real", "num_synthetic")),
        pa.field("against", _TEXT),
        *(pa.field(name, _TEXT, nullable=False) for name in ("name", "group")),
        pa.field("value", _REAL, nullable=False),
        pa.field("sd", _REAL),
        *(pa.field(f"{start}{end}", _REAL) for start in _INTERVALS for end in ("low", "high")),
        *(pa.field(name, _COUNT, nullable=False) for name in ("n", "num_tests", "num_patients")),
        pa.field("num_seeds", _COUNT, nullable=False),
        pa.field("num_seeds_better", _COUNT),
        pa.field("note", _TEXT, nullable=False),
    ]
)
"""A row a figure. `num_real` and `num_synthetic` are means over folds. `against` is the mix that a
difference is from, and null where the figure is none. `low` and `high` are over patients with the same
trainings, `seeds_*` over trainings with the same patients, `both_*` over patients and trainings, `folds_*`
over folds and their trainings, somewhat too narrow; null where there was too little for an interval."""

Training = tuple[int, int]
"""(seed, fold)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MixFigures:
    """What was found of one mix."""

    label: str
    """As its runs have it."""
    title: str
    """In the paper's words, after what was asked for: `R`, `25 %R`, `R + 25 %S`."""
    num_real: tuple[int, int]
    """Volumes that it was trained on, least and most over its folds."""
    num_synthetic: tuple[int, int]
    mean_real: float
    mean_synthetic: float
    real_part: float
    """Of all real volumes, those that were asked for; NaN where the label is no sweep's."""
    extra: float
    """Synthetic volumes per real one that were asked for; NaN where the label is no sweep's."""
    tested: Mapping[Training, frozenset[str]]
    """Test cases of each of its runs."""
    left_out: Mapping[Training, Mapping[str, str]]
    """Volumes that its runs could not use, and why; runs that lacked none are not named."""
    summaries: tuple[Summary, ...]
    against: str
    """Label of the baseline; empty where this is it, or there is none."""
    differences: tuple[Summary, ...]
    """From the baseline."""

    @property
    def trainings(self) -> frozenset[Training]:
        """(seed, fold) of its runs."""
        return frozenset(self.tested)

    def summary(self, name: str, group: str = ALL) -> Summary | None:
        """Return one of `summaries`, or None where no case has it."""
        return _one(self.summaries, name, group)

    def difference(self, name: str, group: str = ALL) -> Summary | None:
        """Return one of `differences`, or None."""
        return _one(self.differences, name, group)


def figures_of(runs: Sequence[Run]) -> list[MixFigures]:
    """Return the figures of each mix: by how many volumes are real, then by how many are synthetic.

    The baseline is the mix of all real volumes alone; without a run of it there are no differences.
    What a mix is called goes by its label: counts differ from fold to fold, and where a run is missing
    or a volume was torn, means of counts do so from mix to mix.

    Args:
        runs: Finished ones, of one manifest and one configuration.

    Raises:
        StoreError: Two runs are of one mix, seed and fold.
    """
    by_label: dict[str, list[Run]] = {}
    for run in runs:
        by_label.setdefault(run.label, []).append(run)
    for label, own in by_label.items():
        _refuse_twice(label, own)
    found = [_mix(own, by_label.get(WHOLE.label, [])) for own in by_label.values()]
    return sorted(found, key=_place)


def write_figures(mixes: Sequence[MixFigures], path: Path) -> None:
    """Write all figures and differences as Parquet, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [row for mix in mixes for row in _rows(mix)]
    write_table(pa.Table.from_pylist(rows, schema=FIGURES_SCHEMA), path)


def _one(found: Sequence[Summary], name: str, group: str) -> Summary | None:
    return next((one for one in found if (one.name, one.group) == (name, group)), None)


def _refuse_twice(label: str, runs: Sequence[Run]) -> None:
    seen: dict[tuple[int, int], Run] = {}
    for run in runs:
        other = seen.setdefault((run.seed, run.fold), run)
        if other is not run:
            raise StoreError(
                f"runs {other.folder} and {run.folder}: found mix {label}, seed {run.seed} and fold {run.fold} "
                "twice; expected once. Remove one of the folders."
            )


def _place(mix: MixFigures) -> tuple[bool, float, float, str]:
    if math.isnan(mix.real_part):
        return True, mix.mean_real, mix.mean_synthetic, mix.label
    return False, mix.real_part, mix.extra, mix.label


def _mix(runs: Sequence[Run], baseline: Sequence[Run]) -> MixFigures:
    label = runs[0].label
    asked = mix_of(label)
    part, extra = (asked.real_part, asked.extra) if asked else (math.nan, math.nan)
    trials = [run.trial for run in runs]
    is_compared = bool(baseline) and label != baseline[0].label
    found = differences(trials, [run.trial for run in baseline]) if is_compared else []
    return MixFigures(
        label=label,
        title=_title(part, extra) if asked else label,
        num_real=_ends([run.num_real for run in runs]),
        num_synthetic=_ends([run.num_synthetic for run in runs]),
        mean_real=_mean(runs, "num_real"),
        mean_synthetic=_mean(runs, "num_synthetic"),
        real_part=part,
        extra=extra,
        tested={
            (run.seed, run.fold): frozenset(case.case_id for case in run.cases) for run in runs
        },
        left_out={(run.seed, run.fold): run.left_out for run in runs if run.left_out},
        summaries=tuple(summarise(trials)),
        against=baseline[0].label if is_compared else "",
        differences=tuple(found),
    )


def _title(part: float, extra: float) -> str:
    """Return the paper's words for a mix."""
    real = "R" if part == 1.0 else f"{100 * part:.3g} %R"
    return f"{real} + {100 * extra:.3g} %S" if extra else real


def _mean(runs: Sequence[Run], name: str) -> float:
    return sum(run.mix[name] for run in runs) / len(runs)


def _ends(counts: Sequence[int]) -> tuple[int, int]:
    return min(counts), max(counts)


def _rows(mix: MixFigures) -> Iterator[dict[str, Any]]:
    for one in mix.summaries:
        yield _row(mix, one, against=None)
    for one in mix.differences:
        yield _row(mix, one, against=mix.against)


def _row(mix: MixFigures, one: Summary, against: str | None) -> dict[str, Any]:
    ends: dict[str, float | None] = {}
    for start, name in _INTERVALS.items():
        interval: Interval = getattr(one, name)
        ends |= {f"{start}low": _finite(interval.low), f"{start}high": _finite(interval.high)}
    return {
        "mix": mix.label,
        "title": mix.title,
        "num_real": mix.mean_real,
        "num_synthetic": mix.mean_synthetic,
        "against": against,
        "name": one.name,
        "group": one.group,
        "value": one.value,
        "sd": _finite(one.sd),
        **ends,
        "n": one.n,
        "num_tests": one.num_tests,
        "num_patients": one.num_patients,
        "num_seeds": len(one.of_seeds),
        "num_seeds_better": None if against is None else one.num_seeds_better,
        "note": one.note,
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
