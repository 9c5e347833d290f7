"""Real scans in.

find_cases --> Ray task a case: prepare_case -> volume, commit --> manifest.parquet
                                CaseError -> quarantine        --> quarantine.parquet
"""

import uuid
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from factory.digests import digest_json
from factory.errors import CaseError, FactoryError, StoreError
from factory.ingest.prepare import IngestConfig
from factory.ingest.sources import SourceCase, find_cases, read_patients
from factory.lake import MANIFEST, QUARANTINE, Lake
from jobs.claims import differences
from jobs.cluster import connect, run_tasks
from jobs.console import progress, say
from jobs.ingest.task import INPUT_DIGEST, ingest_case
from jobs.quarantine import give_up, publish_quarantine
from manifests.read import read_manifest
from manifests.schema import SPLITS
from manifests.split import SplitFractions, assign_splits, too_few_patients
from manifests.write import write_manifest

FORMAT = 1

_LONGEST_NAME = 128


@dataclass(frozen=True, slots=True)
class IngestResult:
    """What an ingest left in the case store."""

    num_cases: int
    num_quarantined: int
    """Of this source."""
    manifest: str
    num_by_split: dict[str, int]
    num_with_nodules: int
    num_with_notes: int


def ingest(
    source: Path,
    out: str | Path,
    config: IngestConfig,
    *,
    patients: Path | None = None,
    split: SplitFractions | None = None,
    ray_address: str | None = None,
) -> IngestResult:
    """Bring the scans of a folder into a case store; run again, it does what is missing.

    A case stays in the store until a whole one of the same scan replaces it.

    Args:
        source: Folder of NIfTI files in a layout that `find_cases` knows.
        out: Case store, a path or a URL, made or extended.
        config: Grid and field of view; one store has one.
        patients: CSV of the patient of each case.
        split: Shares of train, val and test; those of the store, or 80/10/10.
        ray_address: Cluster to join; None starts one.

    Raises:
        FactoryError: Nothing can be read, or nothing was left.
    """
    findings = find_cases(source, read_patients(patients) if patients else None)
    lake = Lake(out)
    split = _claim(lake, config, split)
    run_id = uuid.uuid4().hex
    for file in findings.ignored:
        say(f"warning: {file} was left out: it matches neither layout, or cannot be read")
    for reject in findings.rejects:
        give_up(lake, _item_of(reject), reject.case_id, "find", reject, run_id=run_id)
        say(f"quarantined: {reject}")
    _ingest_all(findings.cases, lake, config, run_id, ray_address)
    num_cases = _publish(lake, split)
    # Another ingest may have committed cases, and published, while this one wrote the manifest.
    while num_cases != len(lake.committed_ids()):
        num_cases = _publish(lake, split)
    asked = {case.case_id for case in findings.cases}
    asked |= {_item_of(reject) for reject in findings.rejects}
    num_quarantined = len(asked & lake.quarantined_ids())
    if not num_cases:
        raise FactoryError(
            f"source {source}: all {num_quarantined} cases were quarantined; expected at least one "
            f"that is whole. The reasons are above and in {lake.storage.child(QUARANTINE)}."
        )
    return _result(lake, num_quarantined)


def _result(lake: Lake, num_quarantined: int) -> IngestResult:
    manifest = lake.storage.child(MANIFEST)
    rows = read_manifest(manifest).to_pylist()
    return IngestResult(
        num_cases=len(rows),
        num_quarantined=num_quarantined,
        manifest=manifest,
        num_by_split={split: sum(row["split"] == split for row in rows) for split in SPLITS},
        num_with_nodules=sum(bool(row["nodules"]) for row in rows),
        num_with_notes=sum(bool(row["notes"]) for row in rows),
    )


def _item_of(reject: CaseError) -> str:
    """Return the name of a reject's record: its id, unless that is too long for a file."""
    return reject.case_id if len(reject.case_id) <= _LONGEST_NAME else digest_json(reject.case_id)


def _claim(lake: Lake, config: IngestConfig, split: SplitFractions | None) -> SplitFractions:
    """Make the store this config's, or refuse; return the split that holds."""
    wanted: dict[str, Any] = {
        "kind": "cases",
        "format": FORMAT,
        "ingest": asdict(config),
        "split": str(split or SplitFractions()),
    }
    found = lake.claim(wanted)
    if split is None:
        wanted["split"] = found.get("split")
    if changed := differences(found, wanted):
        raise StoreError(
            f"case store {lake.url}: made with other settings ({'; '.join(changed)}); expected the "
            "same: one store has one grid and one split. Choose another --out, or the store's settings."
        )
    return SplitFractions.parse(found["split"])


def _ingest_all(
    cases: list[SourceCase],
    lake: Lake,
    config: IngestConfig,
    run_id: str,
    ray_address: str | None,
) -> None:
    if not cases:
        return
    with connect(ray_address) as cluster, progress("ingest", len(cases)) as tracker:
        calls = ((case, lake.url, config, run_id) for case in cases)
        ended = run_tasks(ingest_case, calls, window=2 * max(1, int(cluster.num_cpus)))
        quarantined = 0
        for done, ((case, *_), outcome) in enumerate(ended, start=1):
            problem = outcome
            if isinstance(outcome, Exception):
                lost = _lost(case.case_id, outcome)
                give_up(
                    lake,
                    case.case_id,
                    case.case_id,
                    "ingest",
                    lost,
                    run_id=run_id,
                    retriable=True,
                )
                problem = str(lost)
            if problem:
                quarantined += 1
                say(f"quarantined: {problem}")
            tracker.update(done, f"{quarantined} quarantined")


def _lost(case_id: str, error: Exception) -> FactoryError:
    """Return what to say of a case whose task Ray could not bring to its end."""
    from ray.exceptions import NodeDiedError, OutOfMemoryError, WorkerCrashedError

    if isinstance(error, OutOfMemoryError | WorkerCrashedError | NodeDiedError):
        return CaseError(
            case_id,
            f"its worker process ended ({type(error).__name__}); expected it to finish. A scan larger "
            "than the memory does this: crop or downsample it.",
        )
    reason = " ".join(str(error).split())[-300:]
    return CaseError(
        case_id,
        f"its task failed outside the case ({type(error).__name__}: {reason}); expected a node that "
        "has this package, and a store that can be written. Mend it and run again.",
    )


def _manifest_row(committed: dict[str, Any], split: str) -> dict[str, Any]:
    row = {key: value for key, value in committed.items() if key != INPUT_DIGEST}
    return {**row, "split": split, "created_at": datetime.fromisoformat(row["created_at"])}


def _publish(lake: Lake, split: SplitFractions) -> int:
    """Write the manifest of all committed cases, and the quarantine's; return how many cases."""
    rows = [lake.committed_row(case_id) for case_id in sorted(lake.committed_ids())]
    publish_quarantine(lake)
    if not rows:
        return 0
    patients = {row["patient_id"] for row in rows}
    if too_few_patients(len(patients)):
        say(f"warning: {len(patients)} patients are too few to split; all cases are for training")
    splits = assign_splits(patients, split)
    _warn_of_twins(rows)
    write_manifest(
        [_manifest_row(row, splits[row["patient_id"]]) for row in rows],
        lake.storage.child(MANIFEST),
    )
    # Last: until then the manifest of an earlier run may name what is swept.
    lake.sweep({row["case_id"]: row["image_uri"] for row in rows})
    return len(rows)


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
