"""What a header may declare of a scan, before memory is taken for it."""

import gzip
import struct
from pathlib import Path

from factory.dicom.tree import why_no_file
from factory.errors import CaseError
from factory.geometry import MAX_VOXELS

MAX_OFFSET = 16 * 2**20
"""Header extensions, which lie before the voxels; more is no header."""

_MOST_THAT_DEFLATE_SAVES = 1032


def check_regular(case_id: str, path: str | Path) -> None:
    """Refuse a pipe, which nobody may ever write to, or a device, which may have no end.

    Raises:
        CaseError: It is no regular file.
        OSError: There is none.
    """
    if reason := why_no_file(path):
        raise CaseError(case_id, f"{path} {reason}. Put the file itself there.")


def check_size(
    case_id: str, path: str, shape: tuple[int, ...], num_bytes: int, stored_bytes: int | None
) -> None:
    """Refuse a scan that is too large, or larger than its file can be when it is unpacked.

    Args:
        case_id: For messages.
        path: For messages.
        shape: As the header declares it.
        num_bytes: Of all voxels.
        stored_bytes: Size of the deflated data; None where they are not deflated.

    Raises:
        CaseError: The shape is none, too large, or cannot be what the file holds.
    """
    num_voxels = 1
    for num in shape:
        num_voxels *= num
    if min(shape, default=0) < 1 or num_voxels > MAX_VOXELS:
        raise CaseError(
            case_id,
            f"{path} declares a shape of {tuple(shape)}; expected up to {MAX_VOXELS} voxels. Crop or "
            "downsample it, or convert it again.",
        )
    if stored_bytes is not None and num_bytes > _MOST_THAT_DEFLATE_SAVES * stored_bytes:
        raise CaseError(
            case_id,
            f"{path} declares {num_bytes} bytes of voxels and has {stored_bytes} bytes that cannot "
            "unpack to as many; expected a whole file. Copy or convert it again.",
        )


def check_offset(case_id: str, path: str) -> None:
    """Refuse a header that sends its reader far into the file, which may unpack to any size.

    Args:
        case_id: For messages.
        path: NIfTI file.

    Raises:
        CaseError: Its voxels lie beyond every header.
        OSError: The file cannot be opened, or unpacked.
    """
    with gzip.open(path) if path.endswith(".gz") else open(path, "rb") as file:
        header = file.read(176)
    for order in "<>":
        if header[:4] == struct.pack(f"{order}i", 348):
            (offset,) = struct.unpack_from(f"{order}f", header, 108)
        elif header[:4] == struct.pack(f"{order}i", 540):
            (offset,) = struct.unpack_from(f"{order}q", header, 168)
        else:
            continue
        if not 0 <= offset <= MAX_OFFSET:
            raise CaseError(
                case_id,
                f"{path} has its voxels at byte {offset:g}; expected them after a header of up to "
                f"{MAX_OFFSET >> 20} MiB. Convert from DICOM again.",
            )
