"""What was drawn on a DICOM series becomes the layout of its case, from the source that counts."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from annotation_files import LUNG_TYPE, NODULE_TYPE, circles, write_rtstruct, write_seg
from dicom_scans import DicomScan, write_dicom_scan
from drawn_files import write_drawn
from lidc_xml import lidc_text, reads_of
from support import save_nifti, write_scan

from factory.axes import to_orientation
from factory.errors import CaseError
from factory.ingest import drawn
from factory.ingest.points import NodulePoint
from factory.ingest.prepare import IngestConfig, PreparedCase, prepare_case
from factory.ingest.sources import SourceCase, find_cases

GRID = IngestConfig(grid=32)


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> DicomScan:
    return write_dicom_scan(tmp_path_factory.mktemp("series") / "ct", 7)


@pytest.fixture(scope="module")
def files(scan: DicomScan, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return write_drawn(tmp_path_factory.mktemp("drawn"), scan)


@pytest.fixture
def made(scan: DicomScan) -> Callable[..., PreparedCase]:
    def make(**files: object) -> PreparedCase:
        series = tuple(map(str, scan.files.paths))
        source = SourceCase(
            case_id="c", patient_id="p", series=series, series_uid=scan.files.series_uid, **files
        )
        return prepare_case(source, GRID)

    return make


def nodule_voxels(prepared: PreparedCase) -> np.ndarray:
    return prepared.case.layout == 2


def test_a_series_and_the_nifti_file_of_the_same_scan_are_the_same_case(
    made: Callable[..., PreparedCase], files: dict[str, str], tmp_path: Path
) -> None:
    write_scan(tmp_path, "a", 7)
    [nifti] = find_cases(tmp_path).cases
    as_nifti, as_series = prepare_case(nifti, GRID), made(seg=(files["both.dcm"],))
    assert as_series.case.image_sha256 == as_nifti.case.image_sha256
    assert as_series.case.layout_sha256 == as_nifti.case.layout_sha256
    np.testing.assert_allclose(as_series.case.affine, as_nifti.case.affine, atol=1e-3)
    assert as_series.source_shape == as_nifti.source_shape


def test_segmentations_of_lungs_and_of_nodules_in_two_files_are_united(
    made: Callable[..., PreparedCase], files: dict[str, str]
) -> None:
    together = made(seg=(files["both.dcm"],)).case.layout_sha256
    assert made(seg=(files["lung.dcm"], files["nodule.dcm"])).case.layout_sha256 == together
    masked = made(lung=(files["lung.nii.gz"],), seg=(files["nodule.dcm"],))
    assert masked.case.layout_sha256 == together


def test_files_of_one_kind_are_united(
    made: Callable[..., PreparedCase], files: dict[str, str], scan: DicomScan, tmp_path: Path
) -> None:
    lung = scan.stored(scan.drawn.lung)
    half = np.arange(lung.shape[2]) < lung.shape[2] // 2
    for name, side in (("left", half), ("right", ~half)):
        write_seg(tmp_path / name, scan.stack, {"lung": (LUNG_TYPE, lung & side)})
    sides = tuple(str(tmp_path / name) for name in ("left", "right"))
    assert made(seg=sides).case.layout_sha256 == made(seg=(files["lung.dcm"],)).case.layout_sha256


def test_lungs_of_a_mask_stand_above_those_of_a_segmentation_that_has_the_nodules(
    made: Callable[..., PreparedCase], files: dict[str, str], scan: DicomScan, tmp_path: Path
) -> None:
    smaller = scan.drawn.lung.copy()
    smaller[:, :, : smaller.shape[2] // 2] = False
    mask = str(save_nifti(tmp_path / "l.nii.gz", smaller.astype(np.uint8), scan.drawn.affine))
    prepared = made(lung=(mask,), seg=(files["both.dcm"],))
    alone = made(lung=(mask,), seg=(files["nodule.dcm"],))
    assert prepared.case.layout_sha256 == alone.case.layout_sha256
    assert "lungs from masks; unused: DICOM SEG" in prepared.notes


def test_what_readers_outlined_comes_with_their_scores(
    made: Callable[..., PreparedCase], files: dict[str, str]
) -> None:
    prepared = made(lidc_xml=(files["reads.xml"],), seg=(files["lung.dcm"],))
    (nodule,) = prepared.nodules
    assert (nodule["num_readers"], nodule["malignancy"], nodule["texture"]) == (2, 4.5, 5.0)
    assert sorted(nodule["malignancy_scores"]) == [4, 5]
    assert (
        "LIDC-IDRI: 8 marks under 3 mm and 0 of non-nodules, which have no extent" in prepared.notes
    )


def test_readers_who_outlined_nothing_are_still_counted(
    made: Callable[..., PreparedCase], files: dict[str, str], scan: DicomScan, tmp_path: Path
) -> None:
    small = reads_of([], [], [], [], series_uid=scan.files.series_uid, num_small=2)
    path = tmp_path / "small.xml"
    path.write_text(lidc_text(replace(small, study_uid=scan.files.study_uid)))
    note = "LIDC-IDRI: 8 marks under 3 mm and 0 of non-nodules, which have no extent"
    assert note in made(lidc_xml=(str(path),), seg=(files["lung.dcm"],)).notes
    drawn_by_others = made(lidc_xml=(str(path),), nodule=(files["nodule.nii.gz"],))
    assert note in drawn_by_others.notes
    assert drawn_by_others.nodules
    assert all(nodule.get("num_readers") is None for nodule in drawn_by_others.nodules)


def test_a_segmentation_without_a_voxel_says_what_it_left_out(
    made: Callable[..., PreparedCase], scan: DicomScan, tmp_path: Path
) -> None:
    path = write_rtstruct(
        tmp_path / "rs.dcm", scan.stack, {"Heart": circles(scan.stack, 9.0), "GTV": []}
    )
    notes = made(rtstruct=(str(path),)).notes
    assert any(note.startswith("RTSTRUCT: 1 of 2 structures are neither") for note in notes)


def test_nodules_that_readers_did_not_outline_have_no_scores_of_theirs(
    made: Callable[..., PreparedCase], files: dict[str, str]
) -> None:
    prepared = made(nodule=(files["nodule.nii.gz"],), lidc_xml=(files["reads.xml"],))
    assert "nodules from masks; unused: LIDC-IDRI XML" in prepared.notes
    assert prepared.nodules
    assert all(nodule.get("num_readers") is None for nodule in prepared.nodules)
    assert not any("marks under 3 mm" in note for note in prepared.notes)


def test_nodules_that_leave_no_lung_are_named_by_where_they_come_from(
    made: Callable[..., PreparedCase], scan: DicomScan, tmp_path: Path
) -> None:
    lung = scan.stored(scan.drawn.lung)
    segments = {"lung": (LUNG_TYPE, lung), "nodule": (NODULE_TYPE, lung)}
    path = write_seg(tmp_path / "all.dcm", scan.stack, segments)
    with pytest.raises(CaseError, match="the nodules from DICOM SEG cover all of the lungs; exp"):
        made(seg=(str(path),))


@pytest.mark.parametrize(
    ("given", "note"),
    [
        (
            {"nodule": "nodule.nii.gz", "lidc_xml": "reads.xml", "seg": "both.dcm"},
            "nodules from masks; unused: LIDC-IDRI XML, DICOM SEG",
        ),
        (
            {"lidc_xml": "reads.xml", "seg": "both.dcm"},
            "nodules from LIDC-IDRI XML; unused: DICOM SEG",
        ),
        ({"seg": "both.dcm", "rtstruct": "gtv.dcm"}, "nodules from DICOM SEG; unused: RTSTRUCT"),
        ({"rtstruct": "gtv.dcm", "points": True}, "nodules from RTSTRUCT; unused: points"),
    ],
    ids=["masks", "readers", "seg", "rtstruct"],
)
def test_nodules_come_from_one_source_and_the_notes_name_the_others(
    made: Callable[..., PreparedCase],
    files: dict[str, str],
    scan: DicomScan,
    given: dict[str, object],
    note: str,
) -> None:
    points = (point_of(scan),) if given.get("points") else ()
    masks = {kind: (files[str(name)],) for kind, name in given.items() if kind != "points"}
    first = next(iter(masks))
    lung = (files["lung.nii.gz"],)
    prepared = made(**masks, lung=lung, points=points)
    assert note in prepared.notes
    alone = made(**{first: masks[first]}, lung=lung)
    np.testing.assert_array_equal(nodule_voxels(prepared), nodule_voxels(alone))


def point_of(scan: DicomScan) -> NodulePoint:
    z, y, x = (at.mean() for at in np.nonzero(scan.drawn.nodule == 1))
    right, anterior, superior = (scan.drawn.affine @ [x, y, z, 1.0])[:3]
    return NodulePoint(center_lps_mm=(-right, -anterior, superior), diameter_mm=20.0)


def test_points_are_drawn_where_nothing_else_shows_nodules(
    made: Callable[..., PreparedCase], files: dict[str, str], scan: DicomScan
) -> None:
    point = point_of(scan)
    prepared = made(seg=(files["lung.dcm"],), points=(point,))
    (nodule,) = prepared.nodules
    left, posterior, superior = point.center_lps_mm
    assert nodule["center_ras_mm"] == pytest.approx([-left, -posterior, superior], abs=8.0)
    assert "1 nodule drawn from points, with shapes of a bank" in prepared.notes


def test_a_segmentation_of_another_series_is_refused_with_the_case(
    made: Callable[..., PreparedCase], tmp_path: Path
) -> None:
    other = write_dicom_scan(tmp_path / "ct", 8)
    path = write_seg(
        tmp_path / "seg.dcm", other.stack, {"l": (LUNG_TYPE, other.stored(other.drawn.lung))}
    )
    with pytest.raises(CaseError, match=r"^case c: "):
        made(seg=(str(path),))


def test_a_segmentation_of_nodules_alone_leaves_the_lungs_to_be_segmented(
    scan: DicomScan, tmp_path: Path
) -> None:
    """As nnU-Net's data of the lung cancer task: label 1 is cancer, and nothing is lung."""
    phantom = scan.drawn
    ct = save_nifti(tmp_path / "a_0000.nii.gz", phantom.ct, phantom.affine)
    cancer = save_nifti(
        tmp_path / "a.nii.gz", (phantom.nodule > 0).astype(np.uint8), phantom.affine
    )
    source = SourceCase(
        case_id="a", patient_id="a", ct=str(ct), labels=str(cancer), label_roles=((1, 2),)
    )
    prepared = prepare_case(source, GRID)
    assert "lung mask segmented automatically" in prepared.notes
    assert set(np.unique(prepared.case.layout)) == {0, 1, 2}


