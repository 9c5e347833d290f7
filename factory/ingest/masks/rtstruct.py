"""RTSTRUCT: outlines in mm, filled on the slices that they lie on.

contours --name?--> lung or nodule --plane--> nearest slice --even-odd--> pixels, and those between
"""

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydicom import Dataset

from factory.axes import ras_from_lps, zyx_from_ras
from factory.counted import counted
from factory.dicom.stack import Stack
from factory.errors import CaseError
from factory.ingest.masks.annotation import Annotation, Drawing
from factory.ingest.masks.dicom_file import check_reference, open_dicom, readable
from factory.ingest.masks.planes import PlaneDrawing
from factory.ingest.masks.polygon import Points

KIND = "RTSTRUCT"
_SOP_CLASSES = ("1.2.840.10008.5.1.4.1.1.481.3",)
_MAX_BYTES = 128 * 2**20
_MAX_CONTOUR_BYTES = 8 * 2**20
_MAX_NUMBER_BYTES = 32
"""DICOM has 16; numbers become an array whose rows are as wide as the longest."""

_CLOSED = ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR", "CLOSED_PLANAR_XOR")
_SAME_PLANE = 0.02
"""Of the distance between slices: contours this close to each other lie in one plane."""


@dataclass(slots=True)
class _Contours:
    """What is closed of one structure, and how much was not."""

    closed: list[Points]
    """Each (n, 3), LPS mm."""
    num_other: int
    """Points and open lines."""


def read_rtstruct(case_id: str, path: str, stack: Stack) -> Annotation:
    """Read the lungs and nodules of an RTSTRUCT.

    A pixel belongs to a structure if its centre lies in an odd number of the contours of one
    plane: outlines within outlines are holes. Contours between two slices are drawn on the
    nearer one, with a note; where several planes are nearest to a slice, the nearest of them counts. Slices
    between two planes that overlap and lie up to 10 mm or two slices apart are filled as well.

    Args:
        case_id: For messages.
        path: The file.
        stack: The CT series that it was drawn on.

    Returns:
        Masks on the stack's slices, of the structures whose name says lung or nodule (`role_of`).

    Raises:
        CaseError: It cannot be read, is of another series or frame of reference, or a contour
            leaves the image, is not parallel to the slices, or is too long.
    """
    dataset = open_dicom(case_id, path, KIND, _SOP_CLASSES, _MAX_BYTES)
    with readable(case_id, KIND):
        check_reference(case_id, KIND, stack, _series_of(dataset), _frames_of(dataset))
        names = _names(dataset)
        outlines = list(dataset.get("ROIContourSequence", ()))
    drawing, num_other = Drawing(stack.ct_hu.shape), 0
    slice_mm = float(np.linalg.norm(stack.affine[:3, 2]))
    onto_slices = PlaneDrawing(case_id=case_id, kind=KIND, slice_mm=slice_mm)
    for outline in outlines:
        with readable(case_id, KIND):
            mask = drawing.mask_for(names.get(int(outline.ReferencedROINumber), "unnamed"))
            contours = _contours(case_id, outline) if mask is not None else _Contours([], 0)
        num_other += contours.num_other
        if mask is None or not contours.closed:
            continue
        onto_slices.draw(_planes(case_id, contours.closed, stack), mask)
    drawing.notes.extend(onto_slices.notes())
    if num_other:
        drawing.notes.append(
            f"{KIND}: {counted(num_other, 'point or open line', 'points and open lines')} left out"
        )
    return drawing.done(KIND)


def _names(dataset: Dataset) -> dict[int, str]:
    return {
        int(structure.ROINumber): str(structure.get("ROIName", ""))
        for structure in dataset.get("StructureSetROISequence", ())
    }


def _series_of(dataset: Dataset) -> set[str]:
    return {
        str(series.get("SeriesInstanceUID", ""))
        for frame in dataset.get("ReferencedFrameOfReferenceSequence", ())
        for study in frame.get("RTReferencedStudySequence", ())
        for series in study.get("RTReferencedSeriesSequence", ())
    }


