"""Find the CT series of a folder tree, and what was drawn on them."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from factory.counted import counted
from factory.dicom.elements import DicomError, has_mark, may_be_unmarked, read_start
from factory.dicom.headers import Header, read_header
from factory.dicom.series import CtSeries, LeftOut, SeriesFindings
from factory.dicom.sorting import sort_headers
from factory.dicom.tree import Tree, Unread, cannot_open, read_tree
from factory.errors import FactoryError

_DICOM_SUFFIXES = (".dcm", ".ima")
_NO_DICOM = "named as DICOM and is none; expected a whole DICOM file. Copy or export it again"


def find_series(source: Path, tree: Tree | None = None) -> SeriesFindings:
    """Find the CT series below a folder, and what was drawn on them.

    Args:
        source: Searched to any depth; hidden files and folders are left out, and so are files
            that are no DICOM, in silence where they are not named as such.
        tree: Of the folder, where it has been read.

    Raises:
        FactoryError: The folder cannot be read.
    """
    tree = tree or read_tree(source)
    left_out: list[LeftOut] = []
    unread = list(map(_unread, tree.unread))
    found = sort_headers(list(_headers(tree, left_out, unread)), left_out)
    return replace(found, unread=tuple(unread))


def series_of(paths: Iterable[Path]) -> CtSeries:
    """Return the series that these files hold, as `find_series` would; for another process.

    Raises:
        FactoryError: They are not the slices of one series.
    """
    left_out: list[LeftOut] = []
    headers = [header for path in paths if (header := _read(path, left_out))]
    found = sort_headers(headers, left_out)
    if len(found.series) != 1 or found.left_out:
        reasons = "; ".join(sorted({left.reason for left in found.left_out})) or "no DICOM"
        raise FactoryError(
            f"found {len(found.series)} CT series in {counted(len(headers), 'file')} ({reasons}); expected one, "
            "and nothing beside it. Run ingest again: the files have changed since they were found."
        )
    return found.series[0]


def _headers(tree: Tree, left_out: list[LeftOut], unread: list[LeftOut]) -> Iterator[Header]:
    for path in tree.files:
        try:
            start = read_start(path)
        except OSError as error:
            unread.append(LeftOut(reason=cannot_open(error), paths=(path,), broken=True))
            continue
        header = None
        if is_marked := has_mark(start):
            header = _read(path, left_out)
        elif may_be_unmarked(path, start):
            # Without the mark it is DICOM only once it says what it holds.
            header = _read(path, [])
            header = header if header and (header.modality or header.sop_class_uid) else None
        if header:
            yield header
        elif not is_marked and is_named_dicom(path):
            left_out.append(LeftOut(reason=_NO_DICOM, paths=(path,), broken=True))


def is_named_dicom(path: Path) -> bool:
    """Tell whether a file has one of the suffixes that DICOM files are given."""
    return path.suffix.lower() in _DICOM_SUFFIXES


def _unread(found: Unread) -> LeftOut:
    # A pipe or a device is broken only where a scan should be.
    is_meant = not found.is_special or is_named_dicom(found.path)
    return LeftOut(reason=found.reason, paths=(found.path,), broken=is_meant)


def _read(path: Path, left_out: list[LeftOut]) -> Header | None:
    try:
        return read_header(path)
    except DicomError as error:
        left_out.append(LeftOut(reason=str(error), paths=(path,), broken=True))
        return None
