"""What a source holds: the files of each case, and what could not be made one."""

from dataclasses import dataclass, field
from pathlib import Path

from factory.errors import CaseError
from factory.ingest.points import NodulePoint


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceCase:
    """The files of one case: a CT as one file or as a DICOM series, and what was drawn on it."""

    case_id: str
    patient_id: str
    ct: str = ""
    """NIfTI or MetaImage file of the CT; empty where the CT is a DICOM `series`."""
    lung: tuple[str, ...] = ()
    """Binary lung masks on the CT's grid; several are united."""
    nodule: tuple[str, ...] = ()
    """Nodule masks, binary or one label a nodule; several are united."""
    labels: str = ""
    """One segmentation with a label for each structure, instead of `lung`."""
    label_roles: tuple[tuple[int, int], ...] = ()
    """Pairs of a label of `labels` and what it is in a layout, lung or nodule; what is not named
    is background. Empty: the labels are a layout's own, 0, 1 and 2."""
    series: tuple[str, ...] = ()
    """DICOM files of the CT series, instead of `ct`."""
    series_uid: str = ""
    """SeriesInstanceUID of `series`; an identifier, for matching only."""
    seg: tuple[str, ...] = ()
    """DICOM SEG files that refer to the series."""
    rtstruct: tuple[str, ...] = ()
    """DICOM RTSTRUCT files that refer to the series."""
    lidc_xml: tuple[str, ...] = ()
    """LIDC-IDRI XML files of the series' readers."""
    points: tuple[NodulePoint, ...] = ()
    """Nodules known by centre and diameter alone."""
    notes: tuple[str, ...] = ()
    """What was assumed when these files were put together."""

    @property
    def files(self) -> tuple[str, ...]:
        """Every file that it is made from."""
        single = tuple(filter(None, (self.ct, self.labels)))
        drawn = self.lung + self.nodule + self.seg + self.rtstruct + self.lidc_xml
        return single + self.series + drawn


@dataclass(frozen=True, kw_only=True, slots=True)
class DrawnMasks:
    """Masks of a DICOM series that lie in files of their own."""

    lung: tuple[str, ...] = ()
    nodule: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Findings:
    """What a source folder holds."""

    cases: list[SourceCase]
    rejects: list[CaseError]
    ignored: list[str]
    """Image files that match no layout."""
    files: frozenset[Path]
    """All image files, in a case or not."""
    series_masks: dict[str, DrawnMasks] = field(default_factory=dict)
    """Masks in or beside a folder of DICOM files, by that folder's path."""
