"""Find the cases of a folder of NIfTI files, in either of two layouts.

NAME_ct.nii.gz  NAME_lung*.nii.gz  [NAME_nodule*.nii.gz | NAME_tumor*.nii.gz]
CT/ID.nii.gz    SEG/ID.nii.gz      labels 0 background, 1 lung, 2 nodule
"""

import csv
import io
import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from factory.errors import CaseError, FactoryError

_NIFTI = re.compile(r"\.nii(\.gz)?$")
_CT = "_ct"
_MASK = re.compile(r"_(?P<kind>lung|nodule|tumor)")
_CASE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_PATIENT_COLUMNS = ("case_id", "patient_id")


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceCase:
    """The files of one case."""

    case_id: str
    patient_id: str
    ct: str
    lung: tuple[str, ...] = ()
    """Binary lung masks; several are united."""
    nodule: tuple[str, ...] = ()
    """Nodule masks, binary or one label a nodule; several are united."""
    labels: str = ""
    """One segmentation with labels 0, 1 and 2 instead of the masks above."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Findings:
    """What a source folder holds."""

    cases: list[SourceCase]
    rejects: list[CaseError]
    ignored: list[str]
    """NIfTI files that match neither layout, and folders below that cannot be read."""


def find_cases(source: Path, patients: Mapping[str, str] | None = None) -> Findings:
    """Find the cases below a folder.

    Args:
        source: Searched to any depth; hidden folders are left out.
        patients: Patient of each case; a case that is not named is its own patient.

    Raises:
        FactoryError: The folder cannot be read, or holds no NIfTI file.
    """
    unreadable: list[str] = []
    files = sorted(_nifti_files(source, unreadable))
    if not files:
        raise FactoryError(
            f"source {source}: found no .nii or .nii.gz file; expected NAME_ct.nii.gz beside "
            "NAME_lung.nii.gz, or CT/ID.nii.gz with SEG/ID.nii.gz. Point to the folder with the scans."
        )
    found = _sort_files(files)
    rejects = [*_repeated(found), *_without_ct(found), *_unusable_names(found)]
    rejected = {reject.case_id for reject in rejects}
    cases = [
        _source_case(name, found, patients or {})
        for name in sorted(found.cts)
        if name not in rejected
    ]
    return Findings(cases=cases, rejects=rejects, ignored=found.ignored + unreadable)


def read_patients(path: Path) -> dict[str, str]:
    """Read a CSV with columns `case_id` and `patient_id`.

    Raises:
        FactoryError: The file is not UTF-8, has other columns, a line with one name, or one
            case with two patients.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise FactoryError(
            f"patients {path}: found bytes that are no text ({error.reason}); expected a CSV in UTF-8. "
            "Save it again as CSV UTF-8."
        ) from error
    return _patients_of(text, path)


def _patients_of(text: str, path: Path) -> dict[str, str]:
    patients: dict[str, str] = {}
    reader = csv.DictReader(io.StringIO(text, newline=""), skipinitialspace=True)
    columns = reader.fieldnames or []
    if not set(_PATIENT_COLUMNS) <= set(columns):
        raise FactoryError(
            f"patients {path}: found columns {', '.join(columns) or 'none'}; expected case_id and "
            "patient_id, with commas between. Correct the first line."
        )
    for row in reader:
        case_id, patient_id = ((row[column] or "").strip() for column in _PATIENT_COLUMNS)
        if not case_id or not patient_id or patients.get(case_id, patient_id) != patient_id:
            raise FactoryError(
                f"patients {path}, line {reader.line_num}: found case {case_id!r} with patient "
                f"{patient_id!r}; expected one patient for each case. Correct the line."
            )
        patients[case_id] = patient_id
    return patients


