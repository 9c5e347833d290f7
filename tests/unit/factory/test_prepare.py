from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from support import SCAN_SIZE, save_nifti, write_scan

from factory.axes import ijk_from_zyx, ras_from_zyx, spacing_zyx
from factory.errors import CaseError, RecipeError
from factory.ingest import drawn
from factory.ingest.prepare import IngestConfig, prepare_case
from factory.ingest.sources import SourceCase, find_cases

AFFINE = np.array([[2.0, 0, 0, -60.0], [0, 2.0, 0, -50.0], [0, 0, 4.0, -40.0], [0, 0, 0, 1.0]])
SHAPE = (20, 40, 48)
LUNG = (slice(4, 16), slice(8, 30), slice(6, 42))
NODULE = (slice(8, 11), slice(14, 20), slice(12, 18))
TINY = IngestConfig(grid=16)


class Scan:
    """Files of one case, each of which a test may spoil."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ct = np.full(SHAPE, 40, np.int16)
        self.lung, self.nodule = np.zeros(SHAPE, np.uint8), np.zeros(SHAPE, np.uint8)
        self.lung[LUNG], self.nodule[NODULE] = 1, 1
        self.ct[LUNG] = -850
        self.ct[NODULE] = 30
        self.mask_affine = AFFINE

    def source(self, *, lung: bool = True, nodule: bool = True) -> SourceCase:
        save_nifti(self.folder / "a_ct.nii.gz", self.ct, AFFINE)
        if lung:
            save_nifti(self.folder / "a_lung.nii.gz", self.lung, self.mask_affine)
        if nodule:
            save_nifti(self.folder / "a_nodule.nii.gz", self.nodule, AFFINE)
        return find_cases(self.folder, {"a": "P1"}).cases[0]

    def segmented(self, labels: np.ndarray) -> SourceCase:
        save_nifti(self.folder / "CT" / "a.nii.gz", self.ct, AFFINE)
        save_nifti(self.folder / "SEG" / "a.nii.gz", labels, AFFINE)
        return find_cases(self.folder).cases[0]


@pytest.fixture
def scan(tmp_path) -> Scan:
    return Scan(tmp_path)


def world_box(mask: np.ndarray, affine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Least and greatest RAS mm of a mask's voxel centres."""
    points = np.array([ras_from_zyx(affine, tuple(p)) for p in np.argwhere(mask)])
    return points.min(axis=0), points.max(axis=0)


@pytest.mark.parametrize(
    "config",
    [
        IngestConfig(grid=32),
        IngestConfig(grid=32, margin_mm=0.0),
        IngestConfig(grid=32, field_of_view="scan"),
        IngestConfig(grid=32, spacing_mm=3.0),
    ],
    ids=["margin", "tight", "scan", "spacing"],
)
def test_lungs_and_nodules_keep_their_place_in_the_patient(scan, config):
    case = prepare_case(scan.source(), config).case
    spacing, of_scan_mm = np.array(case.spacing_mm)[::-1], np.array([2.0, 2.0, 4.0])
    for of_scan, of_case in ((scan.nodule, case.layout == 2), (scan.lung, case.layout > 0)):
        for was, now in zip(
            world_box(of_scan, AFFINE), world_box(of_case, case.affine), strict=True
        ):
            # Nearest voxels: at most half of a voxel of either grid, on each side.
            assert (np.abs(was - now) <= (spacing + of_scan_mm) / 2 + 1e-6).all()
    assert (case.ct[case.layout == 1] < -300).mean() > 0.9
    assert case.ct.dtype == np.int16
    assert case.layout.dtype == np.uint8


def test_the_grid_over_the_lungs_ends_at_their_box_and_margin(scan):
    case = prepare_case(scan.source(), IngestConfig(grid=16, margin_mm=8.0)).case
    # Lungs of 12 x 22 x 36 voxels of (4, 2, 2) mm, and 8 mm on each side.
    assert case.spacing_mm == pytest.approx((64 / 16, 60 / 16, 88 / 16))
    edge = ras_from_zyx(case.affine, (-0.5, -0.5, -0.5))
    assert edge == pytest.approx(ras_from_zyx(AFFINE, (2 - 0.5, 4 - 0.5, 2 - 0.5)))


def test_a_stray_nodule_far_from_the_lungs_does_not_stretch_the_grid(scan):
    tight = IngestConfig(grid=16, margin_mm=0.0)
    before = prepare_case(scan.source(), tight).case
    scan.nodule[19, 39, 47] = 1
    np.testing.assert_array_equal(prepare_case(scan.source(), tight).case.affine, before.affine)


