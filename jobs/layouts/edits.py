"""Which layouts radiologists have edited, and which of those nothing can be drawn after."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from factory.digests import sha256_of_file
from factory.errors import CaseError
from factory.nodules.layout_file import read_layout
from factory.volumes import Volume

Row = dict[str, Any]


def is_edited(folder: Path, row: Row) -> bool:
    """Tell whether a layout's file is there and no longer as it was made.

    Args:
        folder: Of the layouts.
        row: Of `layouts.parquet`.
    """
    path = folder / row["file"]
    # What is no file, as a pipe, has no end that a digest could come to.
    is_made = path.is_file() and sha256_of_file(path) == str(row["file_sha256"])
    return path.exists() and not is_made


def broken_edits(
    case_id: str, rows: Sequence[Row], folder: Path, read_case: Callable[[], Volume]
) -> dict[int, CaseError]:
    """Return why nothing can be drawn after an edited layout, as `generate` would say it.

    Args:
        case_id: The case.
        rows: Of its layouts.
        folder: Of the layouts.
        read_case: Called once there is an edited one, for the case's own voxels.

    Returns:
        The reasons by `layout_index`; nothing of sound ones.

    Raises:
        CaseError: The case itself cannot be read.
    """
    edited = [row for row in rows if is_edited(folder, row)]
    if not edited:
        return {}
    volume, broken = read_case(), dict[int, CaseError]()
    for row in edited:
        try:
            read_layout(case_id, folder / row["file"], volume.layout, volume.affine)
        except CaseError as error:
            broken[row["layout_index"]] = error
    return broken
