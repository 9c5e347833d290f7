"""What an evaluation found, as the command tells it and `evaluation.json` keeps it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from jobs.evaluate.figures import Figure
from jobs.evaluate.given import GivenSet, Sets
from jobs.evaluate.memorised import Row
from jobs.evaluate.records import figure_row

_VERDICTS = ("copy", "near", "clear", "unknown")


@dataclass(frozen=True, kw_only=True, slots=True)
class SetResult:
    """What was found of one synthetic set."""

    name: str
    place: str
    num_volumes: int
    num_rejected: int
    """Volumes that quality control rejected: they are not among `num_volumes`."""
    verdicts: Mapping[str, int]
    """Volumes by verdict of memorisation."""
    is_foreign: bool
    """Whether it is a folder of image files."""


@dataclass(frozen=True, slots=True)
class EvaluateResult:
    """What an evaluation left in its folder."""

    table: str
    """Path of tables/table2.md."""
    extractor: str
    figures: Sequence[Figure]
    num_real: int
    sets: Sequence[SetResult]
    num_left_out: int
    """Volumes that could not be read or measured, or are on another grid."""
    ablations: str = ""
    """Path of tables/table4.md; empty where no set is an ablation."""

    @property
    def num_synthetic(self) -> int:
        """Volumes of all synthetic sets."""
        return sum(one.num_volumes for one in self.sets)

    @property
    def verdicts(self) -> dict[str, int]:
        """Synthetic volumes of all sets by verdict of memorisation."""
        return {word: sum(one.verdicts[word] for one in self.sets) for word in _VERDICTS}


def results_of(sets: Sets, rows: Mapping[str, Sequence[Row]]) -> list[SetResult]:
    """Return what was found of each set, given its rows of memorisation."""
    return [_result(one, [row["verdict"] for row in rows[one.name]]) for one in sets.synthetic]


def _result(given: GivenSet, words: Sequence[str]) -> SetResult:
    return SetResult(
        name=given.name,
        place=given.place,
        num_volumes=len(words),
        num_rejected=given.num_rejected,
        verdicts={word: words.count(word) for word in _VERDICTS},
        is_foreign=given.is_foreign,
    )


def record_of(result: EvaluateResult, sets: Sets, ablations: Mapping[str, str]) -> dict[str, Any]:
    """Return what `evaluation.json` says of the result."""
    return {
        "num_real": result.num_real,
        "num_synthetic": result.num_synthetic,
        "num_rejected_by_quality_control": sum(one.num_rejected for one in result.sets),
        "verdicts": result.verdicts,
        "sets": {
            one.name: {
                "place": one.place,
                "num_volumes": one.num_volumes,
                "num_rejected_by_quality_control": one.num_rejected,
                "verdicts": dict(one.verdicts),
                "ablation": ablations.get(one.name),
                "notes": list(given.notes),
            }
            for one, given in zip(result.sets, sets.synthetic, strict=True)
        },
        "figures": [figure_row(figure) for figure in result.figures],
        "versions": {name: version(name) for name in ("ct-factory", "torch", "numpy", "scipy")},
    }
