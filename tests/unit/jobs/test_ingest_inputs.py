"""Everything that a source holds ends as a case or with a reason, and nothing tells of a patient."""

from pathlib import Path

import pytest
from dicom_files import IDENTIFIERS, write_localizer
from dicom_scans import DicomScan, write_dicom_scan
from endless import KINDS, close_folder, not_for_ever, write_endless
from support import write_scan

from factory.dicom.identity import PatientKey
from factory.errors import FactoryError, UsageError
from factory.ingest.points import NodulePoint
from factory.ingest.prepare import IngestConfig
from factory.ingest.tags import Tags
from jobs.ingest.inputs import Asked, Inputs, gather
from jobs.ingest.task import ingest_case

SMALL = (12, 24, 32)


def no_tags() -> Tags:
    raise AssertionError("a key was asked for")


POINT = NodulePoint(center_lps_mm=(0.0, 0.0, 0.0), diameter_mm=6.0)


def found(folder: Path, **asked: object) -> Inputs:
    inputs, _ = gather(folder, Asked(**asked), lambda: Tags(PatientKey(bytes(32))))
    return inputs


@pytest.fixture
def scan(tmp_path: Path) -> DicomScan:
    return write_dicom_scan(tmp_path / "scans" / "Doe, Jane" / "ct", 7, size=SMALL)