def test_a_fixed_spacing_gives_air_and_background_beyond_the_scan(scan):
    case = prepare_case(scan.source(), IngestConfig(grid=32, spacing_mm=8.0)).case
    assert case.spacing_mm == pytest.approx((8.0, 8.0, 8.0))
    assert (case.ct[0] == -1024).all()
    assert (case.layout[0] == 0).all()


def test_a_case_leads_back_to_its_scan(scan):
    prepared = prepare_case(scan.source(), TINY)
    assert prepared.source_shape == SHAPE
    np.testing.assert_allclose(prepared.source_affine, AFFINE)
    assert (prepared.case.case_id, prepared.case.patient_id) == ("a", "P1")


def test_a_phantom_goes_through_with_its_nodules(tmp_path):
    write_scan(tmp_path, "p", seed=7)
    [source] = find_cases(tmp_path).cases
    prepared = prepare_case(source, IngestConfig(grid=32))
    assert prepared.source_shape == SCAN_SIZE
    assert set(np.unique(prepared.case.layout)) == {0, 1, 2}
    lung_hu = prepared.case.ct[prepared.case.layout == 1]
    assert -1000 < np.median(lung_hu) < -600


def test_masks_and_a_segmentation_of_the_same_scan_give_the_same_case(tmp_path):
    by_masks, by_labels = Scan(tmp_path / "masks"), Scan(tmp_path / "labels")
    labels = np.maximum(by_labels.lung, 2 * by_labels.nodule)
    first = prepare_case(by_masks.source(), TINY).case
    second = prepare_case(by_labels.segmented(labels), TINY).case
    assert first.image_sha256 == second.image_sha256
    assert first.layout_sha256 == second.layout_sha256


def test_left_and_right_lung_masks_are_united_whatever_their_labels(scan):
    united = prepare_case(scan.source(), TINY).case
    right, left = scan.lung.copy(), scan.lung.copy()
    right[..., 24:], left[..., :24] = 0, 0
    save_nifti(scan.folder / "a_lung_left.nii.gz", left * 3, AFFINE)
    scan.lung = right * 2
    assert prepare_case(scan.source(), TINY).case.layout_sha256 == united.layout_sha256


def test_without_a_lung_mask_the_lungs_are_segmented_and_a_note_says_so(scan, monkeypatch):
    def segment(
        ct_hu: np.ndarray, spacing_mm: tuple[float, float, float], method: str
    ) -> np.ndarray:
        assert spacing_mm == pytest.approx((4.0, 2.0, 2.0))
        return scan.lung

    monkeypatch.setattr(drawn, "segment_lungs", segment)
    prepared = prepare_case(scan.source(lung=False), TINY)
    assert prepared.notes == ["lung mask segmented automatically"]
    assert (prepared.case.layout == 1).any()


def test_where_no_lungs_can_be_found_the_way_out_is_a_mask(scan, monkeypatch):
    def segment(
        ct_hu: np.ndarray, spacing_mm: tuple[float, float, float], method: str
    ) -> np.ndarray:
        raise ValueError("found 3 ml of air")

    monkeypatch.setattr(drawn, "segment_lungs", segment)
    expected = r"^case a: has no lung mask, .*\(found 3 ml of air\)\. Add a_lung\.nii\.gz\.$"
    with pytest.raises(CaseError, match=expected):
        prepare_case(scan.source(lung=False), TINY)


def test_a_case_whose_files_are_whole_has_no_notes(scan):
    assert prepare_case(scan.source(), TINY).notes == []


def test_a_nodule_lost_on_a_coarse_grid_is_noted(scan):
    scan.nodule[6, 10, 35] = 1
    assert prepare_case(scan.source(), TINY).notes == ["2 nodules in the scan, 1 on the model grid"]


def test_a_header_without_orientation_is_noted(scan):
    source = scan.source()
    image = nib.Nifti1Image(ijk_from_zyx(scan.ct), AFFINE)
    image.set_sform(AFFINE, code=0)
    image.set_qform(AFFINE, code=0)
    # Without a code a reader falls back to pixel sizes, for the masks as well.
    nib.save(image, source.ct)
    for path, mask in ((source.lung[0], scan.lung), (source.nodule[0], scan.nodule)):
        plain = nib.Nifti1Image(ijk_from_zyx(mask), AFFINE)
        plain.set_sform(AFFINE, code=0)
        plain.set_qform(AFFINE, code=0)
        nib.save(plain, path)
    assert prepare_case(source, TINY).notes == ["no orientation in the header: assumed"]


