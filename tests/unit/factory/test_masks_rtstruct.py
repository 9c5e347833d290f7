import numpy as np
import pytest
from annotation_files import circles, dice, sphere, square, stack_of, write_rtstruct
from pydicom import dcmread, dcmwrite
from pydicom.uid import generate_uid
from scipy import ndimage

from factory.errors import CaseError
from factory.ingest.masks import dicom_file, planes, rtstruct
from factory.ingest.masks.rtstruct import read_rtstruct


@pytest.fixture
def drawn(tmp_path):
    """Write structures on a stack as RTSTRUCT, and read them."""

    def write_and_read(structures, stack=None, on=None, **changes):
        stack = stack or stack_of()
        path = write_rtstruct(tmp_path / "rs.dcm", stack, structures, **changes)
        return read_rtstruct("a", str(path), on or stack)

    return write_and_read


@pytest.mark.parametrize(
    "stack",
    [stack_of(), stack_of(turn_deg=25.0), stack_of(tilt_deg=15.0)],
    ids=["straight", "turned", "tilted"],
)
def test_the_outlines_of_a_sphere_fill_the_sphere(drawn, stack):
    found = drawn({"GTV": circles(stack, 18.0)}, stack)
    assert dice(found.nodule, sphere(stack, 18.0)) > 0.995
    assert found.lung is None
    assert (found.names, found.left_out, found.notes) == (("GTV",), (), ())


def test_lungs_and_nodules_are_told_apart_and_the_rest_is_counted_but_not_named(drawn):
    stack = stack_of()
    found = drawn(
        {
            "Lung_L": [square(stack, 4, 2.5, 8.5)],
            "Lung_R": [square(stack, 4, 20.5, 30.5)],
            "GTV-1": [square(stack, 4, 4.5, 6.5)],
            "Heart of Doe": [square(stack, 4, 10.5, 20.5)],
        },
        stack,
    )
    assert found.lung.sum() == 36 + 100
    assert found.nodule.sum() == 4
    assert found.left_out == ("Heart of Doe",)
    assert found.notes == (
        "RTSTRUCT: 1 of 4 structures are neither lung nor nodule by their names, and left out",
    )


def test_a_square_lands_on_its_pixels(drawn):
    stack = stack_of()
    found = drawn({"GTV": [square(stack, 7, 9.5, 12.5)]}, stack)
    expected = np.zeros(stack.ct_hu.shape, bool)
    expected[7, 10:13, 10:13] = True
    np.testing.assert_array_equal(found.nodule, expected)


def test_an_outline_within_an_outline_is_a_hole_on_its_own_slice_alone(drawn):
    stack = stack_of()
    found = drawn(
        {
            "Lungs": [
                square(stack, 3, 4.5, 20.5),
                square(stack, 3, 9.5, 14.5),
                square(stack, 4, 4.5, 20.5),
            ]
        },
        stack,
    )
    assert found.lung[3].sum() == 256 - 25
    assert found.lung[4].sum() == 256


def test_an_outline_that_is_written_twice_is_drawn_once(drawn):
    stack = stack_of()
    twice = [square(stack, 3, 4.5, 20.5)] * 2
    assert drawn({"Lung": twice}, stack).lung.sum() == 256


def test_structures_that_overlap_are_united(drawn):
    stack = stack_of()
    found = drawn(
        {"GTV1": [square(stack, 3, 4.5, 10.5)], "GTV2": [square(stack, 3, 4.5, 8.5)]}, stack
    )
    assert found.nodule.sum() == 36


def test_an_outline_between_two_slices_is_drawn_on_the_nearer_one(drawn):
    stack = stack_of()
    found = drawn({"GTV": [square(stack, 5.4, 4.5, 8.5), square(stack, 8.7, 4.5, 8.5)]}, stack)
    assert np.flatnonzero(found.nodule.any(axis=(1, 2))).tolist() == [5, 9]


@pytest.mark.parametrize("step", [2, 3])
def test_the_slices_between_outlines_are_filled_from_the_nearest(drawn, step):
    stack = stack_of()
    every = [square(stack, k, 4.5, 6.5 + k) for k in range(13)]
    found = drawn({"GTV": every[::step]}, stack)
    whole = drawn({"GTV": every}, stack).nodule
    for k in range(13):
        nearest = k - k % step if k % step * 2 <= step else k - k % step + step
        np.testing.assert_array_equal(found.nodule[k], whole[nearest])
    num = 13 - len(every[::step])
    assert found.notes == (
        f"RTSTRUCT: {num} slices between contours of one structure filled from the nearest of them",
    )


