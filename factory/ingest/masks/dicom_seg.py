"""DICOM SEG: frames of pixels, put on the slices that they were drawn on.

segments --name?--> lung or nodule --frames--> referenced image, or position --> pixels
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from factory.axes import ras_from_lps, zyx_from_ras
from factory.dicom.stack import Stack
from factory.errors import CaseError
from factory.ingest.masks.annotation import Annotation, Drawing, Mask
from factory.ingest.masks.dicom_file import check_reference, open_dicom, readable
from factory.ingest.masks.seg_frames import (
    SegFrames,
    described_frames,
    frame_pixels,
    problem_of,
)

KIND = "DICOM SEG"
_SOP_CLASSES = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")
"""Segmentation Storage and Label Map Segmentation Storage."""

_MAX_BYTES = 2**30
_OFF = 0.5
"""Of a slice or a pixel: frames that lie further from a slice are on none."""


def read_dicom_seg(case_id: str, path: str, stack: Stack) -> Annotation:
    """Read the lungs and nodules of a DICOM SEG.

    Frames go to the slice whose image they refer to, else to the one at their position. Pixels
    of fractional segments count from one half on.

    Args:
        case_id: For messages.
        path: The file.
        stack: The CT series that it was drawn on.

    Returns:
        Masks on the stack's slices, of the segments whose property type or label says lung or
        nodule (`role_of`).

    Raises:
        CaseError: It cannot be read, is of another series and frame of reference, of another
            size, turned against the CT, or has more frames or pixels than it may or holds.
    """
    dataset = open_dicom(case_id, path, KIND, _SOP_CLASSES, _MAX_BYTES)
    drawing = Drawing(stack.ct_hu.shape)
    with readable(case_id, KIND):
        check_reference(case_id, KIND, stack, _series_of(dataset), _frames_of(dataset))
        frames = described_frames(dataset)
        if problem := problem_of(dataset, frames, stack.ct_hu.shape[1:]):
            raise CaseError(case_id, f"its {KIND} {problem}.")
        masks = _masks(dataset, drawing)
        places = _places(case_id, dataset, frames, stack)
        wanted = [frame for frame in range(frames.num) if _is_wanted(places[frame], masks, frames)]
        for frame, pixels in zip(wanted, frame_pixels(dataset, frames, wanted), strict=True):
            _draw(pixels, places[frame], masks, frames)
    _note_absent(case_id, places, drawing)
    return drawing.done(KIND)


def _series_of(dataset: Dataset) -> set[str]:
    return {
        str(series.get("SeriesInstanceUID", ""))
        for series in dataset.get("ReferencedSeriesSequence", ())
    }


def _frames_of(dataset: Dataset) -> set[str]:
    return {str(dataset.get("FrameOfReferenceUID", ""))} - {""}


def _masks(dataset: Dataset, drawing: Drawing) -> dict[int, Mask]:
    """Return what the segments of each wanted number are drawn into."""
    masks = {}
    for segment in dataset.SegmentSequence:
        number = int(segment.SegmentNumber)
        if number == 0:
            # The background of a label map, which is described as well.
            continue
        mask = drawing.mask_for(
            str(segment.get("SegmentLabel", "")),
            *_meanings(segment, "SegmentedPropertyTypeCodeSequence"),
            regions=_meanings(segment, "AnatomicRegionSequence"),
        )
        if mask is not None:
            masks[number] = mask
    return masks


def _meanings(segment: Dataset, key: str) -> list[str]:
    return [str(code.get("CodeMeaning", "")) for code in segment.get(key, ())]


@dataclass(frozen=True, slots=True)
class _Place:
    segment: int
    """Number; 0 in a label map, whose frames hold all segments."""
    slice: int
    """Index in the stack; -1 where no slice of the stack is meant."""


def _places(case_id: str, dataset: Dataset, frames: SegFrames, stack: Stack) -> list[_Place]:
    groups = dataset.get("PerFrameFunctionalGroupsSequence", ())
    if len(groups) != frames.num:
        raise CaseError(
            case_id,
            f"its {KIND} describes {len(groups)} of {frames.num} frames; expected each. Export it again.",
        )
    shared = next(iter(dataset.get("SharedFunctionalGroupsSequence", ())), Dataset())
    slice_of = {uid: k for k, uid in enumerate(stack.sop_uids) if uid}
    if _is_turned(shared, stack) or any(_is_turned(group, stack) for group in groups):
        raise CaseError(
            case_id,
            f"its {KIND} is turned or scaled against the CT; expected frames with the CT's own rows "
            "and columns. Resample it onto the CT.",
        )
    return [
        _Place(_segment_of(group, shared, frames), _slice_of(group, shared, slice_of, stack))
        for group in groups
    ]


def _item(group: Dataset, shared: Dataset, key: str) -> Dataset | None:
    """Return a functional group's item, of a frame or of all frames."""
    found = group.get(key) or shared.get(key)
    return found[0] if found else None


