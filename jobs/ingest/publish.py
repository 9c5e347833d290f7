"""The tables of a case store, from its records: they end as the newest of them say.

commits, found/, quarantine/ --> manifest.parquet, quarantine.parquet, left_out.parquet
      ^                                        |
      +------ changed meanwhile: once more ----+
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from factory.counted import counted
from factory.digests import digest_json
from factory.lake import MANIFEST, Lake
from jobs.console import say
from jobs.ingest.aside import publish_aside, state_of_aside
from jobs.ingest.task import INPUT_DIGEST
from manifests.split import SplitFractions, assign_splits, too_few_patients
from manifests.write import write_manifest

_ROUNDS = 20
"""Of writing, where others commit all the time; each of them publishes at its own end."""


def publish(lake: Lake, split: SplitFractions) -> int:
    """Write the manifest of all committed cases, and the other tables; return how many cases.

    Another ingest may replace commits, and publish and sweep, while this one writes: a manifest of
    what was read before would name volumes that are gone. So all is read again after it.
    """
    rows = _committed(lake)
    for _ in range(_ROUNDS):
        seen = _state(lake, rows)
        publish_aside(lake)
        _write(lake, rows, split)
        rows = _committed(lake)
        if _state(lake, rows) == seen:
            break
    _warn(rows)
    return len(rows)


def _committed(lake: Lake) -> list[dict[str, Any]]:
    return [lake.committed_row(case_id) for case_id in sorted(lake.committed_ids())]


def _state(lake: Lake, rows: Iterable[dict[str, Any]]) -> str:
    """Return a digest of what the tables are written from: each attempt has a path of its own."""
    volumes = [[row["case_id"], row["image_uri"]] for row in rows]
    return digest_json([volumes, state_of_aside(lake)])


def _write(lake: Lake, rows: list[dict[str, Any]], split: SplitFractions) -> None:
    if not rows:
        return
    splits = assign_splits({row["patient_id"] for row in rows}, split)
    write_manifest(
        [_manifest_row(row, splits[row["patient_id"]]) for row in rows],
        lake.storage.child(MANIFEST),
    )
    # Last: until then the manifest of an earlier run may name what is swept.
    lake.sweep({row["case_id"]: row["image_uri"] for row in rows})


def _manifest_row(committed: dict[str, Any], split: str) -> dict[str, Any]:
    row = {key: value for key, value in committed.items() if key != INPUT_DIGEST}
    return {**row, "split": split, "created_at": datetime.fromisoformat(row["created_at"])}


def _warn(rows: list[dict[str, Any]]) -> None:
    num_patients = len({row["patient_id"] for row in rows})
    if rows and too_few_patients(num_patients):
        say(
            f"warning: too few to split: {counted(num_patients, 'patient')}; all cases are for training"
        )
    _warn_of_twins(rows)


def _warn_of_twins(rows: Iterable[dict[str, Any]]) -> None:
    """Two patients with one scan would leak across the split."""
    owner: dict[str, str] = {}
    for row in rows:
        first = owner.setdefault(row["image_sha256"], row["patient_id"])
        if first != row["patient_id"]:
            say(
                f"warning: patients {first} and {row['patient_id']} have the same CT; their cases may "
                "fall into different splits. Name the patient of each case with --patients."
            )
