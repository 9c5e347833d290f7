"""What a source holds that is no case: one record a source, in tables beside the manifest.

found/<source>.json       replaced by each ingest of the source: what was mended, or chosen, is gone
    refused  --> quarantine.parquet
    left out --> left_out.parquet
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from factory.digests import digest_json
from factory.ingest.tags import Tags
from factory.lake import Lake
from jobs.ingest.inputs import Inputs
from jobs.ingest.no_case import Aside
from jobs.quarantine import publish_quarantine
from manifests.schema import LEFT_OUT_SCHEMA
from manifests.write import write_table

LEFT_OUT = "left_out.parquet"

_FOLDER = "found"
_STAGE = "find"


def keep_aside(lake: Lake, source: Path, tags: Tags | None, inputs: Inputs, run_id: str) -> None:
    """Write down what a source holds that is no case.

    Args:
        lake: The case store.
        source: The folder. Its path may hold names: where there is a key, a keyed hash stands for it.
        tags: Where there is a key, with or without DICOM inputs: a source that had some and has none
            now is still the same.
        inputs: What was found.
        run_id: Of this run.
    """
    names = [_plain_name(source), *([tags.file(source.resolve())] if tags else [])]
    for other in names[:-1]:
        lake.storage.remove(f"{_FOLDER}/{other}.json")
    seen = {"run_id": run_id, "seen_at": datetime.now(UTC).isoformat()}
    record = {
        "refused": [_refused_row(one) | seen for one in inputs.refused],
        "left_out": [_left_row(one) | seen for one in inputs.left_out],
    }
    lake.storage.write_json(f"{_FOLDER}/{names[-1]}.json", record)


def publish_aside(lake: Lake) -> None:
    """Write the quarantine's table and that of what was left out, of all sources."""
    import pyarrow as pa

    records = list(_records(lake))
    publish_quarantine(lake, [row for record in records for row in record["refused"]])
    rows = [_timed(row) for record in records for row in record["left_out"]]
    rows.sort(key=lambda row: (row["reason"], row["file"]))
    table: Any = pa.Table.from_pylist(rows, schema=LEFT_OUT_SCHEMA)
    write_table(table, lake.storage.child(LEFT_OUT))


def state_of_aside(lake: Lake) -> str:
    """Return a digest of all that `publish_aside` writes."""
    found = sorted(map(digest_json, _records(lake)))
    return digest_json([found, lake.quarantined()])


def _records(lake: Lake) -> Iterator[dict[str, Any]]:
    for name in lake.storage.names(_FOLDER):
        # Another ingest of the same source may be writing its own under another name.
        try:
            yield lake.storage.read_json(f"{_FOLDER}/{name}")
        except FileNotFoundError:
            continue


def _plain_name(source: Path) -> str:
    return digest_json({"source": str(source.resolve())})


def _refused_row(one: Aside) -> dict[str, Any]:
    return {
        "item_id": one.file,
        "case_id": one.case_id or None,
        "file": one.file,
        "stage": _STAGE,
        "error_class": "CaseError",
        "message": f"{f'case {one.case_id}' if one.case_id else one.file}: {one.message}",
        "traceback_tail": "",
        "attempts": 1,
        "retriable": False,
    }


def _left_row(one: Aside) -> dict[str, Any]:
    return {
        "file": one.file,
        "case_id": one.case_id or None,
        "reason": one.reason,
        "message": one.message,
    }


def _timed(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, "seen_at": datetime.fromisoformat(row["seen_at"])}
