"""What a manifest must not have: volumes twice, names without end, training on who tests."""

from collections import Counter
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from factory.errors import StoreError
from jobs.downstream.case_tables import LONGEST_TEXT
from jobs.downstream.folds import Row
from jobs.readers.rows import name_of


def refuse_twice(manifest: str, table: pa.Table) -> None:
    """Refuse a volume that has two rows: which of them it is could not be told.

    Raises:
        StoreError: There is one.
    """
    real = table.filter(pc.equal(table["kind"], "real"))
    for rows, column in ((table, "image_uri"), (real, "case_id")):
        value, count = next(iter(Counter(rows[column].to_pylist()).most_common(1)), ("", 0))
        if count > 1:
            raise StoreError(
                f"{manifest}: found {column} {value} in {count} rows; expected one. Make the manifest again "
                "with `factory mix`."
            )


def refuse_long_names(manifest: str, rows: Sequence[Row]) -> None:
    """Refuse names of real volumes that could be written with their scores, and not be read again.

    Raises:
        StoreError: There is one.
    """
    for row in rows:
        for column in ("case_id", "patient_id"):
            size = len(str(row[column]).encode())
            if row["kind"] == "real" and size > LONGEST_TEXT:
                raise StoreError(
                    f"{manifest}: found a {column} of {size} bytes, {str(row[column])[:40]}...; expected at most "
                    f"{LONGEST_TEXT}. Ingest the scan under a shorter name."
                )


def refuse_leak(manifest: str, train: Sequence[Row], test: Sequence[Row]) -> None:
    """Refuse synthetic volumes that test, and training on what tests.

    Raises:
        StoreError: A synthetic volume would test, or one that trains shares patient, case or scan
            with one that tests.
    """
    if synthetic := [row for row in test if row["kind"] != "real"]:
        raise StoreError(
            f"{manifest}: found {name_of(synthetic[0])}, which is synthetic, among those that test; expected "
            "real ones alone. Make the manifest again."
        )
    for column, what in (("patient_id", "patient"), ("case_id", "case"), ("image_sha256", "scan")):
        held_out = {row[column] for row in test}
        for row in train:
            if row[column] in held_out or (what == "scan" and row["reference_sha256"] in held_out):
                raise StoreError(
                    f"{manifest}: found {name_of(row)} in training, of a {what} that tests; expected none: "
                    "what is trained on can't be tested on. Ingest both scans under one patient "
                    "(--patients), and make the manifest again."
                )