@dataclass(slots=True)
class _Files:
    cts: dict[str, list[Path]] = field(default_factory=lambda: defaultdict(list))
    segs: dict[str, list[Path]] = field(default_factory=lambda: defaultdict(list))
    lungs: dict[str, list[Path]] = field(default_factory=lambda: defaultdict(list))
    nodules: dict[str, list[Path]] = field(default_factory=lambda: defaultdict(list))
    ignored: list[str] = field(default_factory=list)


def _nifti_files(source: Path, unreadable: list[str]) -> Iterator[Path]:
    def note(error: OSError) -> None:
        if Path(error.filename) == source:
            raise FactoryError(
                f"source {source}: found {error.strerror}; expected a folder that can be read. Check "
                "the path and its permissions."
            ) from error
        unreadable.append(f"{error.filename} ({error.strerror})")

    visited = set()
    for folder, folders, names in os.walk(source, onerror=note, followlinks=True):
        # A link can lead back up, and would show every scan again.
        place = os.path.realpath(folder)
        if place in visited:
            folders[:] = []
            continue
        visited.add(place)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in names:
            if not _NIFTI.search(name) or name.startswith("."):
                continue
            path = os.path.join(folder, name)
            if path.isprintable():
                yield Path(path)
            else:
                unreadable.append(f"{path!a} (a name that is not text)")


def _sort_files(files: Iterable[Path]) -> _Files:
    found, others = _Files(), []
    for file in files:
        stem = _NIFTI.sub("", file.name)
        if file.parent.name == "CT" and (file.parent.with_name("SEG")).is_dir():
            found.cts[stem].append(file)
        elif file.parent.name == "SEG":
            found.segs[stem].append(file)
        elif stem.endswith(_CT):
            found.cts[stem.removesuffix(_CT)].append(file)
        else:
            others.append(file)
    for file in others:
        _sort_mask(file, found)
    return found


def _sort_mask(file: Path, found: _Files) -> None:
    """Give a mask to the longest CT name that it starts with: `a_lung_1_lung` is of `a_lung_1`."""
    stem = _NIFTI.sub("", file.name)
    matches = [(stem[: mark.start()], mark["kind"]) for mark in _MASK.finditer(stem)]
    if not matches:
        found.ignored.append(str(file))
        return
    known = [match for match in matches if match[0] in found.cts]
    name, kind = known[-1] if known else matches[-1]
    (found.lungs if kind == "lung" else found.nodules)[name].append(file)


def _repeated(found: _Files) -> Iterator[CaseError]:
    for kind, files_of in (("CTs", found.cts), ("segmentations", found.segs)):
        for name, files in files_of.items():
            if len(files) > 1:
                yield CaseError(
                    name,
                    f"found {len(files)} {kind} with this id ({', '.join(map(str, files))}); "
                    "expected one. Rename all but one.",
                )


def _without_ct(found: _Files) -> Iterator[CaseError]:
    masks: dict[str, Path] = {}
    for files_of in (found.nodules, found.lungs, found.segs):
        masks |= {name: files[0] for name, files in files_of.items()}
    for name in sorted(set(masks) - set(found.cts)):
        yield CaseError(
            name,
            f"found the mask {masks[name]} but no CT; expected CT/{name}.nii.gz or "
            f"{name}_ct.nii.gz. Add the CT, or remove the mask.",
        )


def _unusable_names(found: _Files) -> Iterator[CaseError]:
    for name, files in found.cts.items():
        if not _CASE_ID.fullmatch(name):
            yield CaseError(
                name,
                f"found an id that cannot name a volume ({files[0]}); expected at most 128 "
                "letters, digits, '.', '_' and '-'. Rename the files.",
            )


def _source_case(name: str, found: _Files, patients: Mapping[str, str]) -> SourceCase:
    return SourceCase(
        case_id=name,
        patient_id=patients.get(name, name),
        ct=str(found.cts[name][0]),
        lung=tuple(map(str, found.lungs.get(name, ()))),
        nodule=tuple(map(str, found.nodules.get(name, ()))),
        labels=str(found.segs[name][0]) if name in found.segs else "",
    )
