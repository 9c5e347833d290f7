import io

import numpy as np
import pytest
from annotation_files import (
    LUNG_TYPE,
    NODULE_TYPE,
    ORGAN_TYPE,
    dice,
    points_ras,
    sphere,
    stack_of,
    write_seg,
)
from highdicom.seg import SegmentationTypeValues
from highdicom.sr.coding import CodedConcept
from PIL import Image
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless, RLELossless, generate_uid

from factory.errors import CaseError
from factory.ingest.masks import dicom_seg
from factory.ingest.masks.dicom_seg import read_dicom_seg

BINARY, FRACTIONAL, LABELMAP = (
    SegmentationTypeValues.BINARY,
    SegmentationTypeValues.FRACTIONAL,
    SegmentationTypeValues.LABELMAP,
)


@pytest.fixture
def drawn(tmp_path):
    """Write segments on a stack as DICOM SEG, and read them."""

    def write_and_read(segments, stack, on=None, **changes):
        path = write_seg(tmp_path / "seg.dcm", stack, segments, **changes)
        return read_dicom_seg("a", str(path), on or stack)

    return write_and_read


@pytest.mark.parametrize(
    "stack",
    [stack_of(), stack_of(turn_deg=25.0), stack_of(tilt_deg=15.0), stack_of(shape=(9, 13, 11))],
    ids=["straight", "turned", "tilted", "odd"],
)
@pytest.mark.parametrize("kind", [BINARY, FRACTIONAL, LABELMAP])
def test_segments_land_on_the_pixels_they_were_drawn_on(drawn, stack, kind):
    nodule = sphere(stack, 5.0)
    lung = sphere(stack, 12.0) & ~nodule
    if kind is FRACTIONAL:
        lung, nodule = lung * 1.0, nodule * 0.5
    found = drawn({"Left lung": (LUNG_TYPE, lung), "1": (NODULE_TYPE, nodule)}, stack, kind=kind)
    np.testing.assert_array_equal(found.lung, lung > 0)
    np.testing.assert_array_equal(found.nodule, nodule > 0)
    assert (found.names, found.left_out, found.notes) == (("Left lung", "1"), (), ())


def test_a_sphere_has_its_analytic_volume(drawn):
    stack = stack_of()
    found = drawn({"Nodule": (NODULE_TYPE, sphere(stack, 20.0))}, stack)
    analytic_ml = 4 / 3 * np.pi * 20.0**3 / 1000
    assert found.nodule.sum() * 12.0 / 1000 == pytest.approx(analytic_ml, rel=0.02)
    assert (
        dice(
            found.nodule,
            np.linalg.norm(points_ras(stack) - points_ras(stack).mean((0, 1, 2)), axis=-1) < 20,
        )
        > 0.99
    )


@pytest.mark.parametrize(("share", "is_in"), [(0.495, False), (0.5, True), (0.9, True)])
def test_fractions_count_from_one_half_on(drawn, share, is_in):
    stack = stack_of()
    found = drawn({"Nodule": (NODULE_TYPE, sphere(stack, 9.0) * share)}, stack, kind=FRACTIONAL)
    assert found.nodule.any() == is_in


@pytest.mark.parametrize("kind", [FRACTIONAL, LABELMAP])
@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless])
def test_compressed_frames_are_read(drawn, kind, syntax):
    stack = stack_of()
    mask = sphere(stack, 9.0)
    pixels = mask * 1.0 if kind is FRACTIONAL else mask
    found = drawn({"Lung": (LUNG_TYPE, pixels)}, stack, kind=kind, transfer_syntax=syntax)
    np.testing.assert_array_equal(found.lung, mask)


