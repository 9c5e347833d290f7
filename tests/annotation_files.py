"""Spheres in a stack of slices, and DICOM SEG and RTSTRUCT files that were drawn on it."""

from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
from highdicom.seg import (
    SegmentationFractionalTypeValues,
    SegmentationTypeValues,
    SegmentDescription,
)
from highdicom.sr.coding import CodedConcept
from pydicom import Dataset
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.sr.codedict import codes
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, RTStructureSetStorage, generate_uid

from factory.axes import ras_from_lps
from factory.dicom.stack import Stack

SHAPE = (16, 48, 40)
SPACING_MM = (3.0, 2.0, 2.0)
LUNG_TYPE = codes.SCT.Lung
NODULE_TYPE = CodedConcept("27925004", "SCT", "Nodule")
ORGAN_TYPE = CodedConcept("113343008", "SCT", "Organ")
BINARY, FRACTIONAL, LABELMAP = (
    SegmentationTypeValues.BINARY,
    SegmentationTypeValues.FRACTIONAL,
    SegmentationTypeValues.LABELMAP,
)


def stack_of(
    *, tilt_deg: float = 0.0, turn_deg: float = 0.0, shape: tuple[int, int, int] = SHAPE
) -> Stack:
    """Return a stack of air.

    Args:
        tilt_deg: Of the gantry: slices lean, and the table moves straight on.
        turn_deg: Of the patient within the slices' plane, with slices that stand upright.
        shape: (slice, row, column).
    """
    between_slices, between_rows, between_columns = SPACING_MM
    tilt, turn = np.deg2rad(tilt_deg), np.deg2rad(turn_deg)
    along_row = np.array([np.cos(turn), np.sin(turn), 0.0])
    along_column = np.array([-np.sin(turn), np.cos(turn), 0.0])
    along_column = np.cos(tilt) * along_column - np.sin(tilt) * np.array([0.0, 0.0, 1.0])
    affine = np.eye(4)
    affine[:3, 0] = ras_from_lps(along_row * between_columns)
    affine[:3, 1] = ras_from_lps(along_column * between_rows)
    affine[:3, 2] = (0.0, 0.0, between_slices)
    affine[:3, 3] = (30.0, 40.0, -70.0)
    return Stack(
        ct_hu=np.full(shape, -1000, np.int16),
        affine=affine,
        sop_uids=tuple(generate_uid() for _ in range(shape[0])),
        series_uid=generate_uid(),
        study_uid=generate_uid(),
        frame_uid=generate_uid(),
    )


def points_ras(stack: Stack) -> np.ndarray:
    """Return (slice, row, column, 3) RAS mm of every pixel's centre."""
    k, r, c = np.indices(stack.ct_hu.shape)
    return np.stack([c, r, k], axis=-1) @ stack.affine[:3, :3].T + stack.affine[:3, 3]


def middle_ras(stack: Stack) -> np.ndarray:
    """Return the RAS mm of the centre of a stack."""
    return points_ras(stack).reshape(-1, 3).mean(axis=0)


def sphere(stack: Stack, radius_mm: float, centre_ras: np.ndarray | None = None) -> np.ndarray:
    """Return the pixels of a stack in a sphere."""
    centre = middle_ras(stack) if centre_ras is None else centre_ras
    return np.linalg.norm(points_ras(stack) - centre, axis=-1) <= radius_mm


def circles(stack: Stack, radius_mm: float, *, num: int = 120) -> list[np.ndarray]:
    """Return the outline (n, 3) in LPS mm of a sphere in the middle, on each slice that cuts it."""
    rows, columns = (stack.affine[:3, axis] for axis in (1, 0))
    u, v = rows / np.linalg.norm(rows), columns / np.linalg.norm(columns)
    normal = np.cross(u, v)
    centre, found = middle_ras(stack), []
    for k in range(len(stack.ct_hu)):
        origin = stack.affine[:3, :3] @ (0.0, 0.0, k) + stack.affine[:3, 3]
        off_mm = float(normal @ (origin - centre))
        if abs(off_mm) < radius_mm:
            angle = np.linspace(0.0, 2 * np.pi, num, endpoint=False)[:, None]
            around = np.sqrt(radius_mm**2 - off_mm**2) * (np.cos(angle) * u + np.sin(angle) * v)
            found.append(ras_from_lps(centre + off_mm * normal + around))
    return found


def square(stack: Stack, k: float, low: float, high: float) -> np.ndarray:
    """Return a square (4, 3) in LPS mm, from row and column `low` to `high` of slice `k`."""
    corners = [(low, low), (low, high), (high, high), (high, low)]
    index = np.array([(column, row, k) for row, column in corners])
    return ras_from_lps(index @ stack.affine[:3, :3].T + stack.affine[:3, 3])


def source_images(stack: Stack) -> list[Dataset]:
    """Return the headers of a stack's slices."""
    images = []
    for k, uid in enumerate(stack.sop_uids):
        image = Dataset()
        image.SOPClassUID, image.SOPInstanceUID = CTImageStorage, uid
        image.StudyInstanceUID, image.SeriesInstanceUID = stack.study_uid, stack.series_uid
        image.FrameOfReferenceUID, image.Modality = stack.frame_uid, "CT"
        image.PatientID, image.PatientName = "P-4711", "Doe^Jane"
        image.PatientBirthDate, image.PatientSex, image.StudyID = "19541231", "F", "1"
        image.StudyDate, image.StudyTime, image.AccessionNumber = "20190704", "120000", "A"
        image.Rows, image.Columns = stack.ct_hu.shape[1:]
        place_image(image, stack, k)
        images.append(image)
    return images


