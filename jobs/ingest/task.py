"""One case into the store, as a Ray task runs it.

files --prepare_case--> volume, commit          an exception --> quarantine
"""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from factory.digests import digest_json, sha256_of_file, sha256_of_voxels
from factory.errors import CaseError, StoreError
from factory.ingest.prepare import IngestConfig, PreparedCase, prepare_case
from factory.ingest.sources import SourceCase
from factory.lake import Lake
from factory.nodules.measure import measure_nodules
from factory.volumes import Volume, read_volume, write_volume
from jobs.quarantine import as_case_error, give_up

INPUT_DIGEST = "input_digest"
"""Key of a commit marker, beside the manifest's columns: tells whether the files have changed."""


def ingest_case(source: SourceCase, lake_url: str, config: IngestConfig, run_id: str) -> str:
    """Bring one case into the store; return why it was quarantined, or nothing."""
    lake = Lake(lake_url)
    try:
        digest = _input_digest(source)
        if not _is_current(source, lake, digest):
            _commit(prepare_case(source, config), source, lake, run_id, digest)
    except Exception as error:
        problem = as_case_error(source.case_id, error)
        give_up(lake, source.case_id, source.case_id, "ingest", problem, run_id=run_id)
        return str(problem)
    lake.release([source.case_id])
    return ""


def _is_current(source: SourceCase, lake: Lake, digest: str) -> bool:
    """Tell whether the store has a whole case that was made from these very files.

    Raises:
        CaseError: It has a case of this id that was made from another scan.
    """
    try:
        row = lake.committed_row(source.case_id)
    except FileNotFoundError:
        return False
    moved = row["source_uri"] != _source_uri(source)
    if moved and row["source_sha256"] != sha256_of_file(source.ct):
        raise CaseError(
            source.case_id,
            f"found {source.ct}, but the store has a case of this id from {row['source_uri']}; "
            "expected each id once. Rename one of them, or use another --out.",
        )
    return bool(row[INPUT_DIGEST] == digest) and _is_whole(lake, row)


def _is_whole(lake: Lake, row: dict[str, Any]) -> bool:
    try:
        volume = read_volume(lake.storage, row["image_uri"])
    except StoreError:
        return False
    return bool(sha256_of_voxels(volume.ct) == row["image_sha256"])


def _commit(
    prepared: PreparedCase, source: SourceCase, lake: Lake, run_id: str, digest: str
) -> None:
    case = prepared.case
    attempt = lake.attempts.start(case.case_id, run_id).attempt
    path = lake.volume_path(case.case_id, attempt)
    volume = Volume(ct=case.ct, layout=case.layout, affine=case.affine)
    write_volume(lake.storage, path, volume, kind="real", case_id=case.case_id)
    row = _row(prepared, source, path)
    run = {"run_id": run_id, "attempt": attempt, "created_at": datetime.now(UTC).isoformat()}
    committed = {**row, **run, INPUT_DIGEST: digest}
    if lake.commit(case.case_id, committed):
        return
    standing = lake.committed_row(case.case_id)
    if standing[INPUT_DIGEST] == digest and _is_whole(lake, standing):
        # Another ingest was first, with the same files.
        lake.storage.remove(path)
        return
    lake.replace_commit(case.case_id, committed)
    if not lake.storage.exists(path):
        raise StoreError(
            f"case {case.case_id}: its volume was swept away by another ingest; expected it at {path}. "
            "Run again."
        )


def _row(prepared: PreparedCase, source: SourceCase, path: str) -> dict[str, Any]:
    case = prepared.case
    nodules = measure_nodules(case.layout, case.affine)
    return {
        "kind": "real",
        "patient_id": case.patient_id,
        "case_id": case.case_id,
        "layout_id": case.layout_sha256[:32],
        "layout_origin": "annotated" if nodules else "none",
        "image_uri": path,
        "layout_uri": f"{path}/labels/layout",
        "shape": list(case.ct.shape),
        "spacing_mm": list(case.spacing_mm),
        "affine": case.affine.ravel().tolist(),
        "image_sha256": case.image_sha256,
        "layout_sha256": case.layout_sha256,
        "source_uri": _source_uri(source),
        "source_sha256": sha256_of_file(source.ct),
        "source_shape": list(prepared.source_shape),
        "source_affine": prepared.source_affine.ravel().tolist(),
        "nodules": [nodule.as_row() for nodule in nodules],
        "notes": prepared.notes,
    }


def _input_digest(source: SourceCase) -> str:
    """Return a digest of all that a case is made from: its files, their roles, its patient."""
    roles = {
        "lung": source.lung,
        "nodule": source.nodule,
        "labels": [*filter(None, [source.labels])],
    }
    files = {role: [sha256_of_file(path) for path in paths] for role, paths in roles.items()}
    return digest_json({"ct": sha256_of_file(source.ct), "patient": source.patient_id, **files})


def _source_uri(source: SourceCase) -> str:
    return str(Path(source.ct).resolve())
