"""Open a DICOM file of annotations that anybody may have made.

Sizes are checked before anything is parsed: an item of eight bytes becomes an object of a thousand.
"""

import io
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydicom import Dataset, dcmread
from pydicom.filereader import read_file_meta_info
from pydicom.uid import DeflatedExplicitVRLittleEndian

from factory.dicom.elements import count_items, quiet_pydicom
from factory.dicom.stack import Stack
from factory.errors import CaseError, FactoryError

_MAX_ITEMS = 400_000
_UID = re.compile(r"[0-2](\.[0-9]+)+")
_CHUNK = 1 << 20


@contextmanager
def readable(case_id: str, kind: str) -> Iterator[None]:
    """Turn whatever a parser makes of broken bytes into a CaseError that quotes no value."""
    try:
        with quiet_pydicom():
            yield
    except FactoryError:
        raise
    except Exception as error:
        raise CaseError(
            case_id,
            f"its {kind} cannot be read ({type(error).__name__}); expected a whole DICOM file. Export "
            "it again, or leave it out.",
        ) from error


def open_dicom(
    case_id: str, path: str, kind: str, sop_classes: tuple[str, ...], max_bytes: int
) -> Dataset:
    """Parse a file of some SOP classes, unless it is too large.

    Args:
        case_id: For messages.
        path: The file; no message names it, for paths hold patients' names.
        kind: What it is called in messages, `RTSTRUCT` or `DICOM SEG`.
        sop_classes: UIDs, of which it must have one.
        max_bytes: Largest file, deflated or not.

    Raises:
        CaseError: It is too large, cannot be read, or is of another class.
    """
    with readable(case_id, kind):
        content, num_items = _content(case_id, path, kind, max_bytes)
        if num_items > _MAX_ITEMS:
            raise CaseError(
                case_id,
                f"its {kind} has {num_items} sequence items; expected at most {_MAX_ITEMS}. Export "
                "only the lungs and nodules.",
            )
        dataset = dcmread(io.BytesIO(content))
        found = str(dataset.get("SOPClassUID", ""))
    if found not in sop_classes:
        raise CaseError(
            case_id,
            f"its {kind} is of SOP class {_uid_or_none(found)}; expected {' or '.join(sop_classes)}. "
            "Leave it out.",
        )
    return dataset


def _uid_or_none(found: str) -> str:
    """Return a UID for a message, or `none`: any other text may be somebody's name."""
    return found[:64] if _UID.fullmatch(found) else "none"


def _content(case_id: str, path: str, kind: str, max_bytes: int) -> tuple[bytes, int]:
    """Return what a file holds, and how many sequence items are in it once it is inflated."""
    num_bytes = Path(path).stat().st_size
    if num_bytes <= max_bytes:
        meta = read_file_meta_info(path)
        if meta.get("TransferSyntaxUID") != DeflatedExplicitVRLittleEndian:
            content = Path(path).read_bytes()
            return content, count_items(content)
        # Preamble, magic, and the element that says how long the rest of the meta data is.
        start = 128 + 4 + 12 + int(meta.FileMetaInformationGroupLength)
        num_bytes, num_items = _inflated_size(path, start, max_bytes)
        if num_bytes <= max_bytes:
            return Path(path).read_bytes(), num_items
    raise CaseError(
        case_id,
        f"its {kind} has more than {max_bytes >> 20} MiB; expected less. Export only the lungs and "
        "nodules.",
    )


def _inflated_size(path: str, start: int, enough: int) -> tuple[int, int]:
    """Return how many bytes and items a deflated file becomes, counted no further than `enough`."""
    inflate, total = zlib.decompressobj(-zlib.MAX_WBITS), 0
    num_items, end = 0, b""
    with open(path, "rb") as file:
        file.seek(start)
        pending = file.read(_CHUNK)
        while pending and total <= enough:
            content = inflate.decompress(pending, _CHUNK)
            total += len(content)
            num_items += count_items(end + content)
            # A mark of four bytes may lie across two chunks, and no whole one in three bytes.
            end = (end + content)[-3:]
            pending = inflate.unconsumed_tail or file.read(_CHUNK)
    return total, num_items


def check_reference(
    case_id: str, kind: str, stack: Stack, series_uids: set[str], frame_uids: set[str]
) -> None:
    """Refuse annotations of another series in another frame of reference.

    Raises:
        CaseError: They name neither the stack's series nor its frame of reference.
    """
    same_frame = bool(stack.frame_uid) and stack.frame_uid in frame_uids
    if stack.series_uid not in series_uids and not same_frame:
        raise CaseError(
            case_id,
            f"its {kind} refers to another series, in another frame of reference; expected the CT's. "
            "Put it beside the series that it was drawn on.",
        )
