"""What a folder tree of DICOM holds."""

import itertools
import os
import random
import shutil

import numpy as np
import pytest
from dicom_files import IDENTIFIERS, write_localizer, write_series
from endless import KINDS, not_for_ever, write_endless
from pydicom.dataset import Dataset
from pydicom.uid import (
    EnhancedCTImageStorage,
    MediaStorageDirectoryStorage,
    MRImageStorage,
    RTStructureSetStorage,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
)

from factory.dicom.find import find_series, series_of
from factory.dicom.headers import read_header
from factory.dicom.sorting import sort_headers
from factory.errors import FactoryError

SPACING = (2.5, 0.7, 0.8)


def ct(num=5, rows=8, columns=6):
    return (
        np.linspace(-1000, 400, num * rows * columns).reshape(num, rows, columns).astype(np.int16)
    )


def reasons(findings):
    return [left.reason for left in findings.left_out]


def test_series_are_found_at_any_depth_and_grouped_by_uid_not_by_folder(tmp_path):
    mixed, deep = tmp_path / "mixed", tmp_path / "a" / "b" / "c d"
    one = write_series(mixed, ct(), SPACING, patient_id="P1")
    other = write_series(mixed, ct(7), SPACING, patient_id="P2")
    third = write_series(deep, ct(4), SPACING)
    shutil.move(one.paths[2], deep / "moved.dcm")
    (mixed / "notes.txt").write_text("not DICOM")
    found = find_series(tmp_path)
    assert {series.series_uid: series.num_slices for series in found.series} == {
        one.series_uid: 5,
        other.series_uid: 7,
        third.series_uid: 4,
    }
    assert found.left_out == ()
    assert {series.series_uid: series.patient_id for series in found.series}[
        other.series_uid
    ] == "P2"


def test_slices_are_sorted_by_place_whatever_their_names_and_numbers(tmp_path):
    files = write_series(
        tmp_path, ct(), SPACING, edit=lambda k, data: setattr(data, "InstanceNumber", k * 7 % 5)
    )
    (series,) = find_series(tmp_path).series
    assert series.paths == files.paths
    assert series.shape == (5, 8, 6)
    assert series.spacing_mm == pytest.approx((2.5, 0.7, 0.8))
    assert series.extent_mm == pytest.approx(10.0)


def test_findings_do_not_depend_on_the_order_of_the_files(tmp_path):
    files = write_series(tmp_path / "a", ct(), SPACING, twice=[1, 2])
    wide = {"Rows": 4, "PixelData": bytes(4 * 6 * 2)}
    write_series(tmp_path / "b", ct(2), SPACING, series_uid=files.series_uid, tags=wide)
    (series,) = find_series(tmp_path / "a").series
    for number in range(4):
        shuffled = random.Random(number).sample(series.paths, len(series.paths))
        assert series_of(shuffled) == series


def test_spacings_that_drift_are_parted_alike_in_any_order(tmp_path):
    def drift(k, data):
        data.PixelSpacing = [0.7 + 0.0008 * k, 0.7]

    files = write_series(tmp_path, ct(3), SPACING, edit=drift)
    headers = [read_header(path) for path in files.paths]
    expected = sort_headers(headers, [])
    assert len(expected.left_out) == 2
    for shuffled in itertools.permutations(headers):
        assert sort_headers(shuffled, []) == expected