def test_a_sphere_that_is_outlined_on_every_second_slice_is_one_sphere(drawn):
    stack = stack_of()
    found = drawn({"GTV": circles(stack, 18.0)[::2]}, stack)
    assert ndimage.label(found.nodule)[1] == 1
    assert dice(found.nodule, sphere(stack, 18.0)) > 0.93


def test_outlines_far_apart_stay_apart_with_a_note(drawn):
    stack = stack_of()
    found = drawn({"GTV": [square(stack, k, 4.5, 8.5) for k in (2, 6)]}, stack)
    assert np.flatnonzero(found.nodule.any(axis=(1, 2))).tolist() == [2, 6]
    assert found.notes == (
        "RTSTRUCT: 1 gaps of more than 10 mm between contours of one structure left open",
    )


def test_outlines_beside_each_other_and_of_other_structures_are_not_joined(drawn):
    stack = stack_of()
    found = drawn(
        {
            "GTV": [square(stack, 3, 4.5, 8.5), square(stack, 5, 20.5, 24.5)],
            "GTV2": [square(stack, 9, 4.5, 8.5)],
            "GTV3": [square(stack, 11, 4.5, 8.5)],
        },
        stack,
    )
    assert np.flatnonzero(found.nodule.any(axis=(1, 2))).tolist() == [3, 5, 9, 11]
    assert found.notes == ()


def test_only_the_piece_that_goes_on_is_continued(drawn):
    stack = stack_of()
    found = drawn(
        {
            "GTV": [
                square(stack, 3, 4.5, 8.5),
                square(stack, 3, 20.5, 24.5),
                square(stack, 5, 4.5, 8.5),
            ]
        },
        stack,
    )
    assert found.nodule.sum(axis=(1, 2))[3:6].tolist() == [32, 16, 16]
    assert found.nodule[4, 5:9, 5:9].all()


def test_the_pixels_to_fill_count_as_work(drawn, monkeypatch):
    stack = stack_of()
    monkeypatch.setattr(planes, "_MAX_STEPS", 150)
    # Two edges cross the 30 rows of each; the rest is area: 31 * 31 // 16 = 60.
    assert drawn({"GTV": [square(stack, 3, 4.5, 34.5)]}, stack).nodule.sum() == 900
    with pytest.raises(CaseError, match="takes more than 150 steps"):
        drawn({"GTV": [square(stack, k, 4.5, 34.5) for k in (3, 9)]}, stack)


def test_of_planes_finer_than_the_slices_the_nearest_counts(drawn):
    stack = stack_of()
    planes = [square(stack, 4.6, 4.5, 6.5), square(stack, 5.1, 4.5, 9.5)]
    found = drawn({"GTV": [*planes, square(stack, 5.4, 4.5, 20.5)]}, stack)
    assert found.nodule[5].sum() == 25
    assert found.nodule.sum() == 25


@pytest.mark.parametrize(
    ("k", "low", "words"),
    [
        (16.5, 4.5, r"4\.5 mm beyond the slices, 0\.0 mm beyond the rows and 0\.0 mm"),
        (-2.0, 4.5, r"6\.0 mm beyond the slices"),
        (5.0, -4.0, r"8\.0 mm beyond the rows and 8\.0 mm beyond the columns of the CT; expected"),
    ],
)
def test_an_outline_that_leaves_the_image_says_how_far(drawn, k, low, words):
    stack = stack_of()
    with pytest.raises(CaseError, match=rf"^case a: its RTSTRUCT has a contour .*{words}"):
        drawn({"GTV": [square(stack, k, low, 10.0)]}, stack)


def test_what_is_left_out_may_lie_anywhere(drawn):
    stack = stack_of()
    found = drawn({"BODY": [square(stack, 40, -9.0, 99.0)], "GTV": circles(stack, 9.0)}, stack)
    assert found.nodule.any()


def test_an_outline_across_the_slices_is_refused(drawn):
    stack = stack_of()
    upright = square(stack, 3, 4.5, 10.5)
    upright[:2] = square(stack, 6, 4.5, 10.5)[:2]
    with pytest.raises(CaseError, match=r"crosses 3\.0 slices; expected contours parallel"):
        drawn({"GTV": [upright]}, stack)


def test_points_and_open_lines_are_left_out_and_counted(drawn):
    stack = stack_of()
    found = drawn({"GTV": [square(stack, 3, 4, 5)]}, stack, geometric_type="POINT")
    assert found.nodule is None or not found.nodule.any()
    assert found.notes == ("RTSTRUCT: 1 points and open lines left out",)


def test_outlines_of_another_series_in_another_frame_of_reference_are_refused(drawn):
    with pytest.raises(CaseError, match=r"another series, in another frame of reference; expected"):
        drawn({"GTV": circles(stack_of(), 9.0)}, on=stack_of())


