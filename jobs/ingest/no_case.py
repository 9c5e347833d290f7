"""What is no case, as it is said of it: with paths to people at the terminal, by tags to the store."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from factory.errors import CaseError
from factory.ingest.dicom_cases import NoCase, folder_of
from factory.ingest.tags import Tags
from jobs.ingest.summary import reason_of
from jobs.ingest.telling import shown

_NO_LAYOUT = "matches no layout"
_REJECTED = (
    "image files of one name that make no case; expected one CT, with masks of its name. The terminal "
    "of the ingest names them: run it again."
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Aside:
    """What was found and is to become no case."""

    place: str
    """For people at the terminal."""
    file: str
    """For the store: a tag in place of a DICOM file's path."""
    case_id: str
    """Case that it would have been, or belongs to; empty if unknown."""
    reason: str
    """In a word or two, to be counted by."""
    message: str
    """All that is to be said, without paths of DICOM files and of what lies among them."""
    detail: str = ""
    """The same with paths, for people at the terminal; empty where `message` is all."""

    @property
    def told(self) -> str:
        """What people at the terminal read."""
        return self.detail or self.message


def of_no_case(found: NoCase, tags: Tags | None) -> Aside:
    """Say of files of a DICOM tree; without tags, of those that nobody could look into."""
    place, num = place_of(found), len(found.paths)
    return Aside(
        place=place,
        file=tags.file(place) if tags else shown(place),
        case_id=found.case_id,
        reason=_short(found.reason),
        message=f"{found.reason}{f' ({num} files)' if num > 1 else ''}",
    )


def place_of(found: NoCase) -> str:
    """Return the file, or the folder of several."""
    single = len(found.paths) == 1
    return os.path.abspath(found.paths[0] if single else folder_of(found.paths))


def of_reject(error: CaseError, source: Path, tags: Tags | None) -> Aside:
    """Say of broken image files; among DICOM files their names may be those of patients."""
    if tags is None:
        return Aside(
            place=error.case_id,
            file=error.case_id,
            case_id=error.case_id,
            reason=reason_of(error.problem),
            message=error.problem,
        )
    place = named_by(error, source)
    return Aside(
        place=place,
        file=tags.file(place),
        case_id="",
        reason=reason_of(error.problem),
        message=_REJECTED,
        detail=error.problem,
    )


def named_by(error: CaseError, source: Path) -> str:
    """Return a path for an id that several files share, or of which the CT is missing."""
    return os.path.abspath(source / error.case_id)


def of_ignored(files: Iterable[str], tags: Tags | None) -> Iterator[Aside]:
    """Say of image files that match no layout; in a tree with DICOM files their paths may hold names."""
    for file in map(os.path.abspath, files):
        yield Aside(
            place=file,
            file=tags.file(file) if tags else shown(file),
            case_id="",
            reason=_NO_LAYOUT,
            message="it matches no layout, or cannot be read",
        )


def _short(reason: str) -> str:
    """Return what comes before the first figure or explanation: reasons are counted by it."""
    for mark in (";", ":", "("):
        reason = reason.split(mark)[0]
    return reason.strip()
