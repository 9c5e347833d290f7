"""One case into the store, as a Ray task runs it.

files --prepare_case--> volume, commit          an exception, or a third start --> quarantine
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from factory.attempts import Attempt
from factory.digests import sha256_of_voxels
from factory.errors import CaseError, StoreError
from factory.ingest.drawn import THRESHOLD
from factory.ingest.fingerprint import Fingerprint, fingerprint
from factory.ingest.prepare import IngestConfig, PreparedCase, prepare_case
from factory.ingest.sources import SourceCase
from factory.lake import Lake
from factory.layouts import NODULE
from factory.volumes import Volume, read_volume, write_volume
from jobs.ingest.telling import as_public, as_told
from jobs.quarantine import give_up

INPUT_DIGEST = "input_digest"
"""Key of a commit marker, beside the manifest's columns: tells whether the files have changed."""

MADE, REMADE, KEPT, QUARANTINED = "made", "remade", "kept", "quarantined"

DEATHS = 2
"""Of the process of one case, in one run; whoever is to blame, it is tried no third time."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a case ended."""

    state: str
    """`made` now, `remade` for its files have changed, `kept` as the store has it, or `quarantined`."""
    problem: str = ""
    """Why it was quarantined, for the people at the terminal."""


class LostError(CaseError):
    """The process of a case ended before the case did; another try can help."""


def ingest_case(
    source: SourceCase,
    lake_url: str,
    config: IngestConfig,
    run_id: str,
    lungs: str = THRESHOLD,
) -> Outcome:
    """Bring one case into the store, or quarantine it; it never raises for a case."""
    lake = Lake(lake_url)
    try:
        state = _bring_in(source, lake, config, run_id, lungs)
    except Exception as error:
        return quarantine_case(source, lake, error, run_id)
    lake.release([source.case_id])
    return Outcome(state)


def quarantine_case(source: SourceCase, lake: Lake, error: Exception, run_id: str) -> Outcome:
    """Give a case up, and return what to say of it.

    The store's record of a DICOM case has its tag where people at the terminal see a path.
    """
    told = as_told(source, error)
    give_up(
        lake,
        source.case_id,
        source.case_id,
        "ingest",
        as_public(source, told),
        run_id=run_id,
        file=source.ct or source.case_id,
        attempts=DEATHS if isinstance(error, LostError) else 1,
        retriable=isinstance(error, LostError | OSError),
        keep_text=not source.series,
    )
    lake.attempts.forget(source.case_id)
    return Outcome(QUARANTINED, str(told))


def foresee(source: SourceCase, lake: Lake, lungs: str = THRESHOLD) -> str:
    """Return how a case would end, as `ingest_case` would have it if all of its files are whole.

    Raises:
        CaseError: A file is no regular one, or the store has a case of this id of another scan.
        OSError: A file cannot be read.
    """
    return _state(source, lake, fingerprint(source, lungs))


def _bring_in(source: SourceCase, lake: Lake, config: IngestConfig, run_id: str, lungs: str) -> str:
    found = fingerprint(source, lungs)
    state = _state(source, lake, found)
    if state == KEPT:
        return KEPT
    attempt = _start(source, lake, run_id)
    is_own = _commit(prepare_case(source, config, lungs), source, lake, attempt, found)
    # Of two ingests at once the other was first: the case counts as its.
    return state if is_own else KEPT


def _start(source: SourceCase, lake: Lake, run_id: str) -> Attempt:
    """Write down that this process starts on the case.

    Ray starts a task again whose process ended, for ever; here it is counted.

    Raises:
        LostError: Earlier processes of this run started on it, and none came to an end.
    """
    num_deaths = len(lake.attempts.died(source.case_id, run_id))
    if num_deaths >= DEATHS:
        raise LostError(
            source.case_id,
            f"its worker process ended {num_deaths} times; expected it to finish. A scan larger than "
            "the memory does this: crop or downsample it, or run again where there is more.",
        )
    return lake.attempts.start(source.case_id, run_id)


