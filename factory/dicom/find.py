"""Find the CT series of a folder tree, and what was drawn on them."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from factory.dicom.elements import DicomError, has_mark, may_be_unmarked
from factory.dicom.headers import Header, read_header
from factory.dicom.series import CtSeries, LeftOut, SeriesFindings
from factory.dicom.sorting import sort_headers
from factory.errors import FactoryError

_DICOM_SUFFIXES = (".dcm", ".ima")
_NO_DICOM = "named as DICOM and is none; expected a whole DICOM file. Copy or export it again"


def find_series(source: Path) -> SeriesFindings:
    """Find the CT series below a folder, and what was drawn on them.

    Args:
        source: Searched to any depth; hidden files and folders are left out, and so are files
            that are no DICOM, in silence where they are not named as such.

    Raises:
        FactoryError: The folder cannot be read.
    """
    left_out: list[LeftOut] = []
    return sort_headers(list(_headers(source, left_out)), left_out)


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
            f"found {len(found.series)} CT series in {len(headers)} files ({reasons}); expected one, "
            "and nothing beside it. Run ingest again: the files have changed since they were found."
        )
    return found.series[0]


def _headers(source: Path, left_out: list[LeftOut]) -> Iterator[Header]:
    for path in _files(source, left_out):
        try:
            if is_marked := has_mark(path):
                header = _read(path, left_out)
            elif may_be_unmarked(path):
                # Without the mark it is DICOM only once it says what it holds.
                header = _read(path, [])
                header = header if header and (header.modality or header.sop_class_uid) else None
            else:
                header = None
            if header is None and not is_marked and path.suffix.lower() in _DICOM_SUFFIXES:
                left_out.append(LeftOut(reason=_NO_DICOM, paths=(path,), broken=True))
        except OSError as error:
            left_out.append(LeftOut(reason=_refused(error), paths=(path,), broken=True))
            continue
        if header:
            yield header


def _read(path: Path, left_out: list[LeftOut]) -> Header | None:
    try:
        return read_header(path)
    except DicomError as error:
        left_out.append(LeftOut(reason=str(error), paths=(path,), broken=True))
        return None


def _files(source: Path, left_out: list[LeftOut]) -> Iterator[Path]:
    def note(error: OSError) -> None:
        if Path(error.filename) == source:
            raise FactoryError(
                f"source {source}: found {error.strerror}; expected a folder that can be read. Check "
                "the path and its permissions."
            ) from error
        left_out.append(LeftOut(reason=_refused(error), paths=(Path(error.filename),), broken=True))

    visited = set()
    for folder, folders, names in os.walk(source, onerror=note, followlinks=True):
        # A link can lead back up, and would show every slice again.
        place = os.path.realpath(folder)
        if place in visited:
            folders[:] = []
            continue
        visited.add(place)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(folder, name)
            if name.startswith("."):
                continue
            if str(path).isprintable():
                yield path
            else:
                reason = "a name that is not text; expected one that can be written down"
                left_out.append(LeftOut(reason=reason, paths=(path,), broken=True))


def _refused(error: OSError) -> str:
    return f"cannot be opened ({type(error).__name__}); expected a file or folder that can be read"