def test_left_and_right_lung_of_a_segmentation_are_one_lung(
    scan: DicomScan, tmp_path: Path
) -> None:
    phantom = scan.drawn
    labels = phantom.lung.astype(np.uint8) * 3
    labels[:, :, 32:][labels[:, :, 32:] == 3] = 4
    ct = save_nifti(tmp_path / "a.mhd.nii.gz", phantom.ct, phantom.affine)
    mask = save_nifti(tmp_path / "seg.nii.gz", labels, phantom.affine)
    roles = ((3, 1), (4, 1))
    source = SourceCase(
        case_id="a", patient_id="a", ct=str(ct), labels=str(mask), label_roles=roles
    )
    plain = replace(source, labels="", label_roles=(), lung=(str(tmp_path / "lung.nii.gz"),))
    save_nifti(tmp_path / "lung.nii.gz", phantom.lung.astype(np.uint8), phantom.affine)
    assert (
        prepare_case(source, GRID).case.layout_sha256
        == prepare_case(plain, GRID).case.layout_sha256
    )


def test_lungs_that_the_scan_ends_within_are_noted(scan: DicomScan, tmp_path: Path) -> None:
    phantom, middle = scan.drawn, slice(12, 18)
    save_nifti(tmp_path / "a_ct.nii.gz", phantom.ct[middle], phantom.affine)
    save_nifti(tmp_path / "a_lung.nii.gz", phantom.lung[middle].astype(np.uint8), phantom.affine)
    [source] = find_cases(tmp_path).cases
    assert prepare_case(source, GRID).notes == [
        "the lungs are cut off at the bottom and the top of the scan, 60 mm long"
    ]


def test_stored_slices_are_those_of_the_scanner(scan: DicomScan) -> None:
    """Of the helper: the rows of a stored slice run to the back, its columns to the left."""
    np.testing.assert_array_equal(scan.stack.ct_hu, to_orientation(scan.drawn.ct, "SPL"))


def test_lungs_that_nobody_drew_are_segmented_as_asked(
    scan: DicomScan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def segment(ct_hu: np.ndarray, spacing_mm: object, method: str) -> np.ndarray:
        assert method == "lungmask"
        return scan.drawn.lung.astype(np.uint8)

    monkeypatch.setattr(drawn, "segment_lungs", segment)
    ct = save_nifti(tmp_path / "a_ct.nii.gz", scan.drawn.ct, scan.drawn.affine)
    source = SourceCase(case_id="a", patient_id="a", ct=str(ct))
    prepared = prepare_case(source, GRID, "lungmask")
    assert prepared.notes == ["lung mask segmented automatically by lungmask"]
