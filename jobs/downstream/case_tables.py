"""The scores of a run's test cases as tables, and back.

RUN/cases.parquet      a row a test case
RUN/nodules.parquet    a row a nodule of a test case
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from factory.errors import StoreError
from factory.segmentation.score import CaseScore, NoduleScore
from manifests.read import read_table
from manifests.write import write_table

CASES, NODULES = "cases.parquet", "nodules.parquet"

_MOST_BYTES = 64 * 2**20
"""Of a file, and of a table's columns once unpacked: a hundred thousand cases take a tenth."""
_MOST_ROWS = 1_000_000
LONGEST_TEXT = 10_000
"""Bytes of a name."""
_LONGEST_TOLD = 300

_COUNT, _REAL, _TEXT = pa.int64(), pa.float64(), pa.string()
_OF_A_RUN = {"mix": _TEXT, "seed": _COUNT, "fold": _COUNT}
_SHARES = ("dice", "sensitivity", "specificity")
_OF_A_NODULE = ("diameter_mm", "found", "sensitivity")

Row = dict[str, Any]


def _schema(columns: Mapping[str, pa.DataType], nullable: Sequence[str] = ()) -> pa.Schema:
    return pa.schema(
        [pa.field(name, kind, nullable=name in nullable) for name, kind in columns.items()]
    )


CASES_SCHEMA = _schema(
    {
        **_OF_A_RUN,
        **dict.fromkeys(("case_id", "patient_id"), _TEXT),
        **dict.fromkeys(_SHARES, _REAL),
        **dict.fromkeys(("num_nodules", "num_found", "num_false"), _COUNT),
        **dict.fromkeys(("true_ml", "predicted_ml"), _REAL),
    },
    nullable=_SHARES,
)
"""As in `CaseScore`; null where it is NaN there."""

NODULES_SCHEMA = _schema(
    {
        **_OF_A_RUN,
        **dict.fromkeys(("case_id", "patient_id"), _TEXT),
        "nodule": _COUNT,
        "diameter_mm": _REAL,
        "found": pa.bool_(),
        "sensitivity": _REAL,
    }
)
"""As in `NoduleScore`; `nodule` counts from 0 in each case."""


def write_cases(folder: Path, cases: Sequence[CaseScore], **whose: str | int) -> None:
    """Write both tables, each whole or not at all.

    Args:
        folder: Of the run.
        cases: One each.
        whose: `mix`, `seed` and `fold` of the run.
    """
    tables = (
        (CASES, CASES_SCHEMA, [whose | _case_row(case) for case in cases]),
        (NODULES, NODULES_SCHEMA, [whose | row for case in cases for row in _nodule_rows(case)]),
    )
    for name, schema, rows in tables:
        write_table(pa.Table.from_pylist(rows, schema=schema), folder / name)


def read_cases(folder: Path, **whose: str | int) -> tuple[CaseScore, ...]:
    """Read both tables.

    Args:
        folder: Of the run.
        whose: `mix`, `seed` and `fold` of the run, which each row must have.

    Raises:
        StoreError: A table is torn, of another run, or not of the other one.
    """
    cases, nodules = (
        _read_rows(folder / name, schema, whose)
        for name, schema in ((CASES, CASES_SCHEMA), (NODULES, NODULES_SCHEMA))
    )
    of_case: dict[str, list[Row]] = {row["case_id"]: [] for row in cases}
    if len(of_case) != len(cases):
        raise torn(folder / CASES, "a case in two rows")
    for row in nodules:
        if row["case_id"] not in of_case:
            raise torn(folder / NODULES, f"a nodule of {row['case_id']!r}, which is no case of it")
        of_case[row["case_id"]].append(row)
    return tuple(_case(folder, row, of_case[row["case_id"]]) for row in cases)


def torn(path: Path, found: str) -> StoreError:
    """Return what to say of a file of a run that is not what a run writes."""
    return StoreError(
        f"{path}: found {found[:_LONGEST_TOLD]}; expected what a finished run wrote. Remove the folder of the run, and run "
        "the command that made it again."
    )