def place_image(image: Dataset, stack: Stack, k: float) -> None:
    """Write where slice `k` lies into a header."""
    step = np.linalg.norm(stack.affine[:3, :3], axis=0)
    directions = ras_from_lps((stack.affine[:3, :2] / step[:2]).T)
    origin = ras_from_lps(stack.affine[:3, :3] @ (0.0, 0.0, k) + stack.affine[:3, 3])
    image.ImageOrientationPatient = [f"{part:.10f}"[:16] for part in directions.ravel()]
    image.ImagePositionPatient = [f"{part:.8f}"[:16] for part in origin]
    image.PixelSpacing, image.SliceThickness = [step[1], step[0]], step[2]


def write_seg(
    path: Path,
    stack: Stack,
    segments: dict[str, tuple[Any, np.ndarray]],
    *,
    kind: SegmentationTypeValues = SegmentationTypeValues.BINARY,
    transfer_syntax: str = ExplicitVRLittleEndian,
    edit: Any = None,
) -> Path:
    """Write segments, by label a coded property type and (slice, row, column) pixels."""
    descriptions = [
        SegmentDescription(
            segment_number=number,
            segment_label=label,
            segmented_property_category=codes.SCT.AnatomicalStructure,
            segmented_property_type=kind_of,
            algorithm_type=hd.seg.SegmentAlgorithmTypeValues.MANUAL,
        )
        for number, (label, (kind_of, _)) in enumerate(segments.items(), start=1)
    ]
    pixels = np.stack([mask for _, mask in segments.values()], axis=-1)
    seg = hd.seg.Segmentation(
        source_images=source_images(stack),
        pixel_array=pixels
        if kind is SegmentationTypeValues.FRACTIONAL
        else pixels.astype(np.uint8),
        segmentation_type=kind,
        segment_descriptions=descriptions,
        series_instance_uid=generate_uid(),
        series_number=2,
        sop_instance_uid=generate_uid(),
        instance_number=1,
        manufacturer="none",
        manufacturer_model_name="none",
        software_versions="0",
        device_serial_number="0",
        fractional_type=SegmentationFractionalTypeValues.OCCUPANCY,
        max_fractional_value=200,
        transfer_syntax_uid=transfer_syntax,
    )
    if edit is not None:
        edit(seg)
    seg.save_as(path)
    return path


def write_rtstruct(
    path: Path,
    stack: Stack,
    structures: dict[str, list[np.ndarray]],
    *,
    geometric_type: str = "CLOSED_PLANAR",
    edit: Any = None,
) -> Path:
    """Write structures, by name the (n, 3) LPS mm points of their contours."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = RTStructureSetStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    plan = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    plan.SOPClassUID, plan.SOPInstanceUID = RTStructureSetStorage, meta.MediaStorageSOPInstanceUID
    plan.PatientID, plan.PatientName, plan.Modality = "P-4711", "Doe^Jane", "RTSTRUCT"
    plan.ReferencedFrameOfReferenceSequence = [_frame(stack)]
    plan.StructureSetROISequence, plan.ROIContourSequence = [], []
    for number, (name, contours) in enumerate(structures.items(), start=1):
        roi, outline = Dataset(), Dataset()
        roi.ROINumber, roi.ROIName, roi.ROIGenerationAlgorithm = number, name, "MANUAL"
        roi.ReferencedFrameOfReferenceUID = stack.frame_uid
        outline.ReferencedROINumber = number
        outline.ContourSequence = [_contour(points, geometric_type) for points in contours]
        plan.StructureSetROISequence.append(roi)
        plan.ROIContourSequence.append(outline)
    if edit is not None:
        edit(plan)
    plan.save_as(path, enforce_file_format=True)
    return path


def _frame(stack: Stack) -> Dataset:
    series, study, frame = Dataset(), Dataset(), Dataset()
    series.SeriesInstanceUID = stack.series_uid
    study.ReferencedSOPClassUID = "1.2.840.10008.3.1.2.3.1"
    study.ReferencedSOPInstanceUID = stack.study_uid
    study.RTReferencedSeriesSequence = [series]
    frame.FrameOfReferenceUID = stack.frame_uid
    frame.RTReferencedStudySequence = [study]
    return frame


def _contour(points: np.ndarray, geometric_type: str) -> Dataset:
    contour = Dataset()
    contour.ContourGeometricType = geometric_type
    contour.NumberOfContourPoints = len(points)
    contour.ContourData = [f"{part:.6f}" for part in np.asarray(points).ravel()]
    return contour


def dice(one: np.ndarray, two: np.ndarray) -> float:
    """Return twice the overlap of two masks over their sum."""
    return float(
        2.0 * np.count_nonzero(one & two) / (np.count_nonzero(one) + np.count_nonzero(two))
    )