@pytest.mark.parametrize(
    ("tags", "reason"),
    [
        ({"Modality": "MR", "SOPClassUID": MRImageStorage}, "not CT but MR"),
        (
            {"Modality": "Doe^Jane", "SOPClassUID": MRImageStorage},
            "not CT but of no known modality",
        ),
        ({"SOPClassUID": SecondaryCaptureImageStorage}, "a secondary capture"),
        ({"ImageType": ["DERIVED", "SECONDARY", "MIP"]}, "a projection of slices"),
        ({"ImageType": ["DERIVED", "SECONDARY", "AXIAL", "CT_SOM5 MIP"]}, "a projection of slices"),
        ({"ImageType": ["DERIVED", "SECONDARY", "REFORMATTED"]}, "a reformat of other slices"),
        (
            {"ImageOrientationPatient": [1, 0, 0, 0, 0, -1]},
            "slices lie 90 degrees off axial; expected at most 30",
        ),
        (
            {"ImagePositionPatient": [0, 0, 7]},
            "slices lie at 1 places; expected at least 3",
        ),
    ],
)
def test_what_is_no_scan_of_the_chest_is_left_out_with_its_reason(tmp_path, tags, reason):
    write_series(tmp_path, ct(), SPACING, tags=tags)
    found = find_series(tmp_path)
    assert found.series == ()
    (left,) = found.left_out
    assert left.reason.startswith(reason)
    assert not left.broken
    assert len(left.paths) == 5


