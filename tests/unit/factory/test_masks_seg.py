"""Segments of a DICOM SEG become masks on the slices that they were drawn on."""

import io

import numpy as np
import pytest
from annotation_files import (
    BINARY,
    FRACTIONAL,
    LABELMAP,
    LUNG_TYPE,
    NODULE_TYPE,
    ORGAN_TYPE,
    dice,
    points_ras,
    sphere,
    stack_of,
)
from highdicom.sr.coding import CodedConcept
from PIL import Image
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless, RLELossless, generate_uid

from factory.ingest.masks import dicom_seg


@pytest.mark.parametrize(
    "stack",
    [stack_of(), stack_of(turn_deg=25.0), stack_of(tilt_deg=15.0), stack_of(shape=(9, 13, 11))],
    ids=["straight", "turned", "tilted", "odd"],
)
@pytest.mark.parametrize("kind", [BINARY, FRACTIONAL, LABELMAP])
def test_segments_land_on_the_pixels_they_were_drawn_on(drawn_seg, stack, kind):
    nodule = sphere(stack, 5.0)
    lung = sphere(stack, 12.0) & ~nodule
    if kind is FRACTIONAL:
        lung, nodule = lung * 1.0, nodule * 0.5
    found = drawn_seg(
        {"Left lung": (LUNG_TYPE, lung), "1": (NODULE_TYPE, nodule)}, stack, kind=kind
    )
    np.testing.assert_array_equal(found.lung, lung > 0)
    np.testing.assert_array_equal(found.nodule, nodule > 0)
    assert (found.names, found.left_out, found.notes) == (("Left lung", "1"), (), ())


def test_a_sphere_has_its_analytic_volume(drawn_seg):
    stack = stack_of()
    found = drawn_seg({"Nodule": (NODULE_TYPE, sphere(stack, 20.0))}, stack)
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
def test_fractions_count_from_one_half_on(drawn_seg, share, is_in):
    stack = stack_of()
    found = drawn_seg({"Nodule": (NODULE_TYPE, sphere(stack, 9.0) * share)}, stack, kind=FRACTIONAL)
    assert found.nodule.any() == is_in


@pytest.mark.parametrize("kind", [FRACTIONAL, LABELMAP])
@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless])
def test_compressed_frames_are_read(drawn_seg, kind, syntax):
    stack = stack_of()
    mask = sphere(stack, 9.0)
    pixels = mask * 1.0 if kind is FRACTIONAL else mask
    found = drawn_seg({"Lung": (LUNG_TYPE, pixels)}, stack, kind=kind, transfer_syntax=syntax)
    np.testing.assert_array_equal(found.lung, mask)


def test_frames_in_jpeg_2000_are_read(drawn_seg):
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

    found = drawn_seg({"Lung": (LUNG_TYPE, mask * 1.0)}, stack, kind=FRACTIONAL, edit=compress)
    np.testing.assert_array_equal(found.lung, mask)


def test_a_disease_of_the_lung_is_not_drawn_as_the_lung(drawn_seg):
    stack = stack_of()
    consolidation = CodedConcept("95436008", "SCT", "Consolidation")

    def place(seg):
        for segment in seg.SegmentSequence:
            segment.AnatomicRegionSequence = [CodedConcept("39607008", "SCT", "Lung")]

    found = drawn_seg(
        {
            "Consolidation": (consolidation, sphere(stack, 9.0)),
            "1": (NODULE_TYPE, sphere(stack, 5.0)),
        },
        stack,
        edit=place,
    )
    assert found.lung is None
    np.testing.assert_array_equal(found.nodule, sphere(stack, 5.0))


def test_segments_that_are_neither_are_left_out_and_counted_but_not_named_in_notes(drawn_seg):
    stack = stack_of()
    mask = sphere(stack, 9.0)
    found = drawn_seg({"Heart of Doe": (ORGAN_TYPE, mask), "Lung": (LUNG_TYPE, mask)}, stack)
    assert found.left_out == ("Heart of Doe",)
    assert found.nodule is None
    assert found.notes == (
        "DICOM SEG: 1 of 2 structures are neither lung nor nodule by their names, and left out",
    )


def test_frames_find_their_slices_by_the_images_they_refer_to(drawn_seg):
    stack = stack_of()
    mask = sphere(stack, 12.0)

    def misplace(seg):
        for group in seg.PerFrameFunctionalGroupsSequence:
            group.PlanePositionSequence[0].ImagePositionPatient = [900, 900, 900]

    found = drawn_seg({"Lung": (LUNG_TYPE, mask)}, stack, edit=misplace)
    np.testing.assert_array_equal(found.lung, mask)


def test_frames_without_references_find_their_slices_by_position(drawn_seg):
    stack = stack_of(tilt_deg=10.0)
    mask = sphere(stack, 12.0)

    def forget(seg):
        for group in seg.PerFrameFunctionalGroupsSequence:
            del group.DerivationImageSequence

    found = drawn_seg({"Lung": (LUNG_TYPE, mask)}, stack, edit=forget)
    np.testing.assert_array_equal(found.lung, mask)


def test_frames_on_slices_that_the_series_lacks_are_left_out_and_counted(drawn_seg, tmp_path):
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
    found = drawn_seg({"Lung": (LUNG_TYPE, mask)}, whole, on=part)
    np.testing.assert_array_equal(found.lung, mask[:8])
    num = int(mask.any(axis=(1, 2)).sum())
    lost = int(mask[8:].any(axis=(1, 2)).sum())
    assert found.notes == (
        f"DICOM SEG: {lost} of {num} frames lie on no slice of the CT, left out",
    )


def test_a_segmentation_of_the_same_frame_of_reference_is_taken(drawn_seg):
    stack = stack_of()

    def move(seg):
        seg.ReferencedSeriesSequence[0].SeriesInstanceUID = generate_uid()

    assert drawn_seg({"Lung": (LUNG_TYPE, sphere(stack, 12.0))}, stack, edit=move).lung.any()


def test_only_frames_that_are_wanted_are_unpacked(drawn_seg, monkeypatch):
    stack = stack_of()
    unpacked = []
    pixels = dicom_seg.frame_pixels

    def count(dataset, frames, wanted):
        unpacked.extend(wanted)
        return pixels(dataset, frames, wanted)

    monkeypatch.setattr(dicom_seg, "frame_pixels", count)
    small, large = sphere(stack, 4.0), sphere(stack, 20.0)
    drawn_seg({"Heart": (ORGAN_TYPE, large), "Nodule": (NODULE_TYPE, small)}, stack)
    assert len(unpacked) == small.any(axis=(1, 2)).sum()
