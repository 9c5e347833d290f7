"""What one DICOM file says of itself, read without its pixels."""

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.tag import BaseTag

from factory.dicom.elements import quiet_pydicom, read_elements, tags_of, unreadable

_PIXEL_DATA = 0x7FE00010
_CONTENTS = tags_of("ROIContourSequence", "PerFrameFunctionalGroupsSequence")
"""What structure sets and segmentations are full of; nothing that sorts them comes after."""

_TAGS = tags_of(
    "ImageType",
    "SOPClassUID",
    "SOPInstanceUID",
    "Modality",
    "PatientID",
    "IssuerOfPatientID",
    "ConvolutionKernel",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "AcquisitionNumber",
    "TemporalPositionIdentifier",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "FrameOfReferenceUID",
    "NumberOfFrames",
    "Rows",
    "Columns",
    "PixelSpacing",
    "ReferencedSeriesSequence",
    "ReferencedFrameOfReferenceSequence",
)


@dataclass(frozen=True, kw_only=True, slots=True, repr=False)
class Header:
    """What sorting and stacking need of one file; empty or 0 where the file does not say.

    It has no repr: any text of a file may be a name.
    """

    path: Path
    modality: str
    sop_class_uid: str
    transfer_syntax: str
    image_type: tuple[str, ...]
    sop_uid: str
    series_uid: str
    study_uid: str
    frame_uid: str
    patient_id: str
    issuer: str
    """IssuerOfPatientID."""
    kernel: str
    """ConvolutionKernel."""
    acquisition: str
    """AcquisitionNumber."""
    phase: str
    """TemporalPositionIdentifier."""
    num_frames: int
    rows: int
    columns: int
    pixel_spacing: tuple[float, ...]
    """mm from row to row, then from column to column."""
    position: tuple[float, ...]
    """ImagePositionPatient, LPS mm."""
    orientation: tuple[float, ...]
    """ImageOrientationPatient: direction of a row, then of a column, LPS."""
    file_bytes: int
    pixel_bytes: int
    """Length of the pixel data as stored; 0 where there are none, -1 where compressed."""
    references: tuple[str, ...]
    """Series that a segmentation or structure set was drawn on."""


def read_header(path: Path) -> Header:
    """Read what a DICOM file says of itself, without its pixels.

    Raises:
        DicomError: It cannot be read as DICOM.
    """
    pixels = _PixelData()
    data, transfer_syntax = read_elements(path, _TAGS, pixels)
    try:
        with quiet_pydicom():
            return _header(path, data, transfer_syntax, pixels.num_bytes)
    except Exception as error:  # of a sequence that is none, or a number that is text
        raise unreadable(error) from None


class _PixelData:
    """Stops a reader before pixels and contours, and notes how many bytes the pixels have."""

    num_bytes = 0

    def __call__(self, tag: BaseTag, vr: str | None, length: int) -> bool:
        # Shifted first: comparing two tags of pydicom is slow, and this runs for every element.
        if tag >> 16 < _CONTENTS[0] >> 16:
            return False
        number = int(tag)
        if number == _PIXEL_DATA:
            self.num_bytes = -1 if length == 0xFFFFFFFF else length
        return number >= _PIXEL_DATA or number in _CONTENTS


def _header(path: Path, data: Dataset, transfer_syntax: str, pixel_bytes: int) -> Header:
    return Header(
        path=path,
        modality=_text(data, "Modality").upper(),
        sop_class_uid=_text(data, "SOPClassUID"),
        transfer_syntax=transfer_syntax,
        image_type=tuple(text.upper() for text in _texts(data, "ImageType")),
        sop_uid=_text(data, "SOPInstanceUID"),
        series_uid=_text(data, "SeriesInstanceUID"),
        study_uid=_text(data, "StudyInstanceUID"),
        frame_uid=_text(data, "FrameOfReferenceUID"),
        patient_id=_text(data, "PatientID"),
        issuer=_text(data, "IssuerOfPatientID"),
        kernel="/".join(_texts(data, "ConvolutionKernel")),
        acquisition=_text(data, "AcquisitionNumber"),
        phase=_text(data, "TemporalPositionIdentifier"),
        num_frames=_whole(data, "NumberOfFrames", 1),
        rows=_whole(data, "Rows", 0),
        columns=_whole(data, "Columns", 0),
        pixel_spacing=_numbers(data, "PixelSpacing"),
        position=_numbers(data, "ImagePositionPatient"),
        orientation=_numbers(data, "ImageOrientationPatient"),
        file_bytes=os.stat(path).st_size,
        pixel_bytes=pixel_bytes,
        references=_references(data),
    )


def _values(data: Dataset, keyword: str) -> list[Any]:
    try:
        value = data.get(keyword)
    except Exception:  # pydicom converts it only now; what it cannot convert is not there
        return []
    if value is None:
        return []
    return list(value) if isinstance(value, MultiValue | list) else [value]


def _texts(data: Dataset, keyword: str) -> list[str]:
    # Padding is a space or a NUL, and some writers leave both.
    return [str(value).strip(" \0") for value in _values(data, keyword)]


def _text(data: Dataset, keyword: str) -> str:
    return next(iter(_texts(data, keyword)), "")


def _numbers(data: Dataset, keyword: str) -> tuple[float, ...]:
    try:
        numbers = tuple(float(text) for text in _texts(data, keyword) if text)
    except ValueError:
        return ()
    return numbers if all(map(math.isfinite, numbers)) else ()


def _whole(data: Dataset, keyword: str, missing: int) -> int:
    numbers = _numbers(data, keyword)
    return int(numbers[0]) if numbers else missing


def _references(data: Dataset) -> tuple[str, ...]:
    """Return the series that a SEG names at its top, or an RTSTRUCT three sequences down."""
    named = list(data.get("ReferencedSeriesSequence") or [])
    for frame in data.get("ReferencedFrameOfReferenceSequence") or []:
        for study in frame.get("RTReferencedStudySequence") or []:
            named += study.get("RTReferencedSeriesSequence") or []
    return tuple(sorted({_text(item, "SeriesInstanceUID") for item in named} - {""}))
