"""Structure sets that are left out or refused: by what they are, by where they lie and by their size."""

import numpy as np
import pytest
from annotation_files import circles, square, stack_of, write_rtstruct
from pydicom import dcmread, dcmwrite
from pydicom.uid import generate_uid

from factory.errors import CaseError
from factory.ingest.masks import dicom_file, planes, rtstruct
from factory.ingest.masks.rtstruct import read_rtstruct


@pytest.mark.parametrize(
    ("k", "low", "words"),
    [
        (16.5, 4.5, r"4\.5 mm beyond the slices, 0\.0 mm beyond the rows and 0\.0 mm"),
        (-2.0, 4.5, r"6\.0 mm beyond the slices"),
        (5.0, -4.0, r"8\.0 mm beyond the rows and 8\.0 mm beyond the columns of the CT; expected"),
    ],
)
def test_an_outline_that_leaves_the_image_says_how_far(drawn_rtstruct, k, low, words):
    stack = stack_of()
    with pytest.raises(CaseError, match=rf"^case a: its RTSTRUCT has a contour .*{words}"):
        drawn_rtstruct({"GTV": [square(stack, k, low, 10.0)]}, stack)


def test_what_is_left_out_may_lie_anywhere(drawn_rtstruct):
    stack = stack_of()
    found = drawn_rtstruct(
        {"BODY": [square(stack, 40, -9.0, 99.0)], "GTV": circles(stack, 9.0)}, stack
    )
    assert found.nodule.any()


def test_an_outline_across_the_slices_is_refused(drawn_rtstruct):
    stack = stack_of()
    upright = square(stack, 3, 4.5, 10.5)
    upright[:2] = square(stack, 6, 4.5, 10.5)[:2]
    with pytest.raises(CaseError, match=r"crosses 3\.0 slices; expected contours parallel"):
        drawn_rtstruct({"GTV": [upright]}, stack)


def test_points_and_open_lines_are_left_out_and_counted(drawn_rtstruct):
    stack = stack_of()
    found = drawn_rtstruct({"GTV": [square(stack, 3, 4, 5)]}, stack, geometric_type="POINT")
    assert found.nodule is None or not found.nodule.any()
    assert found.notes == ("RTSTRUCT: 1 point or open line left out",)


def test_outlines_of_another_series_in_another_frame_of_reference_are_refused(drawn_rtstruct):
    with pytest.raises(CaseError, match=r"another series, in another frame of reference; expected"):
        drawn_rtstruct({"GTV": circles(stack_of(), 9.0)}, on=stack_of())


def test_outlines_of_another_series_in_the_same_frame_of_reference_are_taken(drawn_rtstruct):
    stack = stack_of()

    def move(plan):
        frame = plan.ReferencedFrameOfReferenceSequence[0]
        study = frame.RTReferencedStudySequence[0]
        study.RTReferencedSeriesSequence[0].SeriesInstanceUID = generate_uid()

    assert drawn_rtstruct({"GTV": circles(stack, 9.0)}, stack, edit=move).nodule.any()


def test_a_file_of_another_kind_is_refused(drawn_rtstruct):
    def retype(plan):
        plan.SOPClassUID = "1.2.840.10008.5.1.4.1.1.481.5"

    with pytest.raises(CaseError, match=r"is of SOP class .*481\.5; expected 1\.2.*481\.3\. Leave"):
        drawn_rtstruct({"GTV": []}, edit=retype)


def test_a_class_that_is_no_uid_is_not_quoted(tmp_path):
    stack = stack_of()
    path = write_rtstruct(tmp_path / "rs.dcm", stack, {"GTV": []})
    uid = b"1.2.840.10008.5.1.4.1.1.481.3"
    path.write_bytes(path.read_bytes().replace(uid, b"Doe^Jane".ljust(len(uid), b"\0")))
    with pytest.raises(CaseError, match=r"is of SOP class none; expected 1\.2.*481\.3\. Leave"):
        read_rtstruct("a", str(path), stack)


