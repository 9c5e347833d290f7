"""What `evaluate` writes of its figures for programs.

figures.parquet         every number: set, name, region, extractor, value, low, high, n, note
memorisation.parquet    a row and a verdict for each synthetic volume of each set
evaluation.json         all of it, with what it was made from and what was left out
"""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from jobs.aside import written_aside
from jobs.evaluate.figures import Figure
from jobs.evaluate.memorised import SPACES, Row

_REAL, _TEXT = pa.float64(), pa.string()

FIGURES_SCHEMA = pa.schema(
    [
        pa.field("set", _TEXT, nullable=False),
        pa.field("name", _TEXT, nullable=False),
        pa.field("region", _TEXT, nullable=False),
        pa.field("extractor", _TEXT, nullable=False),
        pa.field("value", _REAL, nullable=False),
        pa.field("low", _REAL),
        pa.field("high", _REAL),
        pa.field("n", pa.int64(), nullable=False),
        pa.field("note", _TEXT, nullable=False),
    ]
)
"""`set` is `real` for a floor; `low` and `high` are null where there was too little for an interval."""

_OF_A_SPACE = (
    ("nearest_case", _TEXT),
    ("distance", _REAL),
    ("ratio", _REAL),
    ("other_case", _TEXT),
    ("other_distance", _REAL),
    ("usual_distance", _REAL),
)

MEMORISATION_SCHEMA = pa.schema(
    [
        *(
            pa.field(name, _TEXT, nullable=False)
            for name in ("set", "work_id", "case_id", "patient_id", "verdict")
        ),
        pa.field("lung_correlation", _REAL),
        *(pa.field(f"{name}_{space}", kind) for space in SPACES for name, kind in _OF_A_SPACE),
    ]
)
"""`case_id` is the donor, empty of a volume made elsewhere. In each space the nearest training volume,
how near it is and how alone; the nearest of another patient than the donor; and the distance that 5 %
of real volumes lie nearer to another patient's."""


def write_parquet(rows: Sequence[Row], schema: pa.Schema, path: Path) -> None:
    """Write a table, whole or not at all."""
    with written_aside(path) as aside:
        pq.write_table(pa.Table.from_pylist(list(rows), schema=schema), aside)


def figure_row(figure: Figure) -> Row:
    """Return a row of `FIGURES_SCHEMA`; what is not finite is null."""
    interval = figure.interval
    return {
        "set": figure.of,
        "name": figure.name,
        "region": figure.region,
        "extractor": figure.extractor,
        "value": interval.value,
        "low": interval.low if math.isfinite(interval.low) else None,
        "high": interval.high if math.isfinite(interval.high) else None,
        "n": figure.n,
        "note": figure.note,
    }


def as_json(content: dict[str, Any]) -> str:
    """Return `evaluation.json`."""
    return json.dumps(content, indent=2, allow_nan=False) + "\n"