def _state(source: SourceCase, lake: Lake, found: Fingerprint) -> str:
    """Return `kept` where the store has a whole case of these very files, `remade` where it has another.

    Raises:
        CaseError: It has a case of this id that was made from another scan.
    """
    try:
        row = lake.committed_row(source.case_id)
    except FileNotFoundError:
        return MADE
    if row["source_uri"] != source_uri(source) and row["source_sha256"] != found.ct_sha256:
        raise CaseError(
            source.case_id,
            f"found {source.ct or 'a series'}, but the store has a case of this id from "
            f"{row['source_uri']}; expected each id once. Rename one of them, or use another --out.",
        )
    return KEPT if row[INPUT_DIGEST] == found.digest and _is_whole(lake, row) else REMADE


def _is_whole(lake: Lake, row: dict[str, Any]) -> bool:
    try:
        volume = read_volume(lake.storage, row["image_uri"])
    except StoreError:
        return False
    return bool(sha256_of_voxels(volume.ct) == row["image_sha256"])


def _commit(
    prepared: PreparedCase, source: SourceCase, lake: Lake, started: Attempt, found: Fingerprint
) -> bool:
    """Make a case the store's; return whether it was, or another ingest's of the same files stands."""
    case = prepared.case
    path = lake.volume_path(case.case_id, started.attempt)
    volume = Volume(ct=case.ct, layout=case.layout, affine=case.affine)
    write_volume(lake.storage, path, volume, kind="real", case_id=case.case_id)
    committed = {
        **_row(prepared, source, path),
        "source_uri": source_uri(source),
        "source_sha256": found.ct_sha256,
        "run_id": started.run_id,
        "attempt": started.attempt,
        "created_at": datetime.now(UTC).isoformat(),
        INPUT_DIGEST: found.digest,
    }
    if lake.commit(case.case_id, committed):
        return True
    standing = lake.committed_row(case.case_id)
    if standing[INPUT_DIGEST] == found.digest and _is_whole(lake, standing):
        lake.storage.remove(path)
        return False
    lake.replace_commit(case.case_id, committed)
    if not lake.storage.exists(path):
        raise StoreError(
            f"case {case.case_id}: its volume was swept away by another ingest; expected it at {path}. "
            "Run again."
        )
    return True


def _row(prepared: PreparedCase, source: SourceCase, path: str) -> dict[str, Any]:
    case = prepared.case
    return {
        "kind": "real",
        "patient_id": case.patient_id,
        "case_id": case.case_id,
        "layout_id": case.layout_sha256[:32],
        "layout_origin": "annotated" if prepared.nodules or _was_read(source) else "none",
        "image_uri": path,
        "layout_uri": f"{path}/labels/layout",
        "shape": list(case.ct.shape),
        "spacing_mm": list(case.spacing_mm),
        "affine": case.affine.ravel().tolist(),
        "image_sha256": case.image_sha256,
        "layout_sha256": case.layout_sha256,
        "source_shape": list(prepared.source_shape),
        "source_affine": prepared.source_affine.ravel().tolist(),
        "nodules": prepared.nodules,
        "notes": prepared.notes,
    }


def _was_read(source: SourceCase) -> bool:
    """Tell whether somebody looked for nodules, and said so even where there are none.

    Of DICOM segmentations without a nodule that is not known: most are of lungs or organs alone.
    """
    roles = source.label_roles or ((NODULE, NODULE),)
    in_labels = bool(source.labels) and any(role == NODULE for _, role in roles)
    return bool(source.nodule or source.lidc_xml or source.points) or in_labels


def source_uri(source: SourceCase) -> str:
    """Return what the store says a case came from: paths of DICOM files often hold names."""
    return str(Path(source.ct).resolve()) if source.ct else f"dicom:{source.case_id}"