def test_frames_in_jpeg_2000_are_read(drawn):
    stack = stack_of()
    mask = sphere(stack, 9.0)

    def compress(seg):
        frames = np.frombuffer(seg.PixelData, np.uint8).reshape(-1, *mask.shape[1:])
        images = [io.BytesIO() for _ in frames]
        for image, frame in zip(images, frames, strict=True):
            Image.fromarray(frame).save(image, "JPEG2000", irreversible=False, no_jp2=True)
        seg.PixelData = encapsulate([image.getvalue() for image in images])
        seg["PixelData"].is_undefined_length = True
        seg.file_meta.TransferSyntaxUID = JPEG2000Lossless

    found = drawn({"Lung": (LUNG_TYPE, mask * 1.0)}, stack, kind=FRACTIONAL, edit=compress)
    np.testing.assert_array_equal(found.lung, mask)


def test_a_compressed_frame_that_declares_another_size_is_refused_before_it_is_decoded(drawn):
    stack = stack_of()

    def enlarge(seg):
        start = seg.PixelData.index(b"\xff\xf7") + 5
        size = (60_000).to_bytes(2, "big") * 2
        seg.PixelData = seg.PixelData[:start] + size + seg.PixelData[start + 4 :]

    with pytest.raises(CaseError, match=r"frame of 60000 x 60000 pixels; expected 48 x 40\."):
        drawn(
            {"Lung": (LUNG_TYPE, sphere(stack, 9.0))},
            stack,
            kind=LABELMAP,
            transfer_syntax=JPEGLSLossless,
            edit=enlarge,
        )


def test_a_compression_that_masks_do_not_have_is_named(drawn):
    stack = stack_of()

    def retype(seg):
        seg.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.70"

    with pytest.raises(CaseError, match=r"is compressed by JPEG Lossless.*; expected RLE, JPEG-LS"):
        drawn(
            {"Lung": (LUNG_TYPE, sphere(stack, 9.0))},
            stack,
            kind=LABELMAP,
            transfer_syntax=JPEGLSLossless,
            edit=retype,
        )


def test_a_disease_of_the_lung_is_not_drawn_as_the_lung(drawn):
    stack = stack_of()
    consolidation = CodedConcept("95436008", "SCT", "Consolidation")

    def place(seg):
        for segment in seg.SegmentSequence:
            segment.AnatomicRegionSequence = [CodedConcept("39607008", "SCT", "Lung")]

    found = drawn(
        {
            "Consolidation": (consolidation, sphere(stack, 9.0)),
            "1": (NODULE_TYPE, sphere(stack, 5.0)),
        },
        stack,
        edit=place,
    )
    assert found.lung is None
    np.testing.assert_array_equal(found.nodule, sphere(stack, 5.0))


def test_segments_that_are_neither_are_left_out_and_counted_but_not_named_in_notes(drawn):
    stack = stack_of()
    mask = sphere(stack, 9.0)
    found = drawn({"Heart of Doe": (ORGAN_TYPE, mask), "Lung": (LUNG_TYPE, mask)}, stack)
    assert found.left_out == ("Heart of Doe",)
    assert found.nodule is None
    assert found.notes == (
        "DICOM SEG: 1 of 2 structures are neither lung nor nodule by their names, and left out",
    )


def test_frames_find_their_slices_by_the_images_they_refer_to(drawn):
    stack = stack_of()
    mask = sphere(stack, 12.0)

    def misplace(seg):
        for group in seg.PerFrameFunctionalGroupsSequence:
            group.PlanePositionSequence[0].ImagePositionPatient = [900, 900, 900]

    found = drawn({"Lung": (LUNG_TYPE, mask)}, stack, edit=misplace)
    np.testing.assert_array_equal(found.lung, mask)


def test_frames_without_references_find_their_slices_by_position(drawn):
    stack = stack_of(tilt_deg=10.0)
    mask = sphere(stack, 12.0)

    def forget(seg):
        for group in seg.PerFrameFunctionalGroupsSequence:
            del group.DerivationImageSequence

    found = drawn({"Lung": (LUNG_TYPE, mask)}, stack, edit=forget)
    np.testing.assert_array_equal(found.lung, mask)