def test_outlines_of_another_series_in_the_same_frame_of_reference_are_taken(drawn):
    stack = stack_of()

    def move(plan):
        frame = plan.ReferencedFrameOfReferenceSequence[0]
        study = frame.RTReferencedStudySequence[0]
        study.RTReferencedSeriesSequence[0].SeriesInstanceUID = generate_uid()

    assert drawn({"GTV": circles(stack, 9.0)}, stack, edit=move).nodule.any()


def test_a_file_of_another_kind_is_refused(drawn):
    def retype(plan):
        plan.SOPClassUID = "1.2.840.10008.5.1.4.1.1.481.5"

    with pytest.raises(CaseError, match=r"is of SOP class .*481\.5; expected 1\.2.*481\.3\. Leave"):
        drawn({"GTV": []}, edit=retype)


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


def test_sizes_are_refused_before_they_are_parsed(drawn, monkeypatch):
    stack = stack_of()
    outlines = {"GTV": circles(stack, 9.0)}
    with monkeypatch.context() as patch:
        patch.setattr(rtstruct, "_MAX_CONTOUR_BYTES", 100)
        with pytest.raises(
            CaseError, match=r"a contour of 0 MiB; expected at most 0\. Draw it with"
        ):
            drawn(outlines, stack)
    with monkeypatch.context() as patch:
        patch.setattr(planes, "_MAX_STEPS", 10)
        with pytest.raises(CaseError, match=r"takes more than 10 steps to draw; expected fewer"):
            drawn(outlines, stack)
    with monkeypatch.context() as patch:
        patch.setattr(rtstruct, "_MAX_BYTES", 1000)
        with pytest.raises(CaseError, match=r"its RTSTRUCT has more than 0 MiB; expected less\."):
            drawn(outlines, stack)
    with monkeypatch.context() as patch:
        patch.setattr(dicom_file, "_MAX_ITEMS", 5)
        with pytest.raises(CaseError, match=r"has \d+ sequence items; expected at most 5\. Export"):
            drawn(outlines, stack)


def test_items_are_counted_in_either_byte_order_and_in_deflated_files(drawn, tmp_path, monkeypatch):
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
        lambda: drawn({"GTV": circles(stack, 9.0)}, stack, edit=deflate),
    ):
        with pytest.raises(CaseError, match=r"has \d+ sequence items; expected at most 5\."):
            read()


def test_a_deflated_file_is_read_unless_it_inflates_to_too_much(drawn, monkeypatch):
    stack = stack_of()

    def deflate(plan):
        plan.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1.99"
        plan.add_new(0x30060006, "UT", "x" * 1_000_000)

    outlines = {"GTV": circles(stack, 9.0)}
    assert drawn(outlines, stack, edit=deflate).nodule.any()
    monkeypatch.setattr(rtstruct, "_MAX_BYTES", 900_000)
    with pytest.raises(CaseError, match=r"has more than 0 MiB; expected less"):
        drawn(outlines, stack, edit=deflate)


def test_messages_hold_nothing_of_the_patient_and_no_path(tmp_path):
    stack = stack_of()
    path = tmp_path / "Doe^Jane.dcm"
    write_rtstruct(path, stack, {"GTV Doe": [square(stack, 30, 4, 9)]})
    with pytest.raises(CaseError) as refused:
        read_rtstruct("a", str(path), stack)
    for secret in ("Doe", "Jane", "P-4711", str(tmp_path), stack.series_uid):
        assert secret not in str(refused.value)


def test_outlines_beside_their_slices_are_drawn_with_a_note_of_how_far(drawn):
    stack = stack_of()
    beside = [np.add(points, (0.0, 0.0, 0.9)) for points in circles(stack, 18.0)]
    found = drawn({"GTV": beside}, stack)
    num = len(np.flatnonzero(found.nodule.any(axis=(1, 2))))
    assert found.notes == (
        f"RTSTRUCT: contours of {num} of {num} planes lie up to 0.9 mm from the slice that they are "
        "drawn on",
    )


def test_the_outlines_that_lie_between_slices_alone_are_counted(drawn):
    stack = stack_of()
    found = drawn({"GTV": [square(stack, k, 4.5, 8.5) for k in (3, 4.05, 5.4)]}, stack)
    assert found.notes == (
        "RTSTRUCT: contours of 1 of 3 planes lie up to 1.2 mm from the slice that they are drawn on",
    )


def test_outlines_on_their_slices_and_finer_ones_between_have_no_note(drawn):
    stack = stack_of()
    finer = [square(stack, k / 2, 4.5, 8.5) for k in range(8, 17)]
    assert drawn({"GTV": finer}, stack).notes == ()