@pytest.fixture
def source(tmp_path: Path, scan: DicomScan) -> Path:
    """A tree of DICOM and NIfTI files, some of them broken or no CT at all."""
    folder = tmp_path / "scans"
    write_scan(folder, "plain", 1)
    write_localizer(folder / "Doe, Jane" / "scout", study_uid=scan.files.study_uid)
    torn = write_dicom_scan(folder / "torn", 8, size=SMALL, tags={"PixelSpacing": None})
    assert len(torn.files.paths) == SMALL[0]
    (folder / "report.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"\xff" * 60)
    (folder / "Doe.xml").write_text("<a><b></a>")
    (folder / "readme.txt").write_text("no scan")
    (folder / "alone_lung.nii.gz").write_bytes(b"")
    (folder / "some_organ.nii.gz").write_bytes(b"")
    return folder


def test_dicom_and_nifti_of_one_tree_are_found_together(source: Path, scan: DicomScan) -> None:
    inputs = found(source)
    series, image = inputs.cases
    assert (series.place, series.shape) == (str(scan.files.paths[0].parent), SMALL)
    assert series.spacing_mm == pytest.approx(scan.drawn.spacing_mm, rel=1e-4)
    assert (image.source.case_id, image.shape) == ("plain", (30, 48, 64))
    assert image.num_voxels == 30 * 48 * 64
    assert {one.reason for one in inputs.left_out} == {
        "a localiser",
        "matches no layout",
        "XML that cannot be read",
    }
    refused = {Path(one.place).name: one.reason for one in inputs.refused}
    assert set(refused) == {"report.dcm", "torn", "alone"}
    assert refused["torn"] == "found no usable PixelSpacing"
    assert refused["alone"] == "found the mask a file but no CT"


def test_what_the_store_is_told_of_dicom_inputs_has_no_path_and_no_identifier(
    source: Path, scan: DicomScan
) -> None:
    inputs = found(source)
    told = [*inputs.refused, *inputs.left_out]
    of_dicom = [one for one in told if one.file.startswith("file-")]
    assert len(of_dicom) == len(told) == 6
    text = "\n".join(f"{one.file} {one.case_id} {one.reason} {one.message}" for one in of_dicom)
    for identifier in (*IDENTIFIERS, "P1", scan.files.series_uid, scan.files.study_uid, "/"):
        assert identifier not in text
    assert {inputs.paths[one.file] for one in of_dicom} == {one.place for one in of_dicom}


def test_points_go_to_series_by_uid_and_to_files_by_name(source: Path, scan: DicomScan) -> None:
    points = {scan.files.series_uid: [POINT], "plain": [POINT, POINT], "other": [POINT]}
    inputs = found(source, points=points)
    assert [len(given.source.points) for given in inputs.cases] == [1, 2]
    assert inputs.unmatched_points == 1


def test_a_tree_of_localisers_alone_is_told_of_and_is_no_error_of_its_own(tmp_path: Path) -> None:
    write_localizer(tmp_path / "scout")
    inputs = found(tmp_path)
    assert inputs.cases == []
    assert [one.message for one in inputs.left_out] == ["a localiser (2 files)"]


def test_a_source_without_a_scan_says_what_is_read(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(
        FactoryError, match=r"source .*: found no scan; expected DICOM CT series, or N"
    ):
        found(tmp_path)


def test_a_rule_that_is_none_is_refused_where_there_is_no_series_too(tmp_path: Path) -> None:
    write_scan(tmp_path, "a", 1)
    with pytest.raises(UsageError, match=r"--series, .* expected thinnest, most-slices, all or"):
        found(tmp_path, rule="thickest")


def test_a_folder_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(FactoryError, match=r"source .*absent: found no such file or folder"):
        found(tmp_path / "absent")


def test_broken_image_files_among_dicom_files_are_told_by_path_at_the_terminal_alone(
    tmp_path: Path, scan: DicomScan
) -> None:
    (tmp_path / "scans" / "Doe_Jane_lung.nii.gz").write_bytes(b"")
    inputs = found(tmp_path / "scans")
    (refused,) = inputs.refused
    assert (refused.case_id, refused.file[:5]) == ("", "file-")
    assert "Doe" not in f"{refused.file} {refused.message}"
    assert "Doe_Jane_lung.nii.gz but no CT; expected" in refused.told
    assert inputs.paths[refused.file] == str(tmp_path / "scans" / "Doe_Jane")


def test_a_link_that_leads_nowhere_is_no_dicom_and_is_listed(tmp_path: Path) -> None:
    write_scan(tmp_path, "a", 1)
    (tmp_path / "latest").symlink_to(tmp_path / "gone")
    inputs, tags = gather(tmp_path, Asked(), no_tags)
    assert tags is None
    assert [given.source.case_id for given in inputs.cases] == ["a"]
    (refused,) = inputs.refused
    assert refused.file == str(tmp_path / "latest")
    assert refused.reason == "cannot be opened"


def test_a_broken_dicom_file_alone_still_asks_for_a_key(tmp_path: Path) -> None:
    write_scan(tmp_path, "a", 1)
    (tmp_path / "Doe, Jane.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"\xff" * 60)
    (refused,) = found(tmp_path).refused
    assert refused.file.startswith("file-")


def test_slices_count_as_slices_and_as_nothing_else_whatever_they_are_called(
    tmp_path: Path, scan: DicomScan
) -> None:
    names = ["a.nii.gz", "a_ct.nii.gz", "b.xml", "c.mhd", "lung.nii.gz"]
    for path, name in zip(scan.files.paths, names, strict=False):
        path.rename(path.with_name(name))
    inputs = found(tmp_path / "scans")
    (given,) = inputs.cases
    assert given.shape == SMALL
    assert (given.source.lung, given.source.lidc_xml) == ((), ())
    assert (inputs.refused, inputs.left_out) == ([], [])


def test_a_torn_dicom_file_is_told_of_once_whatever_it_is_called(tmp_path: Path) -> None:
    write_scan(tmp_path, "a", 1)
    (tmp_path / "b_ct.nii.gz").write_bytes(b"\0" * 128 + b"DICM" + b"\xff" * 60)
    inputs = found(tmp_path)
    assert [given.source.case_id for given in inputs.cases] == ["a"]
    assert [one.reason for one in (*inputs.refused, *inputs.left_out)] == [
        "found neither Modality nor SOPClassUID"
    ]


def test_a_folder_that_cannot_be_read_is_told_of_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_scan(tmp_path, "a", 1)
    close_folder(monkeypatch, tmp_path / "closed")
    inputs = found(tmp_path)
    assert [given.source.case_id for given in inputs.cases] == ["a"]
    assert [one.place for one in (*inputs.refused, *inputs.left_out)] == [str(tmp_path / "closed")]
    assert inputs.refused[0].reason == "cannot be opened"


def test_every_tag_stands_for_an_absolute_path(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = found(source).paths
    monkeypatch.chdir(source.parent)
    inputs = found(Path(source.name))
    assert inputs.paths == before
    assert all(path.startswith("/") for path in inputs.paths.values())
    assert {one.file for one in (*inputs.refused, *inputs.left_out)} < set(before)


@pytest.mark.parametrize("kind", KINDS)
def test_what_has_no_end_is_told_once_and_quarantined_where_a_scan_should_be(
    tmp_path: Path, kind: str
) -> None:
    write_scan(tmp_path, "a", 1)
    for name in ("zero_ct.nii.gz", "z.dcm", "z.xml", "z", "z.mha"):
        write_endless(tmp_path / name, kind)
    with not_for_ever():
        inputs = found(tmp_path)
    assert [given.source.case_id for given in inputs.cases] == ["a"]
    refused = {Path(one.place).name: one.told for one in inputs.refused}
    left_out = {Path(one.place).name: one.told for one in inputs.left_out}
    assert (set(refused), set(left_out)) == ({"z.dcm", "zero"}, {"z", "z.mha", "z.xml"})
    assert left_out.pop("z.mha") == "it matches no layout, or cannot be read"
    for told in (*refused.values(), *left_out.values()):
        assert f"is a {kind} and no regular file; expected one that can be read" in told


@pytest.mark.parametrize("kind", KINDS)
def test_a_mask_of_a_series_that_has_no_end_is_the_series_own_problem(
    tmp_path: Path, scan: DicomScan, kind: str
) -> None:
    write_endless(scan.files.paths[0].with_name("lung.nii.gz"), kind)
    with not_for_ever():
        inputs = found(tmp_path / "scans")
        (given,) = inputs.cases
        outcome = ingest_case(given.source, str(tmp_path / "c"), IngestConfig(grid=16), "r")
    assert f"lung.nii.gz is a {kind} and no regular file" in outcome.problem
    assert (inputs.refused, inputs.left_out) == ([], [])