def _segment_of(group: Dataset, shared: Dataset, frames: SegFrames) -> int:
    if frames.kind == "LABELMAP":
        return 0
    item = _item(group, shared, "SegmentIdentificationSequence")
    return int(item.ReferencedSegmentNumber) if item is not None else 0


def _slice_of(group: Dataset, shared: Dataset, slice_of: dict[str, int], stack: Stack) -> int:
    referenced = {
        slice_of.get(str(image.get("ReferencedSOPInstanceUID", "")), -1)
        for derivation in group.get("DerivationImageSequence", ())
        for image in derivation.get("SourceImageSequence", ())
    }
    if len(referenced) == 1 and -1 not in referenced:
        return referenced.pop()
    position = _item(group, shared, "PlanePositionSequence")
    if position is None:
        return -1
    point = np.array(position.ImagePositionPatient, dtype=np.float64)
    at = zyx_from_ras(stack.affine, ras_from_lps(point))
    k = int(np.rint(at[0])) if np.isfinite(at).all() else -1
    is_there = 0 <= k < len(stack.ct_hu) and np.abs(at[1:]).max() <= _OFF
    return k if is_there and abs(at[0] - k) <= _OFF else -1


def _is_turned(group: Dataset, stack: Stack) -> bool:
    """Tell whether frames say that their rows and columns run otherwise than the stack's."""
    orientation = _item(group, group, "PlaneOrientationSequence")
    if orientation is None:
        return False
    directions = np.array(orientation.ImageOrientationPatient, dtype=np.float64).reshape(2, 3)
    along = stack.affine[:3, :2].T
    sizes = np.linalg.norm(along, axis=1)
    measures = _item(group, group, "PixelMeasuresSequence")
    spacing = sizes if measures is None else np.array(measures.PixelSpacing, dtype=np.float64)[::-1]
    steps = ras_from_lps(directions) * spacing[:, None]
    return not np.allclose(steps, along, atol=0.01 * float(sizes.min()))


def _is_wanted(place: _Place, masks: dict[int, Mask], frames: SegFrames) -> bool:
    has_segment = bool(masks) if frames.kind == "LABELMAP" else place.segment in masks
    return has_segment and place.slice >= 0


def _draw(pixels: NDArray[Any], place: _Place, masks: dict[int, Mask], frames: SegFrames) -> None:
    if frames.kind == "LABELMAP":
        for segment in np.unique(pixels).tolist():
            if segment in masks:
                masks[segment][place.slice] |= pixels == segment
    elif frames.kind == "FRACTIONAL":
        masks[place.segment][place.slice] |= 2 * pixels.astype(np.uint16) >= frames.maximum
    else:
        masks[place.segment][place.slice] |= pixels != 0


def _note_absent(case_id: str, places: list[_Place], drawing: Drawing) -> None:
    num_absent = sum(place.slice < 0 for place in places)
    if num_absent == len(places):
        raise CaseError(
            case_id,
            f"its {KIND} has {num_absent} frames, none on a slice of the CT; expected the CT's images "
            "or positions. Put it beside the series that it was drawn on.",
        )
    if num_absent:
        drawing.notes.append(
            f"{KIND}: {num_absent} of {len(places)} frames lie on no slice of the CT, left out"
        )
