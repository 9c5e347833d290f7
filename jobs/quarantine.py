"""Items that were given up: one record each, published as `quarantine.parquet`."""

import traceback
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from factory.errors import CaseError, FactoryError
from factory.lake import QUARANTINE, Lake
from manifests.schema import QUARANTINE_SCHEMA
from manifests.write import write_table


def give_up(
    lake: Lake,
    item: str,
    case_id: str,
    stage: str,
    error: Exception,
    *,
    run_id: str,
    file: str = "",
    attempts: int = 1,
    retriable: bool = False,
    keep_text: bool = True,
) -> None:
    """Quarantine an item with the exception that ended it.

    Args:
        lake: Store or lake that the item belongs to.
        item: A case id or a work id.
        case_id: The case, or the donor of the volume.
        stage: Where it ended: `find`, `ingest`, `generate`.
        error: Its text is what people read; its cause is kept as a traceback.
        run_id: Of this run.
        file: The item's file, or what stands for it.
        attempts: How often it was tried in this run.
        retriable: Whether another try can help with the case as it is.
        keep_text: Whether the text of the cause may be kept beside the frames that led there: what
            a library says of a DICOM file may quote its header.
    """
    cause = error.__cause__ or error
    tail = []
    if cause.__traceback__ and keep_text:
        tail = traceback.format_exception(cause)[-4:]
    elif cause.__traceback__:
        tail = traceback.format_tb(cause.__traceback__)[-4:]
    lake.quarantine(
        item,
        {
            "item_id": item,
            "case_id": case_id,
            "file": file or None,
            "stage": stage,
            "error_class": type(cause).__name__,
            "message": str(error),
            "traceback_tail": "".join(tail),
            "attempts": attempts,
            "retriable": retriable,
            "run_id": run_id,
            "seen_at": datetime.now(UTC).isoformat(),
        },
    )


def as_case_error(case_id: str, error: Exception) -> CaseError:
    """Return what to say of a case that an exception ended; the exception is kept as its cause."""
    if isinstance(error, CaseError):
        return error
    text = str(error)
    if not isinstance(error, FactoryError):
        text = (
            f"found {type(error).__name__}: {error}; expected none. Mend the cause and run again; the "
            "traceback is in the quarantine record."
        )
    problem = CaseError(case_id, text)
    problem.__cause__ = error
    return problem


def publish_quarantine(lake: Lake, more: Iterable[Mapping[str, Any]] = ()) -> None:
    """Write `quarantine.parquet` from the records.

    Args:
        lake: Store or lake.
        more: Records that are kept elsewhere.
    """
    import pyarrow as pa

    rows = [
        {**record, "seen_at": datetime.fromisoformat(record["seen_at"])}
        for record in (*lake.quarantined(), *more)
    ]
    table: Any = pa.Table.from_pylist(rows, schema=QUARANTINE_SCHEMA)
    write_table(table, lake.storage.child(QUARANTINE))
