"""What is said of a case that failed: all of it to the people at the terminal, less to the store.

Paths of DICOM files often hold names, and what a library says of a file may quote its header.
"""

import re
import traceback
from pathlib import Path

from factory.errors import CaseError, FactoryError
from factory.ingest.sources import SourceCase
from jobs.quarantine import as_case_error

_NAME_OF_A_PATIENT, _NUMBER_OF_A_PATIENT = 4, 6
"""Characters of a file's name from which it may tell of one."""


def as_told(source: SourceCase, error: Exception) -> CaseError:
    """Return an exception as people at the terminal may read it, with the exception as its cause."""
    if not source.series or isinstance(error, FactoryError):
        return as_case_error(source.case_id, error)
    frames = traceback.extract_tb(error.__traceback__)
    place = f" in {Path(frames[-1].filename).name}, line {frames[-1].lineno}" if frames else ""
    problem = CaseError(
        source.case_id,
        f"found {type(error).__name__}{place}; expected none. Its text may quote the header and is not "
        "repeated. Convert the series to NIfTI, or leave it out.",
    )
    problem.__cause__ = error
    return problem


def as_public(source: SourceCase, told: CaseError) -> CaseError:
    """Return the same without any path of a DICOM input, for the store."""
    if not source.series:
        return told
    public = CaseError(source.case_id, without_paths(told.problem, source.files))
    public.__cause__ = told.__cause__ or told
    return public


def without_paths(text: str, files: tuple[str, ...]) -> str:
    """Take files, their folders and their names out of a text."""
    paths = {Path(file) for file in files}
    folders = {folder for path in paths for folder in path.parents if len(folder.parts) > 1}
    for place in sorted({*paths, *folders}, key=lambda path: -len(str(path))):
        text = text.replace(str(place), "(path)")
    names = {path.name for path in paths if _is_telling(path.name)}
    for name in sorted(names, key=len, reverse=True):
        text = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", "(file)", text)
    return text


def shown(place: str) -> str:
    """Return a name as a terminal may print it, and a table hold it: escapes and broken text spelt out."""
    return place if place.isprintable() else ascii(place)


def _is_telling(name: str) -> bool:
    """Tell names from the numbers that slices go by: those would be taken out of figures too."""
    return len(name) >= _NUMBER_OF_A_PATIENT or (
        len(name) >= _NAME_OF_A_PATIENT and any(map(str.isalpha, name))
    )
