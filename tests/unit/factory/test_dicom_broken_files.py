"""Files below a folder of DICOM that cannot be used: torn, hidden, endless, linked or of another kind."""

import os
import shutil

import pytest
from dicom_files import IDENTIFIERS, write_series
from dicom_stacks import ramp_hu
from endless import KINDS, not_for_ever, write_endless
from pydicom.uid import MediaStorageDirectoryStorage

from factory.dicom.find import find_series, series_of
from factory.errors import FactoryError

SPACING = (2.5, 0.7, 0.8)


def test_a_dicomdir_is_passed_over(tmp_path):
    write_series(tmp_path, ramp_hu(), SPACING)
    write_series(
        tmp_path / "x", ramp_hu(1), SPACING, tags={"SOPClassUID": MediaStorageDirectoryStorage}
    )
    shutil.copy(find_series(tmp_path).series[0].paths[0], tmp_path / "DICOMDIR")
    found = find_series(tmp_path)
    assert (found.series[0].num_slices, found.left_out) == (5, ())


def test_a_torn_file_is_broken_and_other_bytes_are_no_dicom(tmp_path):
    files = write_series(tmp_path, ramp_hu(), SPACING)
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
    write_series(tmp_path, ramp_hu(), SPACING)
    (tmp_path / name).write_bytes(content)
    (tmp_path / "a.bin").write_bytes(content)
    (left,) = find_series(tmp_path).left_out
    assert (left.paths, left.broken) == ((tmp_path / name,), True)
    assert left.reason.startswith("named as DICOM and is none; expected a whole DICOM file")


def test_a_link_back_up_does_not_show_a_scan_twice(tmp_path):
    write_series(tmp_path / "a", ramp_hu(), SPACING)
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    assert len(find_series(tmp_path).series[0].paths) == 5


def test_hidden_files_are_passed_over_and_dead_links_are_told(tmp_path):
    files = write_series(tmp_path / "a", ramp_hu(), SPACING)
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
    files = write_series(tmp_path, ramp_hu(), SPACING)
    os.rename(files.paths[0], os.fsencode(tmp_path) + b"/\xff.dcm")
    found = find_series(tmp_path)
    assert found.series[0].num_slices == 4
    (unread,) = found.unread
    assert (
        unread.reason
        == "a name with line breaks, or that is not text; expected one that can be written down"
    )


def test_a_source_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(
        FactoryError, match=r"nowhere: found no such file or folder; expected a folder"
    ):
        find_series(tmp_path / "nowhere")


def test_files_that_changed_since_they_were_found_are_refused(tmp_path):
    files = write_series(tmp_path, ramp_hu(), SPACING)
    assert series_of(files.paths).series_uid == files.series_uid
    files.paths[0].write_bytes(b"gone")
    with pytest.raises(
        FactoryError, match=r"expected one, and nothing beside it. Run ingest again"
    ):
        series_of(files.paths)


def test_findings_show_no_identifier(tmp_path):
    write_series(tmp_path, ramp_hu(), SPACING, patient_id="MRN-4711", tags={"Modality": "Jane"})
    write_series(tmp_path / "b", ramp_hu(), SPACING, patient_id="MRN-4711")
    shown = repr(find_series(tmp_path))
    for text in (*IDENTIFIERS, "MRN-4711", str(tmp_path), "1.2.826"):
        assert text not in shown


@pytest.mark.parametrize("name", ["a.nii.gz", "b.mhd", "c.xml", "d.txt", "dataset.json", "e"])
def test_a_slice_is_one_whatever_it_is_called(tmp_path, name):
    files = write_series(tmp_path, ramp_hu(), SPACING)
    files.paths[2].rename(tmp_path / name)
    found = find_series(tmp_path)
    assert found.series[0].num_slices == 5
    assert tmp_path / name in found.files


@pytest.mark.parametrize("kind", KINDS)
def test_a_pipe_or_a_device_is_broken_where_it_is_named_as_dicom(tmp_path, kind):
    write_series(tmp_path, ramp_hu(), SPACING)
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
