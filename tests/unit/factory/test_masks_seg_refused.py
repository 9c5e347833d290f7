"""Segmentations that do not fit the CT, contradict themselves or are packed in a way that masks are not."""

import numpy as np
import pytest
from annotation_files import LABELMAP, LUNG_TYPE, sphere, stack_of
from pydicom.uid import JPEGLSLossless

from factory.errors import CaseError


def test_a_compressed_frame_that_declares_another_size_is_refused_before_it_is_decoded(drawn_seg):
    stack = stack_of()

    def enlarge(seg):
        start = seg.PixelData.index(b"\xff\xf7") + 5
        size = (60_000).to_bytes(2, "big") * 2
        seg.PixelData = seg.PixelData[:start] + size + seg.PixelData[start + 4 :]

    with pytest.raises(CaseError, match=r"frame of 60000 x 60000 pixels; expected 48 x 40\."):
        drawn_seg(
            {"Lung": (LUNG_TYPE, sphere(stack, 9.0))},
            stack,
            kind=LABELMAP,
            transfer_syntax=JPEGLSLossless,
            edit=enlarge,
        )


def test_a_compressed_frame_of_more_bits_than_the_file_declares_is_refused(drawn_seg):
    stack = stack_of()

    def deepen(seg):
        start = seg.PixelData.index(b"\xff\xf7") + 4
        seg.PixelData = seg.PixelData[:start] + b"\x10" + seg.PixelData[start + 1 :]

    with pytest.raises(CaseError, match=r"frame of 16 bits a pixel; expected at most 8\."):
        drawn_seg(
            {"Lung": (LUNG_TYPE, sphere(stack, 9.0))},
            stack,
            kind=LABELMAP,
            transfer_syntax=JPEGLSLossless,
            edit=deepen,
        )


def test_a_compression_that_masks_do_not_have_is_named(drawn_seg):
    stack = stack_of()

    def retype(seg):
        seg.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.70"

    with pytest.raises(CaseError, match=r"is compressed by JPEG Lossless.*; expected RLE, JPEG-LS"):
        drawn_seg(
            {"Lung": (LUNG_TYPE, sphere(stack, 9.0))},
            stack,
            kind=LABELMAP,
            transfer_syntax=JPEGLSLossless,
            edit=retype,
        )


def test_frames_that_lie_on_no_slice_at_all_are_refused(drawn_seg):
    stack = stack_of()

    def misplace(seg):
        for group in seg.PerFrameFunctionalGroupsSequence:
            del group.DerivationImageSequence
            group.PlanePositionSequence[0].ImagePositionPatient = [900, 900, 900]

    with pytest.raises(CaseError, match=r"frames, none on a slice of the CT; expected the CT's"):
        drawn_seg({"Lung": (LUNG_TYPE, sphere(stack, 12.0))}, stack, edit=misplace)


def test_a_segmentation_of_another_series_and_frame_of_reference_is_refused(drawn_seg):
    stack = stack_of()
    with pytest.raises(CaseError, match=r"another series, in another frame of reference; expected"):
        drawn_seg({"Lung": (LUNG_TYPE, sphere(stack, 12.0))}, stack, on=stack_of())


def test_frames_of_another_size_name_both(drawn_seg):
    small = stack_of(shape=(16, 24, 20))
    with pytest.raises(CaseError, match=r"frames of 24 x 20 pixels; expected the CT's 48 x 40\."):
        drawn_seg(
            {"Lung": (LUNG_TYPE, sphere(small, 12.0))},
            small,
            on=type(small)(
                ct_hu=np.full((16, 48, 40), -1000, np.int16),
                affine=small.affine,
                sop_uids=small.sop_uids,
                series_uid=small.series_uid,
                study_uid=small.study_uid,
                frame_uid=small.frame_uid,
            ),
        )


def test_frames_that_are_turned_or_scaled_against_the_ct_are_refused(drawn_seg):
    stack = stack_of()
    segments = {"Lung": (LUNG_TYPE, sphere(stack, 12.0))}

    def flip(seg):
        orientation = seg.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence[0]
        orientation.ImageOrientationPatient = [-1, 0, 0, 0, 1, 0]

    def stretch(seg):
        seg.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].PixelSpacing = [1, 1]

    for edit in (flip, stretch):
        with pytest.raises(CaseError, match=r"is turned or scaled against the CT; expected frames"):
            drawn_seg(segments, stack, edit=edit)


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (
            lambda seg: setattr(seg, "NumberOfFrames", 1_000_000),
            r"1000000 frames; expected 1 to 60000",
        ),
        (lambda seg: setattr(seg, "NumberOfFrames", 5_000), r"declares 1200000 bytes .* has \d+;"),
        (
            lambda seg: setattr(seg, "SegmentationType", "SURFACE"),
            r"is of no known type with 1 bits",
        ),
        (lambda seg: setattr(seg, "BitsAllocated", 8), r"declares \d+ bytes of pixels and has \d+"),
        (lambda seg: seg.PerFrameFunctionalGroupsSequence.pop(), r"describes \d+ of \d+ frames"),
        (
            lambda seg: delattr(seg, "SegmentSequence"),
            r"cannot be read \(AttributeError\); expected",
        ),
    ],
)
def test_a_file_that_contradicts_itself_is_refused(drawn_seg, edit, words):
    stack = stack_of()
    with pytest.raises(CaseError, match=rf"^case a: its DICOM SEG .*{words}"):
        drawn_seg({"Lung": (LUNG_TYPE, sphere(stack, 12.0))}, stack, edit=edit)