@pytest.mark.parametrize(
    ("tags", "reason"),
    [
        ({"PixelData": None}, "found no pixel data"),
        ({"ImagePositionPatient": None}, "found no usable ImagePositionPatient"),
        ({"ImagePositionPatient": [0, 0, 1e30]}, "found no usable ImagePositionPatient"),
        ({"ImageOrientationPatient": None}, "found no usable ImageOrientationPatient"),
        (
            {"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]},
            "found no usable ImageOrientationPatient",
        ),
        (
            {"ImageOrientationPatient": [2, 0, 0, 0, 2, 0]},
            "found no usable ImageOrientationPatient",
        ),
        ({"PixelSpacing": None}, "found no usable PixelSpacing"),
        ({"PixelSpacing": [0.0007, 0.0007]}, "found no usable PixelSpacing"),
        ({"PixelSpacing": [0.7, -0.7]}, "found no usable PixelSpacing"),
        ({"SeriesInstanceUID": None}, "found no SeriesInstanceUID"),
        ({"Rows": 1}, "found 1 rows and 6 columns; expected at least 2 of each"),
        (
            {"SOPClassUID": EnhancedCTImageStorage, "NumberOfFrames": 40},
            "found 40 frames in one file",
        ),
        ({"NumberOfFrames": 2}, "found 2 frames in one file"),
        ({"SOPClassUID": None, "Modality": None}, "found neither Modality nor SOPClassUID"),
    ],
)
def test_a_ct_that_cannot_be_used_is_broken_and_not_merely_left_out(tmp_path, tags, reason):
    write_series(tmp_path, ct(), SPACING, tags=tags)
    found = find_series(tmp_path)
    assert found.series == ()
    (left,) = found.left_out
    assert left.reason.startswith(reason)
    assert left.broken


def test_a_ct_that_does_not_name_its_modality_is_known_by_its_class(tmp_path):
    write_series(tmp_path, ct(), SPACING, tags={"Modality": None})
    assert find_series(tmp_path).series[0].num_slices == 5


def test_slices_that_the_scanner_reconstructed_from_a_volume_are_a_scan(tmp_path):
    write_series(tmp_path, ct(), SPACING, tags={"ImageType": ["DERIVED", "PRIMARY", "CT_SOM5 MPR"]})
    assert find_series(tmp_path).series[0].num_slices == 5


def test_a_scout_is_left_out_of_its_study_and_of_its_series(tmp_path):
    files = write_series(tmp_path / "ct", ct(), SPACING)
    write_localizer(tmp_path / "scout", study_uid=files.study_uid)
    into = {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}
    write_series(tmp_path / "in", ct(1), SPACING, series_uid=files.series_uid,
                 study_uid=files.study_uid, tags=into)  # fmt: skip
    found = find_series(tmp_path)
    assert [series.num_slices for series in found.series] == [5]
    assert reasons(found) == ["a localiser", "a localiser"]


def test_the_most_of_a_series_is_kept_and_the_rest_is_told(tmp_path):
    files = write_series(tmp_path / "a", ct(), SPACING)
    also = {
        "series_uid": files.series_uid,
        "study_uid": files.study_uid,
        "frame_uid": files.frame_uid,
    }
    write_series(tmp_path / "b", ct(2), (2.5, 0.9, 0.9), **also)
    write_series(tmp_path / "c", ct(2, rows=9), SPACING, **also)
    found = find_series(tmp_path)
    assert found.series[0].paths == files.paths
    assert found.series[0].notes == (
        "4 slices of another shape, spacing or direction are left out",
    )
    assert len(found.left_out[0].paths) == 4
    assert reasons(found) == [
        "of another shape, spacing or direction than the other 5 slices of its series"
    ]


def test_a_series_without_a_majority_is_broken(tmp_path):
    files = write_series(tmp_path / "a", ct(4), SPACING)
    write_series(tmp_path / "b", ct(4, rows=9), SPACING, series_uid=files.series_uid,
                 study_uid=files.study_uid)  # fmt: skip
    found = find_series(tmp_path)
    assert found.series == ()
    assert found.left_out[0].broken
    assert "8 slices have 2 different shapes" in found.left_out[0].reason


def test_two_patients_in_one_series_are_refused_under_neither_name(tmp_path):
    files = write_series(tmp_path / "a", ct(), SPACING, patient_id="P1")
    write_series(tmp_path / "b", ct(), SPACING, patient_id="P2", series_uid=files.series_uid,
                 study_uid=files.study_uid)  # fmt: skip
    found = find_series(tmp_path)
    assert found.series == ()
    (left,) = found.left_out
    assert left.broken
    assert left.patient_id == ""
    assert "name more than one patient" in left.reason


def test_segmentations_and_structure_sets_are_told_with_the_series_they_refer_to(tmp_path):
    files = write_series(tmp_path / "ct", ct(), SPACING)
    series = Dataset()
    series.SeriesInstanceUID = files.series_uid
    study, frame = Dataset(), Dataset()
    study.RTReferencedSeriesSequence = [series]
    frame.RTReferencedStudySequence = [study]
    seg = {
        "Modality": "SEG",
        "SOPClassUID": SegmentationStorage,
        "ReferencedSeriesSequence": [series],
    }
    rtstruct = {
        "Modality": "RTSTRUCT",
        "SOPClassUID": RTStructureSetStorage,
        "ReferencedFrameOfReferenceSequence": [frame],
    }
    write_series(tmp_path / "seg", ct(1), SPACING, tags=seg, frame_uid=files.frame_uid)
    write_series(tmp_path / "rt", ct(1), SPACING, tags=rtstruct)
    found = find_series(tmp_path)
    assert [one.kind for one in found.annotations] == ["RTSTRUCT", "SEG"]
    assert [one.series_uids for one in found.annotations] == [(files.series_uid,)] * 2
    assert found.annotations[1].frame_uid == files.frame_uid
    assert found.left_out == ()


def test_a_dicomdir_is_passed_over(tmp_path):
    write_series(tmp_path, ct(), SPACING)
    write_series(tmp_path / "x", ct(1), SPACING, tags={"SOPClassUID": MediaStorageDirectoryStorage})
    shutil.copy(find_series(tmp_path).series[0].paths[0], tmp_path / "DICOMDIR")
    found = find_series(tmp_path)
    assert (found.series[0].num_slices, found.left_out) == (5, ())


def test_a_torn_file_is_broken_and_other_bytes_are_no_dicom(tmp_path):
    files = write_series(tmp_path, ct(), SPACING)
    (tmp_path / "torn").write_bytes(files.paths[0].read_bytes()[:140] + b"\xff" * 9)
    (tmp_path / "text").write_bytes(b"\x08\0\0\0 but then a text of Doe, not an element" * 9)
    found = find_series(tmp_path)
    assert [left.paths for left in found.left_out] == [(tmp_path / "torn",)]
    assert found.left_out[0].broken


@pytest.mark.parametrize("content", [b"", bytes(5000), b"a page that says: not found"])
@pytest.mark.parametrize("name", ["a.dcm", "A.IMA"])
def test_a_file_that_is_dicom_by_its_name_alone_is_broken_and_not_passed_over(
    tmp_path, name, content
):
    write_series(tmp_path, ct(), SPACING)
    (tmp_path / name).write_bytes(content)
    (tmp_path / "a.bin").write_bytes(content)
    (left,) = find_series(tmp_path).left_out
    assert (left.paths, left.broken) == ((tmp_path / name,), True)
    assert left.reason.startswith("named as DICOM and is none; expected a whole DICOM file")


def test_a_link_back_up_does_not_show_a_scan_twice(tmp_path):
    write_series(tmp_path / "a", ct(), SPACING)
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    assert len(find_series(tmp_path).series[0].paths) == 5


def test_hidden_files_are_passed_over_and_dead_links_are_told(tmp_path):
    files = write_series(tmp_path / "a", ct(), SPACING)
    shutil.copy(files.paths[0], tmp_path / "a" / "._resource")
    shutil.copytree(tmp_path / "a", tmp_path / ".trash")
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    found = find_series(tmp_path)
    assert len(found.series[0].paths) == 5
    assert found.left_out == ()
    (unread,) = found.unread
    assert (unread.paths, unread.broken) == ((tmp_path / "gone",), True)
    assert unread.reason == (
        "cannot be opened (FileNotFoundError); expected a file or folder that can be read"
    )


def test_a_name_that_is_no_text_is_told(tmp_path):
    files = write_series(tmp_path, ct(), SPACING)
    os.rename(files.paths[0], os.fsencode(tmp_path) + b"/\xff.dcm")
    found = find_series(tmp_path)
    assert found.series[0].num_slices == 4
    (unread,) = found.unread
    assert unread.reason == "a name that is not text; expected one that can be written down"


def test_a_source_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(
        FactoryError, match=r"nowhere: found No such file or directory; expected a folder"
    ):
        find_series(tmp_path / "nowhere")


def test_files_that_changed_since_they_were_found_are_refused(tmp_path):
    files = write_series(tmp_path, ct(), SPACING)
    assert series_of(files.paths).series_uid == files.series_uid
    files.paths[0].write_bytes(b"gone")
    with pytest.raises(
        FactoryError, match=r"expected one, and nothing beside it. Run ingest again"
    ):
        series_of(files.paths)


def test_findings_show_no_identifier(tmp_path):
    write_series(tmp_path, ct(), SPACING, patient_id="MRN-4711", tags={"Modality": "Jane"})
    write_series(tmp_path / "b", ct(), SPACING, patient_id="MRN-4711")
    shown = repr(find_series(tmp_path))
    for text in (*IDENTIFIERS, "MRN-4711", str(tmp_path), "1.2.826"):
        assert text not in shown


@pytest.mark.parametrize("name", ["a.nii.gz", "b.mhd", "c.xml", "d.txt", "dataset.json", "e"])
def test_a_slice_is_one_whatever_it_is_called(tmp_path, name):
    files = write_series(tmp_path, ct(), SPACING)
    files.paths[2].rename(tmp_path / name)
    found = find_series(tmp_path)
    assert found.series[0].num_slices == 5
    assert tmp_path / name in found.files


@pytest.mark.parametrize("kind", KINDS)
def test_a_pipe_or_a_device_is_broken_where_it_is_named_as_dicom(tmp_path, kind):
    write_series(tmp_path, ct(), SPACING)
    for name in ("odd.dcm", "odd"):
        write_endless(tmp_path / name, kind)
    with not_for_ever():
        found = find_series(tmp_path)
    assert found.series[0].num_slices == 5
    assert [(left.paths[0].name, left.broken) for left in found.unread] == [
        ("odd", False),
        ("odd.dcm", True),
    ]
    assert {left.reason for left in found.unread} == {
        f"is a {kind} and no regular file; expected one that can be read to its end"
    }
