"""A manifest parted into what may train and what tests, by its split or by its patients.

table --misfits--> what neither trains nor tests
table --parted--> a table a fold --fold_of--> Fold
"""

import hashlib
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from factory.counted import counted
from factory.errors import UsageError
from jobs.readers.rows import name_of

_ORDER_SALT = "ct-factory downstream v1"
"""Hashed before what is put in order; changing it would change every fold."""

_COLUMNS = (
    *("kind", "work_id", "split", "patient_id", "case_id", "image_uri", "image_sha256"),
    *(
        "layout_sha256",
        "layout_origin",
        "reference_sha256",
        "shape",
        "spacing_mm",
        "affine",
        "sampler",
    ),
)

Row = Mapping[str, Any]
"""Of a manifest, as much as it takes to read and to tell of it, with an absolute `image_uri`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Fold:
    """One way to part a manifest into what may train and what tests."""

    number: int
    count: int
    """Folds there are; 1 where the manifest's own split is taken."""
    real: tuple[Row, ...]
    """Real volumes that may train. The first n of them are a fair sample of n, and those of n + 1
    hold them: patients follow each other by a hash."""
    synthetic: tuple[Row, ...]
    """Synthetic volumes that may train, in the order in which `factory mix` takes them."""
    test: tuple[Row, ...]
    """Real volumes that test, by case."""


def rows_of(table: pa.Table) -> list[Row]:
    """Return the rows of a manifest's table."""
    rows: list[Row] = table.select(_COLUMNS).to_pylist()
    return rows


def is_unannotated(row: Row) -> bool:
    """Tell whether a row is a real scan that nobody looked for nodules in."""
    return bool(row["kind"] == "real" and row["layout_origin"] == "none")


def misfits(rows: Sequence[Row]) -> dict[str, tuple[str, str]]:
    """Return, by `image_uri`, what can be used for nothing, by name, and why."""
    grids = Counter(tuple(row["shape"]) for row in rows if row["kind"] == "real")
    grid = grids.most_common(1)[0][0] if grids else ()
    found = {row["image_uri"]: (name_of(row), _misfit(row, grid)) for row in rows}
    return {uri: (name, why) for uri, (name, why) in found.items() if why}


def parted(manifest: str, table: pa.Table, num_folds: int) -> Iterator[pa.Table]:
    """Yield the table with `train` for what may train and `test` for what tests, fold by fold.

    Args:
        manifest: For messages.
        table: Its rows.
        num_folds: As in `make_plan`.

    Raises:
        UsageError: There are fewer patients with real volumes than folds.
    """
    splits = table["split"].to_pylist()
    if num_folds == 1:
        held_out = "test" if "test" in _of_real(table, splits) else "val"
        yield _with_split(table, ["test" if one == held_out else one for one in splits])
        return
    patients = table["patient_id"].to_pylist()
    ranked = _in_order(set(_of_real(table, patients)))
    if not 2 <= num_folds <= len(ranked):
        raise too_few_patients(manifest, num_folds, len(ranked), "with real volumes")
    fold_of_patient = {patient: rank % num_folds for rank, patient in enumerate(ranked)}
    for number in range(num_folds):
        tests = [fold_of_patient.get(patient) == number for patient in patients]
        yield _with_split(table, ["test" if one else "train" for one in tests])


def too_few_patients(manifest: str, num_folds: int, num_patients: int, which: str) -> UsageError:
    """Return what to say where folds are more than the patients who can test in turn."""
    found = counted(num_patients, "patient")
    fewer = f"Ask for {num_patients} or fewer, or ingest" if num_patients > 1 else "Ingest"
    return UsageError(
        f"--folds {num_folds}: {num_folds} folds need {num_folds} patients {which}; found {found} in "
        f"{manifest}. {fewer} scans of more patients."
    )


def fold_of(rows: Sequence[Row], synthetic: Sequence[Row], *, number: int, count: int) -> Fold:
    """Return the fold of rows that are parted.

    Args:
        rows: Real and synthetic ones, with `train` and `test`.
        synthetic: Those that may train, in the order of `factory mix`.
        number: Of the fold.
        count: Of all folds.
    """
    real = [row for row in rows if row["kind"] == "real"]
    train, test = ([row for row in real if row["split"] == side] for side in ("train", "test"))
    ranked = _in_order({row["patient_id"] for row in train})
    rank = {patient: place for place, patient in enumerate(ranked)}
    return Fold(
        number=number,
        count=count,
        real=tuple(sorted(train, key=lambda row: (rank[row["patient_id"]], row["case_id"]))),
        synthetic=tuple(synthetic),
        test=tuple(sorted(test, key=lambda row: str(row["case_id"]))),
    )


def _misfit(row: Row, grid: tuple[int, ...]) -> str:
    if not row["layout_sha256"]:
        return "it has no layout, which would say where its nodules are"
    if tuple(row["shape"]) != grid:
        return f"its grid is {tuple(row['shape'])} voxels; expected {grid}, as most real ones have"
    return ""


def _of_real(table: pa.Table, values: Sequence[str]) -> list[str]:
    kinds = table["kind"].to_pylist()
    return [value for kind, value in zip(kinds, values, strict=True) if kind == "real"]


def _with_split(table: pa.Table, splits: list[str]) -> pa.Table:
    index = table.schema.get_field_index("split")
    return table.set_column(index, table.schema.field("split"), pa.array(splits, pa.string()))


def _in_order(names: Collection[str]) -> list[str]:
    """Return names by a hash: an order that says nothing of them, the same for everyone."""
    return sorted(
        names, key=lambda name: hashlib.sha256(f"{_ORDER_SALT}\0{name}".encode()).digest()
    )
