"""DICOM series as cases: named by keyed hashes, each with what was drawn on it.

series --choose--> cases  <-- SEG, RTSTRUCT, LIDC-IDRI XML, NIfTI masks
          the rest, with the reason --> NoCase
"""

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from factory.dicom.choose import choose_series
from factory.dicom.series import Annotation, CtSeries, LeftOut, SeriesFindings
from factory.errors import CaseError
from factory.ingest.sources import DrawnMasks, SourceCase
from factory.ingest.tags import Tags
from factory.lidc.parse import CT_MESSAGE, RADIOGRAPH_MESSAGE, read_lidc_header

NO_CASE = "of a series that is no case here"
"""What is said of a file of readers whose series was not chosen, or is not there."""

_MANY_CASES = "that names the UID of several series; expected a UID for each series"


@dataclass(frozen=True, kw_only=True, slots=True)
class SeriesCase:
    """A series that becomes a case."""

    source: SourceCase
    series: CtSeries

    @property
    def folder(self) -> Path:
        """Folder that holds all of its files."""
        return folder_of(self.series.paths)


@dataclass(frozen=True, kw_only=True, slots=True)
class NoCase:
    """Files of a DICOM tree that become no case, and why."""

    paths: tuple[Path, ...]
    case_id: str = ""
    """Of the series that they belong to, where that is known."""
    reason: str
    """Without identifiers."""
    broken: bool = False
    """Whether they were meant to become one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DicomCases:
    """What a tree of DICOM files comes to."""

    cases: list[SeriesCase]
    rest: list[NoCase]


def dicom_cases(
    findings: SeriesFindings,
    tags: Tags,
    rule: str,
    *,
    masks: Mapping[str, DrawnMasks],
    xml_files: Iterable[Path],
    patients: Mapping[str, str],
) -> DicomCases:
    """Choose series, name them, and give each what was drawn on it.

    Args:
        findings: What the tree holds.
        tags: Names that stand for patients, series and files.
        rule: See `choose_series`.
        masks: NIfTI masks in or beside folders, by the folder's path.
        xml_files: Files that may be LIDC-IDRI's.
        patients: Patient of each case, above what its header says.

    Raises:
        UsageError: The rule is none.
    """
    choice = choose_series(findings.series, rule)
    drawn = _Drawn.of(choice.chosen, tags)
    left_out = (*findings.left_out, *findings.unread, *choice.left_out)
    rest = [_no_case(left, tags) for left in left_out]
    rest += drawn.take_annotations(findings.annotations)
    rest += drawn.take_xml(xml_files)
    rest += drawn.take_masks(masks)
    cases = [
        SeriesCase(source=drawn.complete(_source_case(series, tags, patients)), series=series)
        for series in choice.chosen
    ]
    return DicomCases(cases=cases, rest=rest)


def find_xml(files: Iterable[Path]) -> Iterator[Path]:
    """Yield the files that are XML by their names."""
    return (path for path in files if path.suffix.lower() == ".xml")


def folder_of(paths: Sequence[Path]) -> Path:
    """Return the deepest folder that holds all of these files."""
    return Path(os.path.commonpath([path.parent for path in paths]))


def _source_case(series: CtSeries, tags: Tags, patients: Mapping[str, str]) -> SourceCase:
    case_id = tags.case_id(series)
    notes = series.notes
    if not series.patient_id:
        notes += ("no PatientID in the header: the study is taken for a patient of its own",)
    return SourceCase(
        case_id=case_id,
        patient_id=patients.get(case_id, tags.patient_id(series)),
        series=tuple(map(str, series.paths)),
        series_uid=series.series_uid,
        notes=notes,
    )


def _no_case(left: LeftOut, tags: Tags) -> NoCase:
    case_id = tags.case_id(left) if left.series_uid else ""
    return NoCase(paths=left.paths, case_id=case_id, reason=left.reason, broken=left.broken)


@dataclass(slots=True)
class _Drawn:
    """Files that were drawn on the chosen series, by case: two series may bear one UID."""

    series: dict[str, CtSeries]
    by_uid: dict[str, list[str]]
    """Cases of each SeriesInstanceUID."""
    files: dict[str, dict[str, list[str]]]
    notes: dict[str, list[str]]

    @classmethod
    def of(cls, chosen: Sequence[CtSeries], tags: Tags) -> "_Drawn":
        kinds: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
        by_uid: dict[str, list[str]] = defaultdict(list)
        series = {tags.case_id(one): one for one in chosen}
        for case_id, one in series.items():
            by_uid[one.series_uid].append(case_id)
        return cls(series, by_uid, kinds, defaultdict(list))

    def complete(self, source: SourceCase) -> SourceCase:
        """Return a case with the files of its series."""
        files = {kind: tuple(sorted(paths)) for kind, paths in self.files[source.case_id].items()}
        notes = (*source.notes, *self.notes[source.case_id])
        return replace(source, **files, notes=notes)  # type: ignore[arg-type]

    def take_annotations(self, annotations: Iterable[Annotation]) -> Iterator[NoCase]:
        for annotation in annotations:
            uids = (uid for uid in annotation.series_uids if uid in self.by_uid)
            uid = next(uids, None)
            if uid is None:
                found = self._in_frame(annotation)
            else:
                found = self._named(annotation.study_uid, uid)
            reason = self._take(found, annotation.kind.lower(), annotation.path)
            if reason:
                yield NoCase(paths=(annotation.path,), reason=f"{annotation.kind} {reason}")

    def take_xml(self, files: Iterable[Path]) -> Iterator[NoCase]:
        for path in files:
            try:
                header = read_lidc_header(path)
            except CaseError as error:
                yield NoCase(paths=(path,), reason=f"XML that cannot be read: {error.problem}")
                continue
            if header.message == RADIOGRAPH_MESSAGE:
                yield NoCase(paths=(path,), reason="LIDC-IDRI XML of a radiograph")
            elif header.message == CT_MESSAGE:
                found = self._named(header.study_uid, header.series_uid)
                if reason := self._take(found, "lidc_xml", path):
                    yield NoCase(paths=(path,), reason=f"LIDC-IDRI XML {reason}")

    def take_masks(self, masks: Mapping[str, DrawnMasks]) -> Iterator[NoCase]:
        """Give the masks of a folder to the one series in it: of several, none is known to be theirs."""
        inside: dict[str, list[str]] = defaultdict(list)
        for case_id, series in self.series.items():
            for folder in {str(path.parent) for path in series.paths}:
                inside[folder].append(case_id)
        for folder, drawn in masks.items():
            if len(inside[folder]) == 1:
                (case_id,) = inside[folder]
                self.files[case_id]["lung"] += drawn.lung
                self.files[case_id]["nodule"] += drawn.nodule
                self.notes[case_id] += drawn.notes
                continue
            found = f"{len(inside[folder])} chosen series in their folder; expected one"
            paths = tuple(map(Path, drawn.lung + drawn.nodule))
            yield NoCase(paths=paths, reason=f"masks with {found}")

    def _take(self, case_ids: Sequence[str], kind: str, path: Path) -> str:
        """Give a file to the one case that it was drawn on; return why there is not one."""
        if len(case_ids) > 1:
            return _MANY_CASES
        if not case_ids:
            return NO_CASE
        self.files[case_ids[0]][kind].append(str(path))
        return ""

    def _named(self, study_uid: str, series_uid: str) -> list[str]:
        """Return the cases of a SeriesInstanceUID, of several those of the study."""
        named = self.by_uid.get(series_uid, [])
        if len(named) < 2:
            return named
        return [one for one in named if self.series[one].study_uid == study_uid] or named

    def _in_frame(self, annotation: Annotation) -> list[str]:
        """Return the one chosen series of an annotation's frame of reference, if it names no series."""
        if annotation.series_uids or not annotation.frame_uid:
            return []
        wanted = (annotation.study_uid, annotation.frame_uid)
        found = [
            case_id
            for case_id, one in self.series.items()
            if (one.study_uid, one.frame_uid) == wanted
        ]
        return found if len(found) == 1 else []
