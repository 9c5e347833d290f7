"""Series become cases with everything that was drawn on them; the rest is told, with its reason."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from annotation_files import LUNG_TYPE, circles, write_rtstruct, write_seg
from dicom_files import write_localizer
from dicom_scans import DicomScan, write_dicom_scan
from lidc_xml import lidc_text, reads_of
from support import save_nifti

from factory.dicom.find import find_series
from factory.dicom.identity import PatientKey
from factory.dicom.tree import read_tree
from factory.ingest.dicom_cases import DicomCases, dicom_cases, find_xml
from factory.ingest.sources import DrawnMasks, SourceCase, find_cases
from factory.ingest.tags import Tags

TAGS = Tags(PatientKey(bytes(32)))
SMALL = (12, 24, 32)


def found(folder: Path, rule: str = "thinnest", **patients: str) -> DicomCases:
    series = find_series(folder)
    folders = sorted({path.parent for one in series.series for path in one.paths})
    masks = find_cases(folder, series_folders=folders).series_masks
    return dicom_cases(
        series,
        TAGS,
        rule,
        masks=masks,
        xml_files=find_xml(read_tree(folder).files),
        patients=patients,
    )


@pytest.fixture
def scan(tmp_path: Path) -> DicomScan:
    return write_dicom_scan(tmp_path / "a" / "ct", 7, size=SMALL, patient_id="A")


def test_files_of_readers_go_to_the_series_that_they_name(tmp_path: Path, scan: DicomScan) -> None:
    other = write_dicom_scan(tmp_path / "b" / "ct", 8, size=SMALL, patient_id="B")
    lung = scan.stored(scan.drawn.lung)
    write_seg(tmp_path / "b" / "seg.dcm", scan.stack, {"lung": (LUNG_TYPE, lung)})
    write_rtstruct(tmp_path / "a" / "rt.dcm", other.stack, {"GTV": circles(other.stack, 9.0)})
    text = lidc_text(reads_of([], series_uid=scan.files.series_uid))
    (tmp_path / "readers.XML").write_text(text)
    cases = {case.series.series_uid: case.source for case in found(tmp_path).cases}

    mine, others = cases[scan.files.series_uid], cases[other.files.series_uid]
    assert [Path(path).name for path in mine.seg] == ["seg.dcm"]
    assert [Path(path).name for path in mine.lidc_xml] == ["readers.XML"]
    assert [Path(path).name for path in others.rtstruct] == ["rt.dcm"]
    assert (mine.rtstruct, others.seg, others.lidc_xml) == ((), (), ())


def test_slices_are_listed_from_the_feet_up(scan: DicomScan, tmp_path: Path) -> None:
    (case,) = found(tmp_path).cases
    assert case.source.series == tuple(map(str, scan.files.paths))


def test_files_of_series_that_are_no_case_are_told(tmp_path: Path, scan: DicomScan) -> None:
    gone = write_dicom_scan(tmp_path / "gone", 9, size=SMALL)
    lung = gone.stored(gone.drawn.lung)
    write_seg(tmp_path / "seg.dcm", gone.stack, {"lung": (LUNG_TYPE, lung)})
    (tmp_path / "r.xml").write_text(lidc_text(reads_of([], series_uid=gone.files.series_uid)))
    (tmp_path / "x.xml").write_text(lidc_text(reads_of([]), root="IdriReadMessage"))
    (tmp_path / "torn.xml").write_text("<a><b></a>")
    (tmp_path / "settings.xml").write_text("<settings/>")
    for path in gone.files.paths:
        path.unlink()
    result = found(tmp_path)
    reasons = {one.paths[0].name: one.reason for one in result.rest}
    assert len(result.cases) == 1
    assert reasons.pop("torn.xml").startswith("XML that cannot be read: ")
    assert reasons == {
        "seg.dcm": "SEG of a series that is no case here",
        "r.xml": "LIDC-IDRI XML of a series that is no case here",
        "x.xml": "LIDC-IDRI XML of a radiograph",
    }
    assert not any(one.broken for one in result.rest)


def test_a_structure_set_without_series_goes_to_the_one_of_its_frame(
    tmp_path: Path, scan: DicomScan
) -> None:
    def forget_series(plan: object) -> None:
        plan.StudyInstanceUID = scan.files.study_uid
        plan.FrameOfReferenceUID = scan.files.frame_uid
        del plan.ReferencedFrameOfReferenceSequence

    contours = {"GTV": circles(scan.stack, 9.0)}
    write_rtstruct(tmp_path / "rt.dcm", scan.stack, contours, edit=forget_series)
    (case,) = found(tmp_path).cases
    assert len(case.source.rtstruct) == 1


def test_masks_beside_a_series_are_its_own(tmp_path: Path, scan: DicomScan) -> None:
    lung = scan.drawn.lung.astype(np.uint8)
    save_nifti(tmp_path / "a" / "ct" / "lung.nii.gz", lung, scan.drawn.affine)
    (case,) = found(tmp_path).cases
    assert [Path(path).name for path in case.source.lung] == ["lung.nii.gz"]


def test_masks_in_a_folder_of_two_series_are_nobodys(tmp_path: Path, scan: DicomScan) -> None:
    folder = tmp_path / "a" / "ct"
    write_dicom_scan(folder, 8, size=SMALL, patient_id="B")
    masks = {str(folder): DrawnMasks(lung=("lung.nii.gz",))}
    result = dicom_cases(find_series(tmp_path), TAGS, "all", masks=masks, xml_files=(), patients={})
    assert [case.source.lung for case in result.cases] == [(), ()]
    assert [one.reason for one in result.rest] == [
        "masks with 2 chosen series in their folder; expected one"
    ]


def test_what_was_not_chosen_and_localisers_are_left_out_and_belong_to_their_patient(
    tmp_path: Path, scan: DicomScan
) -> None:
    thick = write_dicom_scan(
        tmp_path / "thick", 7, size=(6, 24, 32), patient_id="A", study_uid=scan.files.study_uid
    )
    write_localizer(tmp_path / "scout", study_uid=scan.files.study_uid)
    result = found(tmp_path)
    (case,) = result.cases
    assert case.series.series_uid == scan.files.series_uid
    left = {one.reason.split(":")[0]: one for one in result.rest}
    assert set(left) == {"not chosen", "a localiser"}
    assert left["not chosen"].case_id.startswith(f"{case.source.patient_id}-")
    assert thick.files.series_uid not in str(result.rest)


def test_a_patient_that_is_named_in_a_table_stands_above_the_header(
    tmp_path: Path, scan: DicomScan
) -> None:
    (case,) = found(tmp_path).cases
    case_id = case.source.case_id
    (named,) = found(tmp_path, **{case_id: "trial-7"}).cases
    assert (named.source.patient_id, named.source.case_id) == ("trial-7", case_id)


def test_a_study_without_patient_is_one_of_its_own_and_says_so(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_dicom_scan(tmp_path / name, 7, size=SMALL, patient_id="")
    one, two = (case.source for case in found(tmp_path).cases)
    assert one.patient_id != two.patient_id
    assert "no PatientID in the header: the study is taken for a patient of its own" in one.notes


@pytest.fixture
def twins(tmp_path: Path) -> tuple[DicomScan, DicomScan]:
    """Two patients whose series bear one UID, in studies of their own."""
    one, two = (
        write_dicom_scan(tmp_path / name, seed, size=SMALL, patient_id=name, series_uid="1.2.3")
        for name, seed in (("a", 7), ("b", 8))
    )
    return one, two


def by_folder(result: DicomCases) -> dict[str, SourceCase]:
    return {case.folder.name: case.source for case in result.cases}


def test_masks_beside_a_series_are_not_given_to_another_with_its_uid(
    tmp_path: Path, twins: tuple[DicomScan, DicomScan]
) -> None:
    _, two = twins
    save_nifti(tmp_path / "b" / "lung.nii.gz", two.drawn.lung.astype(np.uint8), two.drawn.affine)
    cases = by_folder(found(tmp_path))
    assert cases["a"].lung == ()
    assert len(cases["b"].lung) == 1


def test_of_two_series_with_one_uid_the_study_tells_whose_a_file_is(
    tmp_path: Path, twins: tuple[DicomScan, DicomScan]
) -> None:
    one, two = twins
    write_seg(tmp_path / "s.dcm", two.stack, {"lung": (LUNG_TYPE, two.stored(two.drawn.lung))})
    reads = replace(reads_of([], series_uid="1.2.3"), study_uid=one.files.study_uid)
    (tmp_path / "r.xml").write_text(lidc_text(reads))
    cases = by_folder(found(tmp_path))
    assert (len(cases["a"].lidc_xml), len(cases["b"].lidc_xml)) == (1, 0)
    assert (len(cases["a"].seg), len(cases["b"].seg)) == (0, 1)


@pytest.mark.usefixtures("twins")
def test_a_file_that_may_be_of_either_of_two_series_is_nobody_s(tmp_path: Path) -> None:
    (tmp_path / "r.xml").write_text(lidc_text(reads_of([], series_uid="1.2.3")))
    result = found(tmp_path)
    assert [case.source.lidc_xml for case in result.cases] == [(), ()]
    assert [one.reason for one in result.rest] == [
        "LIDC-IDRI XML that names the UID of several series; expected a UID for each series"
    ]