@pytest.mark.parametrize(
    ("written", "words"),
    [
        (b"1.0\\2.0 ", "a contour of 2 numbers that are not points"),
        (b"1.0\\nan\\2", "a contour of 3 numbers that are not points"),
        (b"1e999\\1\\2", "a contour of 3 numbers that are not points"),
        (b"1.0\\two\\3", r"cannot be read \(ValueError\)"),
        (b"1\\2\\3." + b"0" * 40, "a contour with a number of 42 characters"),
    ],
)
def test_contours_that_are_no_points_are_refused(tmp_path, written, words):
    stack = stack_of()
    path = write_rtstruct(tmp_path / "rs.dcm", stack, {"GTV": [np.full((2, 3), 7.0)]})
    whole = path.read_bytes()
    start = whole.index(b"\\".join([b"7.000000"] * 6))
    path.write_bytes(whole[:start] + written.ljust(53) + whole[start + 53 :])
    with pytest.raises(CaseError, match=rf"^case a: its RTSTRUCT .*{words}; expected"):
        read_rtstruct("a", str(path), stack)


def test_sizes_are_refused_before_they_are_parsed(drawn_rtstruct, monkeypatch):
    stack = stack_of()
    outlines = {"GTV": circles(stack, 9.0)}
    with monkeypatch.context() as patch:
        patch.setattr(rtstruct, "_MAX_CONTOUR_BYTES", 100)
        with pytest.raises(
            CaseError, match=r"a contour of 0 MiB; expected at most 0\. Draw it with"
        ):
            drawn_rtstruct(outlines, stack)
    with monkeypatch.context() as patch:
        patch.setattr(planes, "_MAX_STEPS", 10)
        with pytest.raises(CaseError, match=r"takes more than 10 steps to draw; expected fewer"):
            drawn_rtstruct(outlines, stack)
    with monkeypatch.context() as patch:
        patch.setattr(rtstruct, "_MAX_BYTES", 1000)
        with pytest.raises(CaseError, match=r"its RTSTRUCT has more than 0 MiB; expected less\."):
            drawn_rtstruct(outlines, stack)
    with monkeypatch.context() as patch:
        patch.setattr(dicom_file, "_MAX_ITEMS", 5)
        with pytest.raises(CaseError, match=r"has \d+ sequence items; expected at most 5\. Export"):
            drawn_rtstruct(outlines, stack)


def test_items_are_counted_in_either_byte_order_and_in_deflated_files(
    drawn_rtstruct, tmp_path, monkeypatch
):
    def deflate(plan):
        plan.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1.99"

    stack = stack_of()
    path = tmp_path / "big.dcm"
    write_rtstruct(path, stack, {"GTV": circles(stack, 9.0)})
    plan = dcmread(path)
    plan.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.2"
    dcmwrite(path, plan, implicit_vr=False, little_endian=False)
    assert read_rtstruct("a", str(path), stack).nodule.any()
    monkeypatch.setattr(dicom_file, "_MAX_ITEMS", 5)
    for read in (
        lambda: read_rtstruct("a", str(path), stack),
        lambda: drawn_rtstruct({"GTV": circles(stack, 9.0)}, stack, edit=deflate),
    ):
        with pytest.raises(CaseError, match=r"has \d+ sequence items; expected at most 5\."):
            read()


def test_a_deflated_file_is_read_unless_it_inflates_to_too_much(drawn_rtstruct, monkeypatch):
    stack = stack_of()

    def deflate(plan):
        plan.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1.99"
        plan.add_new(0x30060006, "UT", "x" * 1_000_000)

    outlines = {"GTV": circles(stack, 9.0)}
    assert drawn_rtstruct(outlines, stack, edit=deflate).nodule.any()
    monkeypatch.setattr(rtstruct, "_MAX_BYTES", 900_000)
    with pytest.raises(CaseError, match=r"has more than 0 MiB; expected less"):
        drawn_rtstruct(outlines, stack, edit=deflate)


def test_messages_hold_nothing_of_the_patient_and_no_path(tmp_path):
    stack = stack_of()
    path = tmp_path / "Doe^Jane.dcm"
    write_rtstruct(path, stack, {"GTV Doe": [square(stack, 30, 4, 9)]})
    with pytest.raises(CaseError) as refused:
        read_rtstruct("a", str(path), stack)
    for secret in ("Doe", "Jane", "P-4711", str(tmp_path), stack.series_uid):
        assert secret not in str(refused.value)
