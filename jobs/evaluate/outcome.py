"""What an evaluation leaves in its folder once all is measured and compared."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs.aside import write_text_aside
from jobs.evaluate.ablations import ablations_of
from jobs.evaluate.extractors import Extractor
from jobs.evaluate.figures import Figure
from jobs.evaluate.folder import FIGURES, MEMORISATION, RECORD, TABLE_2, TABLE_4
from jobs.evaluate.given import Sets
from jobs.evaluate.memorised import Row
from jobs.evaluate.records import (
    FIGURES_SCHEMA,
    MEMORISATION_SCHEMA,
    as_json,
    figure_row,
    write_parquet,
)
from jobs.evaluate.result import EvaluateResult, record_of, results_of
from jobs.evaluate.sides import Sides
from jobs.evaluate.tables import table2, table4


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """What was measured and compared."""

    sets: Sets
    sides: Sides
    rows: Mapping[str, list[Row]]
    """Of `memorisation_rows`, by set."""
    figures: Sequence[Figure]
    extractor: Extractor
    weights: Mapping[str, str]
    """Files of weights by the options that named them; empty where none did."""
    num_folds: int
    not_told: Sequence[str]
    """Sentences on figures that could not be told."""


def write_outcome(found: Found, out: Path) -> EvaluateResult:
    """Write the tables and records of an evaluation; those of an earlier one are replaced.

    Args:
        found: All of it.
        out: The folder.
    """
    ablations = ablations_of(found.sets.synthetic)
    result = EvaluateResult(
        table=str(out / TABLE_2),
        extractor=found.extractor.name,
        figures=found.figures,
        num_real=len(found.sides.real.items),
        sets=results_of(found.sets, found.rows),
        num_left_out=found.sides.num_left_out,
        ablations=str(out / TABLE_4) if ablations else "",
    )
    figures = [figure_row(one) for one in found.figures]
    every = [row for rows in found.rows.values() for row in rows]
    write_parquet(figures, FIGURES_SCHEMA, out / FIGURES)
    write_parquet(every, MEMORISATION_SCHEMA, out / MEMORISATION)
    record = _made_from(found) | record_of(result, found.sets, ablations)
    write_text_aside(as_json(record), out / RECORD)
    _write_tables(found, ablations, out)
    return result


def _made_from(found: Found) -> dict[str, Any]:
    places = {one.name: one.place for one in found.sets.synthetic}
    extractor = {"name": found.extractor.name, "sha256": found.extractor.digest}
    return {
        "given": {
            "real": found.sets.real.place,
            "synthetic": places,
            "folds": found.num_folds,
        },
        "extractor": {**extractor, **found.weights},
        "grid": list(found.sets.shape),
        "left_out": found.sides.left_out_by_name(),
        "not_told": list(found.not_told),
    }


def _write_tables(found: Found, ablations: Mapping[str, str], out: Path) -> None:
    sets, extractor = found.sets, found.extractor
    page = table2(
        found.figures,
        [one.name for one in sets.synthetic],
        extractor.name,
        scale=extractor.scale,
        grid=sets.shape,
        notes=[f"{one.name}: {note}" for one in sets.synthetic for note in one.notes],
    )
    write_text_aside(page, out / TABLE_2)
    if ablations:
        page = table4(found.figures, ablations, extractor.name, grid=sets.shape)
        write_text_aside(page, out / TABLE_4)
    else:
        (out / TABLE_4).unlink(missing_ok=True)
