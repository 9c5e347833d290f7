"""What a folder tree of DICOM holds: its series, and why each other one is left out or broken."""

import itertools
import random
import shutil

import pytest
from dicom_files import write_localizer, write_series
from dicom_stacks import ramp_hu, reasons
from pydicom.dataset import Dataset
from pydicom.uid import (
    EnhancedCTImageStorage,
    MRImageStorage,
    RTStructureSetStorage,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
)

from factory.dicom.find import find_series, series_of
from factory.dicom.headers import read_header
from factory.dicom.sorting import sort_headers

SPACING = (2.5, 0.7, 0.8)


def test_series_are_found_at_any_depth_and_grouped_by_uid_not_by_folder(tmp_path):
    mixed, deep = tmp_path / "mixed", tmp_path / "a" / "b" / "c d"
    one = write_series(mixed, ramp_hu(), SPACING, patient_id="P1")
    other = write_series(mixed, ramp_hu(7), SPACING, patient_id="P2")
    third = write_series(deep, ramp_hu(4), SPACING)
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
        tmp_path,
        ramp_hu(),
        SPACING,
        edit=lambda k, data: setattr(data, "InstanceNumber", k * 7 % 5),
    )
    (series,) = find_series(tmp_path).series
    assert series.paths == files.paths
    assert series.shape == (5, 8, 6)
    assert series.spacing_mm == pytest.approx((2.5, 0.7, 0.8))
    assert series.extent_mm == pytest.approx(10.0)


def test_findings_do_not_depend_on_the_order_of_the_files(tmp_path):
    files = write_series(tmp_path / "a", ramp_hu(), SPACING, twice=[1, 2])
    wide = {"Rows": 4, "PixelData": bytes(4 * 6 * 2)}
    write_series(tmp_path / "b", ramp_hu(2), SPACING, series_uid=files.series_uid, tags=wide)
    (series,) = find_series(tmp_path / "a").series
    for number in range(4):
        shuffled = random.Random(number).sample(series.paths, len(series.paths))
        assert series_of(shuffled) == series


def test_spacings_that_drift_are_parted_alike_in_any_order(tmp_path):
    def drift(k, data):
        data.PixelSpacing = [0.7 + 0.0008 * k, 0.7]

    files = write_series(tmp_path, ramp_hu(3), SPACING, edit=drift)
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
            "slices lie at 1 place; expected at least 3",
        ),
    ],
)
def test_what_is_no_scan_of_the_chest_is_left_out_with_its_reason(tmp_path, tags, reason):
    write_series(tmp_path, ramp_hu(), SPACING, tags=tags)
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
    write_series(tmp_path, ramp_hu(), SPACING, tags=tags)
    found = find_series(tmp_path)
    assert found.series == ()
    (left,) = found.left_out
    assert left.reason.startswith(reason)
    assert left.broken


def test_a_ct_that_does_not_name_its_modality_is_known_by_its_class(tmp_path):
    write_series(tmp_path, ramp_hu(), SPACING, tags={"Modality": None})
    assert find_series(tmp_path).series[0].num_slices == 5


def test_slices_that_the_scanner_reconstructed_from_a_volume_are_a_scan(tmp_path):
    write_series(
        tmp_path, ramp_hu(), SPACING, tags={"ImageType": ["DERIVED", "PRIMARY", "CT_SOM5 MPR"]}
    )
    assert find_series(tmp_path).series[0].num_slices == 5


def test_a_scout_is_left_out_of_its_study_and_of_its_series(tmp_path):
    files = write_series(tmp_path / "ct", ramp_hu(), SPACING)
    write_localizer(tmp_path / "scout", study_uid=files.study_uid)
    into = {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}
    write_series(tmp_path / "in", ramp_hu(1), SPACING, series_uid=files.series_uid,
                 study_uid=files.study_uid, tags=into)  # fmt: skip
    found = find_series(tmp_path)
    assert [series.num_slices for series in found.series] == [5]
    assert reasons(found) == ["a localiser", "a localiser"]


def test_the_most_of_a_series_is_kept_and_the_rest_is_told(tmp_path):
    files = write_series(tmp_path / "a", ramp_hu(), SPACING)
    also = {
        "series_uid": files.series_uid,
        "study_uid": files.study_uid,
        "frame_uid": files.frame_uid,
    }
    write_series(tmp_path / "b", ramp_hu(2), (2.5, 0.9, 0.9), **also)
    write_series(tmp_path / "c", ramp_hu(2, rows=9), SPACING, **also)
    found = find_series(tmp_path)
    assert found.series[0].paths == files.paths
    assert found.series[0].notes == ("left out: 4 slices of another shape, spacing or direction",)
    assert len(found.left_out[0].paths) == 4
    assert reasons(found) == [
        "of another shape, spacing or direction than the other 5 slices of its series"
    ]


def test_a_series_without_a_majority_is_broken(tmp_path):
    files = write_series(tmp_path / "a", ramp_hu(4), SPACING)
    write_series(tmp_path / "b", ramp_hu(4, rows=9), SPACING, series_uid=files.series_uid,
                 study_uid=files.study_uid)  # fmt: skip
    found = find_series(tmp_path)
    assert found.series == ()
    assert found.left_out[0].broken
    assert "8 slices have 2 different shapes" in found.left_out[0].reason


def test_two_patients_in_one_series_are_refused_under_neither_name(tmp_path):
    files = write_series(tmp_path / "a", ramp_hu(), SPACING, patient_id="P1")
    write_series(tmp_path / "b", ramp_hu(), SPACING, patient_id="P2", series_uid=files.series_uid,
                 study_uid=files.study_uid)  # fmt: skip
    found = find_series(tmp_path)
    assert found.series == ()
    (left,) = found.left_out
    assert left.broken
    assert left.patient_id == ""
    assert "name more than one patient" in left.reason


def test_segmentations_and_structure_sets_are_told_with_the_series_they_refer_to(tmp_path):
    files = write_series(tmp_path / "ct", ramp_hu(), SPACING)
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
    write_series(tmp_path / "seg", ramp_hu(1), SPACING, tags=seg, frame_uid=files.frame_uid)
    write_series(tmp_path / "rt", ramp_hu(1), SPACING, tags=rtstruct)
    found = find_series(tmp_path)
    assert [one.kind for one in found.annotations] == ["RTSTRUCT", "SEG"]
    assert [one.series_uids for one in found.annotations] == [(files.series_uid,)] * 2
    assert found.annotations[1].frame_uid == files.frame_uid
    assert found.left_out == ()