def test_a_mask_of_another_shape_names_both_and_the_way_out(scan):
    scan.lung = scan.lung[1:]
    expected = (
        r"^case a: mask .*a_lung\.nii\.gz has shape \(z, y, x\) \(19, 40, 48\) at "
        r"\(4\.00, 2\.00, 2\.00\) mm .* but the CT has \(20, 40, 48\) .*Resample the mask onto the CT"
    )
    with pytest.raises(CaseError, match=expected):
        prepare_case(scan.source(), TINY)


@pytest.mark.parametrize(("shift_mm", "fits"), [(0.05, True), (0.5, False)])
def test_a_mask_fits_to_a_twentieth_of_a_voxel(scan, shift_mm, fits):
    scan.mask_affine = AFFINE.copy()
    scan.mask_affine[0, 3] += shift_mm
    if fits:
        assert prepare_case(scan.source(), TINY).case.case_id == "a"
    else:
        with pytest.raises(CaseError, match=r"from \(-59\.5, -50\.0, -40\.0\) mm, but .*one grid"):
            prepare_case(scan.source(), TINY)


def test_a_mask_of_nearly_the_same_spacing_must_fit_at_its_far_corner_too(scan):
    scan.mask_affine = AFFINE @ np.diag([1.004, 1, 1, 1])
    with pytest.raises(CaseError, match=r"expected one grid"):
        prepare_case(scan.source(), TINY)


def test_a_mask_stored_in_another_direction_fits_all_the_same(scan):
    before = prepare_case(scan.source(), TINY).case
    flip = np.diag([-1.0, 1, 1, 1])
    flip[0, 3] = SHAPE[2] - 1
    scan.lung, scan.mask_affine = scan.lung[:, :, ::-1], AFFINE @ flip
    assert prepare_case(scan.source(), TINY).case.layout_sha256 == before.layout_sha256


def test_an_empty_lung_mask_is_refused(scan):
    scan.lung[:] = 0
    with pytest.raises(CaseError, match=r"the lung mask .*a_lung\.nii\.gz is empty; expected at"):
        prepare_case(scan.source(), TINY)


def test_a_segmentation_without_lung_is_refused(scan):
    with pytest.raises(
        CaseError, match=r"SEG/a\.nii\.gz has no lung \(label 1\); expected at least"
    ):
        prepare_case(scan.segmented(2 * scan.nodule), TINY)


def test_a_segmentation_with_another_label_is_refused(scan):
    with pytest.raises(CaseError, match=r"SEG/a\.nii\.gz has label 3; expected 0, 1 or 2\."):
        prepare_case(scan.segmented(3 * scan.lung), TINY)


def test_nodules_that_leave_no_lung_are_refused_as_a_swapped_mask_would_be(scan):
    scan.nodule = scan.lung
    with pytest.raises(
        CaseError, match=r"the nodules .*a_nodule\.nii\.gz cover all of the lungs; "
    ):
        prepare_case(scan.source(), TINY)


def test_lungs_too_small_for_the_grid_are_refused(scan):
    scan.lung[:] = 0
    scan.lung[10, 20, 24] = 1
    with pytest.raises(CaseError, match=r"no lung is left on the 16\^3 grid; .*Use a finer --grid"):
        prepare_case(scan.source(nodule=False), IngestConfig(grid=16, spacing_mm=60.0))


@pytest.mark.parametrize("grid", [0, 8, 15, 40, -16])
def test_a_grid_that_the_network_cannot_halve_is_refused(grid):
    with pytest.raises(RecipeError, match=rf"\[ingest\] grid: found {grid}; expected a multiple"):
        IngestConfig(grid=grid)


def test_settings_that_cannot_be_meant_are_refused():
    with pytest.raises(
        RecipeError, match=r"field_of_view: found 'body'; expected one of lungs, scan"
    ):
        IngestConfig(field_of_view="body")
    for setting in ("margin_mm", "spacing_mm"):
        with pytest.raises(
            RecipeError, match=rf"{setting}: found -1\.0; expected 0 or more, in mm"
        ):
            IngestConfig(**{setting: -1.0})


def test_by_default_the_grid_is_the_papers():
    assert IngestConfig().grid == 128
    assert spacing_zyx(AFFINE) == (4.0, 2.0, 2.0)