def _frames_of(dataset: Dataset) -> set[str]:
    places = [
        *dataset.get("ReferencedFrameOfReferenceSequence", ()),
        *dataset.get("StructureSetROISequence", ()),
    ]
    named = {
        str(place.get(key, ""))
        for place in places
        for key in ("FrameOfReferenceUID", "ReferencedFrameOfReferenceUID")
    }
    return {*named, str(dataset.get("FrameOfReferenceUID", ""))} - {""}


def _contours(case_id: str, outline: Dataset) -> _Contours:
    found, num_other = dict[bytes, Points](), 0
    for contour in outline.get("ContourSequence", ()):
        if contour.get("ContourGeometricType") not in _CLOSED:
            num_other += 1
            continue
        # As it lies in the file: pydicom makes an object of every number.
        element: Any = contour.get_item("ContourData")
        content = bytes(element.value) if element is not None and element.value else b""
        # Some planning systems write a contour twice, and twice is not at all.
        if content and content not in found:
            found[content] = _points(case_id, content)
    return _Contours(list(found.values()), num_other)


def _points(case_id: str, content: bytes) -> Points:
    """Return the (n, 3) points of a contour as it is written, numbers between backslashes."""
    if len(content) > _MAX_CONTOUR_BYTES:
        raise CaseError(
            case_id,
            f"its {KIND} has a contour of {len(content) >> 20} MiB; expected at most "
            f"{_MAX_CONTOUR_BYTES >> 20}. Draw it with fewer points.",
        )
    parts = content.strip(b" \0").split(b"\\")
    longest = max(map(len, parts))
    if longest > _MAX_NUMBER_BYTES:
        raise CaseError(
            case_id,
            f"its {KIND} has a contour with a number of {longest} characters; expected at most "
            f"{_MAX_NUMBER_BYTES}. Export it again.",
        )
    numbers = np.array(parts).astype(np.float64)
    if len(numbers) % 3 or not np.isfinite(numbers).all():
        raise CaseError(
            case_id,
            f"its {KIND} has a contour of {len(numbers)} numbers that are not points; expected x, y "
            "and z in mm. Export it again.",
        )
    return numbers.reshape(-1, 3)


def _planes(case_id: str, contours: list[Points], stack: Stack) -> dict[float, list[Points]]:
    """Return the contours of each plane, as (row, column) pixels, by the plane's place among the slices.

    Raises:
        CaseError: A contour is not parallel to the slices, or leaves the image.
    """
    planes: dict[float, list[Points]] = defaultdict(list)
    for contour in contours:
        points = zyx_from_ras(stack.affine, ras_from_lps(contour))
        at = points[:, 0]
        if np.ptp(at) > 0.5:
            raise CaseError(
                case_id,
                f"its {KIND} has a contour that crosses {np.ptp(at):.1f} slices; expected contours "
                "parallel to the slices of the CT. Draw it on the axial slices.",
            )
        _check_inside(case_id, points, stack)
        planes[float(np.rint(at.mean() / _SAME_PLANE) * _SAME_PLANE)].append(points[:, 1:])
    return planes


def _check_inside(case_id: str, points: Points, stack: Stack) -> None:
    """Refuse what lies more than half a slice or a pixel beyond the image's edge."""
    last = np.subtract(stack.ct_hu.shape, 1)
    beyond = np.maximum(-points, points - last).max(axis=0)
    if (beyond > (0.5 + _SAME_PLANE, 1.5, 1.5)).any():
        size_mm = np.linalg.norm(stack.affine[:3, [2, 1, 0]], axis=0)
        slices, rows, columns = np.maximum(beyond, 0) * size_mm
        raise CaseError(
            case_id,
            f"its {KIND} has a contour {slices:.1f} mm beyond the slices, {rows:.1f} mm beyond the rows "
            f"and {columns:.1f} mm beyond the columns of the CT; expected it within. Put it beside "
            "the series that it was drawn on.",
        )
