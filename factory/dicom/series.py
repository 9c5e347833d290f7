"""What a folder tree holds of DICOM: CT series, what was drawn on them, and what is neither."""

import itertools
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from factory.dicom.headers import Header
from factory.dicom.order import distances_mm, gap_mm, places


@dataclass(frozen=True, kw_only=True)
class CtSeries:
    """The slices of one CT series: one shape, spacing and direction."""

    study_uid: str = field(repr=False)
    series_uid: str = field(repr=False)
    frame_uid: str = field(repr=False)
    patient_id: str = field(repr=False)
    issuer: str = field(repr=False)
    """IssuerOfPatientID: two hospitals may give one number to two patients."""

    slices: tuple[Header, ...] = field(repr=False)
    """In the order of their positions along their normal; a slice may be there twice."""

    notes: tuple[str, ...] = ()
    """What was assumed in sorting, without identifiers."""

    @property
    def paths(self) -> tuple[Path, ...]:
        """Files in the order of the slices."""
        return tuple(header.path for header in self.slices)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(places, rows, columns); a slice that is there twice counts once."""
        return self.num_slices, self.slices[0].rows, self.slices[0].columns

    @cached_property
    def num_slices(self) -> int:
        """Places along the normal that have a slice."""
        return len(places(self.slices))

    @cached_property
    def gap_mm(self) -> float:
        """Median distance between neighbouring slices."""
        return gap_mm(self.slices)

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance between slices, rows and columns."""
        between_rows, between_columns = self.slices[0].pixel_spacing
        return self.gap_mm, between_rows, between_columns

    @property
    def extent_mm(self) -> float:
        """From the first slice to the last."""
        return float(np.ptp(distances_mm(self.slices)))

    @property
    def kernel(self) -> str:
        """ConvolutionKernel."""
        return self.slices[0].kernel


@dataclass(frozen=True, kw_only=True, slots=True)
class LeftOut:
    """Files that become no case, and why."""

    reason: str
    """Without identifiers."""

    paths: tuple[Path, ...] = field(repr=False)
    broken: bool = False
    """Whether they should have become one: not a localiser, but a CT that cannot be used."""

    study_uid: str = field(default="", repr=False)
    series_uid: str = field(default="", repr=False)
    patient_id: str = field(default="", repr=False)
    issuer: str = field(default="", repr=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class Annotation:
    """A file of what a reader drew on a series."""

    kind: str
    """`SEG` or `RTSTRUCT`."""

    path: Path = field(repr=False)
    study_uid: str = field(repr=False)
    frame_uid: str = field(repr=False)
    """FrameOfReferenceUID; empty where the file has none at its top."""

    series_uids: tuple[str, ...] = field(repr=False)
    """Series that it says it was drawn on; empty where it does not say."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SeriesFindings:
    """What a folder tree holds of DICOM."""

    series: tuple[CtSeries, ...]
    """By study, then series."""

    left_out: tuple[LeftOut, ...]
    annotations: tuple[Annotation, ...]
    unread: tuple[LeftOut, ...] = ()
    """What nobody could look into, DICOM or not: closed folders, dead links, pipes."""

    @property
    def files(self) -> frozenset[Path]:
        """Every file that is DICOM, or is named so."""
        groups = [series.paths for series in self.series] + [left.paths for left in self.left_out]
        drawn = (annotation.path for annotation in self.annotations)
        return frozenset(itertools.chain(drawn, *groups))