def test_frames_on_slices_that_the_series_lacks_are_left_out_and_counted(drawn, tmp_path):
    whole = stack_of()
    mask = sphere(whole, 12.0)
    part = stack_of(shape=(8, 48, 40))
    part = type(part)(
        ct_hu=whole.ct_hu[:8],
        affine=whole.affine,
        sop_uids=whole.sop_uids[:8],
        series_uid=whole.series_uid,
        study_uid=whole.study_uid,
        frame_uid=whole.frame_uid,
    )
    found = drawn({"Lung": (LUNG_TYPE, mask)}, whole, on=part)
    np.testing.assert_array_equal(found.lung, mask[:8])
    num = int(mask.any(axis=(1, 2)).sum())
    lost = int(mask[8:].any(axis=(1, 2)).sum())
    assert found.notes == (
        f"DICOM SEG: {lost} of {num} frames lie on no slice of the CT, left out",
    )


def test_frames_that_lie_on_no_slice_at_all_are_refused(drawn):
    stack = stack_of()

    def misplace(seg):
        for group in seg.PerFrameFunctionalGroupsSequence:
            del group.DerivationImageSequence
            group.PlanePositionSequence[0].ImagePositionPatient = [900, 900, 900]

    with pytest.raises(CaseError, match=r"frames, none on a slice of the CT; expected the CT's"):
        drawn({"Lung": (LUNG_TYPE, sphere(stack, 12.0))}, stack, edit=misplace)


def test_a_segmentation_of_another_series_and_frame_of_reference_is_refused(drawn):
    stack = stack_of()
    with pytest.raises(CaseError, match=r"another series, in another frame of reference; expected"):
        drawn({"Lung": (LUNG_TYPE, sphere(stack, 12.0))}, stack, on=stack_of())


def test_a_segmentation_of_the_same_frame_of_reference_is_taken(drawn):
    stack = stack_of()

    def move(seg):
        seg.ReferencedSeriesSequence[0].SeriesInstanceUID = generate_uid()

    assert drawn({"Lung": (LUNG_TYPE, sphere(stack, 12.0))}, stack, edit=move).lung.any()


def test_frames_of_another_size_name_both(drawn):
    small = stack_of(shape=(16, 24, 20))
    with pytest.raises(CaseError, match=r"frames of 24 x 20 pixels; expected the CT's 48 x 40\."):
        drawn(
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


def test_frames_that_are_turned_or_scaled_against_the_ct_are_refused(drawn):
    stack = stack_of()
    segments = {"Lung": (LUNG_TYPE, sphere(stack, 12.0))}

    def flip(seg):
        orientation = seg.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence[0]
        orientation.ImageOrientationPatient = [-1, 0, 0, 0, 1, 0]

    def stretch(seg):
        seg.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].PixelSpacing = [1, 1]

    for edit in (flip, stretch):
        with pytest.raises(CaseError, match=r"is turned or scaled against the CT; expected frames"):
            drawn(segments, stack, edit=edit)


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
def test_a_file_that_contradicts_itself_is_refused(drawn, edit, words):
    stack = stack_of()
    with pytest.raises(CaseError, match=rf"^case a: its DICOM SEG .*{words}"):
        drawn({"Lung": (LUNG_TYPE, sphere(stack, 12.0))}, stack, edit=edit)


def test_only_frames_that_are_wanted_are_unpacked(drawn, monkeypatch):
    stack = stack_of()
    unpacked = []
    pixels = dicom_seg.frame_pixels

    def count(dataset, frames, wanted):
        unpacked.extend(wanted)
        return pixels(dataset, frames, wanted)

    monkeypatch.setattr(dicom_seg, "frame_pixels", count)
    small, large = sphere(stack, 4.0), sphere(stack, 20.0)
    drawn({"Heart": (ORGAN_TYPE, large), "Nodule": (NODULE_TYPE, small)}, stack)
    assert len(unpacked) == small.any(axis=(1, 2)).sum()
