"""What a manifest is good for next: to train a segmentation network on, or for other tools."""

from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from jobs.console import command_line

_MOST_FOLDS = 5
_COLUMNS = ("kind", "split", "patient_id", "layout_origin", "layout_sha256")


def after_mix(target: str, table: pa.Table) -> str:
    """Return the command that a mix is for.

    Args:
        target: Path or URL of the manifest, as it was named.
        table: Its rows.

    Returns:
        `factory downstream`, with folds where the manifest's split holds nobody out; `factory export`
        where too few real scans have nodules that somebody drew.
    """
    rows: list[dict[str, Any]] = table.select(_COLUMNS).to_pylist()
    has_nodule = [bool(num) for num in pc.list_value_length(table["nodules"]).to_pylist()]
    annotated = [row for row in rows if _is_annotated(row)]
    patients = {row["patient_id"] for row in annotated}
    learns = any(
        has and (row["kind"] != "real" or _is_annotated(row))
        for row, has in zip(rows, has_nodule, strict=True)
    )
    splits = {row["split"] for row in annotated}
    if learns and "train" in splits and splits & {"val", "test"}:
        return command_line("factory downstream", flags={"--manifest": target})
    if learns and len(patients) > 1:
        folds = min(_MOST_FOLDS, len(patients))
        return command_line("factory downstream", flags={"--manifest": target, "--folds": folds})
    return command_line("factory export", target, flags={"--format": "nifti", "--out": "nifti"})


def _is_annotated(row: Mapping[str, Any]) -> bool:
    """Tell whether a row is a real scan with a layout in which somebody looked for nodules."""
    return bool(row["kind"] == "real" and row["layout_sha256"] and row["layout_origin"] != "none")