def check_size(path: Path) -> None:
    """Refuse a file that is larger than any that a run writes.

    Raises:
        StoreError: It is.
    """
    size = path.stat().st_size if path.is_file() else 0
    if size > _MOST_BYTES:
        raise torn(path, f"{size} bytes; a run has at most {_MOST_BYTES}")


def _read_rows(path: Path, schema: pa.Schema, whose: Mapping[str, str | int]) -> list[Row]:
    try:
        check_size(path)
        about = pq.read_metadata(path)
        unpacked = sum(about.row_group(i).total_byte_size for i in range(about.num_row_groups))
        if about.num_rows > _MOST_ROWS or unpacked > _MOST_BYTES:
            raise torn(path, f"{about.num_rows} rows of {unpacked} bytes, which no test has")
        _check_texts(path, schema)
        rows: list[Row] = read_table(path, schema).to_pylist()
    except StoreError:
        raise
    except Exception as error:
        # What pyarrow raises goes by the bytes: its own errors, and Python's of any kind.
        raise torn(path, f"no table of a run ({error})") from error
    for row in rows:
        if any(row[field.name] is None for field in schema if not field.nullable):
            raise torn(path, "a row that lacks a value")
        if {name: row[name] for name in whose} != whose:
            raise torn(path, f"a row of another run than {whose}")
    return rows


def _check_texts(path: Path, schema: pa.Schema) -> None:
    # A text that many rows share takes its length once in the file, and as often as there are rows
    # in memory.
    texts = [field.name for field in schema if field.type == _TEXT]
    table = pq.ParquetFile(path, read_dictionary=texts).read(columns=texts)
    for column in table.columns:
        for chunk in column.chunks:
            known = chunk.dictionary if pa.types.is_dictionary(chunk.type) else chunk
            if (pc.max(pc.binary_length(known)).as_py() or 0) > LONGEST_TEXT:
                raise torn(path, f"a text of more than {LONGEST_TEXT} bytes")


def _case(folder: Path, row: Row, nodules: list[Row]) -> CaseScore:
    name = row["case_id"]
    ordered = sorted(nodules, key=lambda one: int(one["nodule"]))
    if [one["nodule"] for one in ordered] != list(range(len(nodules))):
        raise torn(folder / NODULES, f"a nodule of case {name!r} twice, or not at all")
    if len(nodules) != row["num_nodules"]:
        raise torn(
            folder / NODULES,
            f"{len(nodules)} nodules of case {name!r}, where {CASES} has {row['num_nodules']}",
        )
    shares = {key: math.nan if row[key] is None else row[key] for key in _SHARES}
    if not all(math.isnan(one) or 0.0 <= one <= 1.0 for one in shares.values()):
        raise torn(folder / CASES, f"shares of case {name!r} that are not within 0 and 1")
    sizes = tuple(NoduleScore(**{key: one[key] for key in _OF_A_NODULE}) for one in ordered)
    if not all(0.0 < one.diameter_mm < math.inf and 0 <= one.sensitivity <= 1 for one in sizes):
        raise torn(folder / NODULES, f"a nodule of case {name!r} that cannot be")
    if sizes and math.isnan(shares["dice"] + shares["sensitivity"]):
        raise torn(folder / CASES, f"no Dice or sensitivity of case {name!r}, which has nodules")
    kept = {key: row[key] for key in CASES_SCHEMA.names if key not in _OF_A_RUN}
    return CaseScore(**kept | shares, sizes=sizes)


def _case_row(case: CaseScore) -> Row:
    row = {name: getattr(case, name) for name in CASES_SCHEMA.names if name not in _OF_A_RUN}
    return row | {name: None if math.isnan(row[name]) else row[name] for name in _SHARES}


def _nodule_rows(case: CaseScore) -> Iterator[Row]:
    for number, nodule in enumerate(case.sizes):
        yield {
            "case_id": case.case_id,
            "patient_id": case.patient_id,
            "nodule": number,
            **{name: getattr(nodule, name) for name in _OF_A_NODULE},
        }
