"""A layout survives its way through a radiologist's editor, or is refused in words."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from factory.axes import ijk_from_zyx
from factory.errors import CaseError
from factory.nodules.bank import embedded_bank
from factory.nodules.diameters import diameters_of
from factory.nodules.layout_file import read_layout, write_nifti
from factory.nodules.lung_map import map_lungs
from factory.nodules.new_layout import make_layout
from factory.nodules.preview import draw_preview
from factory.nodules.rules import LayoutsConfig

AFFINE = np.array(
    [[2.5, 0.1, 0.0, -40.0], [-0.1, 2.5, 0.0, -50.0], [0.0, 0.0, 3.0, -300.0], [0, 0, 0, 1.0]]
)


def own_layout() -> np.ndarray:
    layout = np.zeros((24, 28, 32), np.uint8)
    layout[4:20, 6:22, 3:14] = 1
    layout[4:20, 6:22, 18:29] = 1
    return layout


@pytest.fixture
def edited() -> np.ndarray:
    layout = own_layout()
    layout[8:12, 9:13, 20:24] = 2
    return layout


def read(path: Path, own: np.ndarray | None = None) -> np.ndarray:
    return read_layout("c0", path, own_layout() if own is None else own, AFFINE)


def test_a_layout_is_read_as_it_was_written(tmp_path: Path, edited: np.ndarray) -> None:
    path = tmp_path / "c0" / "a.nii.gz"
    write_nifti(path, edited, AFFINE)
    assert (read(path) == edited).all()
    assert [file.name for file in path.parent.iterdir()] == ["a.nii.gz"]


def test_a_viewer_lays_the_layout_over_the_ct_in_the_patients_own_space(
    tmp_path: Path, edited: np.ndarray
) -> None:
    write_nifti(tmp_path / "a.nii.gz", edited, AFFINE)
    write_nifti(tmp_path / "ct.nii.gz", edited.astype(np.int16) * 100 - 1000, AFFINE)
    layout, ct = nib.load(tmp_path / "a.nii.gz"), nib.load(tmp_path / "ct.nii.gz")
    assert (layout.get_data_dtype(), ct.get_data_dtype()) == (np.uint8, np.int16)
    for image in (layout, ct):
        assert image.affine == pytest.approx(AFFINE, abs=1e-4)
        assert image.get_sform() == pytest.approx(AFFINE, abs=1e-4)
        assert (int(image.header["sform_code"]), image.header.get_xyzt_units()[0]) == (1, "mm")
    assert (np.asarray(ct.dataobj) == ijk_from_zyx(edited).astype(int) * 100 - 1000).all()


def test_a_grid_that_is_sheared_has_no_quaternion_that_says_otherwise(
    tmp_path: Path, edited: np.ndarray
) -> None:
    sheared = AFFINE.copy()
    sheared[1, 2] = 0.9
    write_nifti(tmp_path / "a.nii.gz", edited, sheared)
    image = nib.load(tmp_path / "a.nii.gz")
    assert image.affine == pytest.approx(sheared, abs=1e-4)
    assert int(image.header["qform_code"]) == 0


def test_an_editor_may_store_other_axes_and_other_numbers(
    tmp_path: Path, edited: np.ndarray
) -> None:
    image = nib.Nifti1Image(ijk_from_zyx(edited).astype(np.float32), AFFINE)
    turn = nib.orientations.ornt_transform(
        nib.orientations.io_orientation(AFFINE), nib.orientations.axcodes2ornt("LPS")
    )
    nib.save(image.as_reoriented(turn), tmp_path / "a.nii.gz")
    assert (read(tmp_path / "a.nii.gz") == edited).all()


def test_a_nodule_that_was_erased_is_lung_again(tmp_path: Path, edited: np.ndarray) -> None:
    erased = edited.copy()
    erased[8:12, 9:13, 20:24] = 0
    erased[10:13, 10:13, 6:9] = 2
    write_nifti(tmp_path / "a.nii.gz", erased, AFFINE)
    expected = own_layout()
    expected[10:13, 10:13, 6:9] = 2
    assert (read(tmp_path / "a.nii.gz") == expected).all()
    # Also one that the case has itself.
    assert (read(tmp_path / "a.nii.gz", edited) == expected).all()


def test_a_nodule_may_reach_out_of_the_lung(tmp_path: Path) -> None:
    layout = own_layout()
    layout[8:12, 9:13, 10:17] = 2
    write_nifti(tmp_path / "a.nii.gz", layout, AFFINE)
    assert (read(tmp_path / "a.nii.gz") == layout).all()


def test_a_nodule_far_from_the_lungs_is_refused(tmp_path: Path) -> None:
    layout, own = own_layout(), own_layout()
    own[:, :, :18] = 0
    layout[:, :, :18] = 0
    layout[10, 10, 3] = 2
    write_nifti(tmp_path / "a.nii.gz", layout, AFFINE)
    with pytest.raises(
        CaseError, match=r"a nodule 38 mm outside the lungs; expected at most 30 mm"
    ):
        read(tmp_path / "a.nii.gz", own)


def test_lungs_are_not_edited_here(tmp_path: Path, edited: np.ndarray) -> None:
    edited[2, 10, 10:14] = 1
    write_nifti(tmp_path / "a.nii.gz", edited, AFFINE)
    with pytest.raises(
        CaseError, match=r"case c0: .*a\.nii\.gz has 4 voxels of lung \(label 1\) where"
    ):
        read(tmp_path / "a.nii.gz")


def test_another_grid_is_refused_with_both_and_the_way_out(
    tmp_path: Path, edited: np.ndarray
) -> None:
    write_nifti(tmp_path / "cut.nii.gz", edited[2:], AFFINE)
    with pytest.raises(
        CaseError,
        match=r"shape \(z, y, x\) \(22, 28, 32\) .* expected the case's grid, \(24, 28, 32\) .* Export it "
        r"with ct\.nii\.gz as the reference",
    ):
        read(tmp_path / "cut.nii.gz")
    moved = AFFINE.copy()
    moved[0, 3] += 0.5
    write_nifti(tmp_path / "moved.nii.gz", edited, moved)
    with pytest.raises(CaseError, match="expected the case's grid"):
        read(tmp_path / "moved.nii.gz")


def test_another_label_is_refused(tmp_path: Path, edited: np.ndarray) -> None:
    edited[9, 9, 9] = 3
    write_nifti(tmp_path / "a.nii.gz", edited, AFFINE)
    with pytest.raises(CaseError, match="has label 3; expected 0, 1 or 2"):
        read(tmp_path / "a.nii.gz")


def test_a_layout_without_a_nodule_is_refused(tmp_path: Path) -> None:
    write_nifti(tmp_path / "a.nii.gz", own_layout(), AFFINE)
    with pytest.raises(CaseError, match=r"has no nodule \(label 2\); expected at least one"):
        read(tmp_path / "a.nii.gz")


@pytest.mark.parametrize("content", [b"", b"no NIfTI", None])
def test_a_file_that_is_torn_or_gone_is_refused(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "a.nii.gz").write_bytes(content)
    with pytest.raises(CaseError, match=r"case c0: .*a\.nii\.gz cannot be read"):
        read(tmp_path / "a.nii.gz")


def test_a_preview_shows_every_layout_and_is_the_same_each_time(tmp_path: Path) -> None:
    own = own_layout()
    ct = np.where(own == 1, -850, 40).astype(np.int16)
    config = LayoutsConfig(min_nodules=2, max_nodules=2)
    lungs = map_lungs(ct, own, (3.0, 2.5, 2.5), config)
    sizes = diameters_of("uniform:6:9")
    layouts = [
        (
            f"rule-{seed:02d}",
            make_layout(lungs, AFFINE, embedded_bank(), sizes, seed=seed, config=config),
        )
        for seed in range(2)
    ]
    picture = draw_preview(ct, (3.0, 2.5, 2.5), layouts)
    assert picture[:8] == b"\x89PNG\r\n\x1a\n"
    assert picture == draw_preview(ct, (3.0, 2.5, 2.5), layouts)
    assert picture != draw_preview(ct, (3.0, 2.5, 2.5), layouts[::-1])
