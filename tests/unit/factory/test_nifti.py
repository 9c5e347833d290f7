import gzip
import struct

import nibabel as nib
import numpy as np
import pytest
from endless import KINDS, not_for_ever, write_endless
from support import save_nifti

from factory.axes import ijk_from_zyx
from factory.errors import CaseError
from factory.ingest.nifti import has_orientation, read_ct, read_labels

AFFINE = np.array([[0.7, 0, 0, -10.0], [0, 0.8, 0, 20.0], [0, 0, 2.5, -300.0], [0, 0, 0, 1.0]])
SHAPE = (4, 5, 6)
BINARY = frozenset({0, 1, 2})


def hu_of(dtype: type = np.int16) -> np.ndarray:
    return (np.arange(120).reshape(SHAPE) * 20 - 1000).astype(dtype)


@pytest.fixture
def ct_of(tmp_path):
    """Write a (z, y, x) volume as NIfTI and read it as a CT."""

    def write_and_read(volume, affine=AFFINE, name="a_ct.nii.gz"):
        return read_ct("a", str(save_nifti(tmp_path / name, volume, affine)))

    return write_and_read


@pytest.fixture
def labels_of(tmp_path):
    def write_and_read(volume, allowed):
        return read_labels("a", str(save_nifti(tmp_path / "a.nii.gz", volume, AFFINE)), allowed)

    return write_and_read


@pytest.mark.parametrize("name", ["a_ct.nii", "a_ct.nii.gz"])
def test_a_ct_is_read_z_first_with_its_affine(ct_of, name):
    ct, affine = ct_of(hu_of(), name=name)
    np.testing.assert_array_equal(ct, hu_of())
    assert ct.dtype == np.int16
    assert ct.flags.c_contiguous
    np.testing.assert_allclose(affine, AFFINE, atol=1e-5)


@pytest.mark.parametrize("flip", [(-1, 1, 1), (1, -1, 1), (1, 1, -1), (-1, -1, 1)])
def test_a_scan_stored_in_another_direction_is_turned_and_stays_in_its_place(ct_of, flip):
    stored = hu_of()[tuple(slice(None, None, step) for step in flip[::-1])]
    corner = [n - 1 if step < 0 else 0 for n, step in zip(SHAPE[::-1], flip, strict=True)]
    turn = np.diag([*flip, 1.0])
    turn[:3, 3] = corner
    ct, affine = ct_of(stored, AFFINE @ turn)
    np.testing.assert_array_equal(ct, hu_of())
    np.testing.assert_allclose(affine, AFFINE, atol=1e-4)


def test_a_sagittal_scan_is_turned_to_axial(ct_of):
    # Its first axis grows upwards, its second to the front, its third to the right.
    stored = hu_of().transpose(2, 1, 0)
    ct, affine = ct_of(stored, AFFINE[:, [2, 1, 0, 3]])
    np.testing.assert_array_equal(ct, hu_of())
    np.testing.assert_allclose(affine, AFFINE, atol=1e-5)


def test_an_oblique_scan_keeps_its_own_axes(ct_of):
    oblique = AFFINE.copy()
    oblique[:3, :3] = np.array([[0.8, -0.6, 0], [0.6, 0.8, 0], [0, 0, 1]]) @ AFFINE[:3, :3]
    ct, affine = ct_of(hu_of(), oblique)
    np.testing.assert_array_equal(ct, hu_of())
    np.testing.assert_allclose(affine, oblique, atol=1e-5)


def test_the_rescale_slope_and_intercept_of_a_header_are_applied(tmp_path):
    image = nib.Nifti1Image(ijk_from_zyx((hu_of() + 1024).astype(np.uint16)), AFFINE)
    image.header.set_slope_inter(1, -1024)
    nib.save(image, tmp_path / "a.nii")
    stored = nib.load(tmp_path / "a.nii")
    assert stored.dataobj.inter == -1024
    np.testing.assert_array_equal(read_ct("a", str(tmp_path / "a.nii"))[0], hu_of())


def test_hu_are_rounded_and_clipped_to_what_scanners_store(ct_of):
    volume = hu_of(np.float32)
    volume[0, 0, :4] = [-3024.0, -999.6, 40.4, 32000.0]
    assert ct_of(volume)[0][0, 0, :4].tolist() == [-1024, -1000, 40, 3071]


def test_one_volume_of_a_series_is_a_ct(ct_of, tmp_path):
    nib.save(nib.Nifti1Image(ijk_from_zyx(hu_of())[..., None], AFFINE), tmp_path / "a.nii")
    np.testing.assert_array_equal(read_ct("a", str(tmp_path / "a.nii"))[0], hu_of())


@pytest.mark.parametrize("shape", [(6, 5, 4, 2), (6, 5), (6, 5, 4, 1, 3)])
def test_a_file_that_is_not_3d_is_refused(tmp_path, shape):
    nib.save(nib.Nifti1Image(np.full(shape, -1000, np.int16), AFFINE), tmp_path / "a.nii")
    with pytest.raises(
        CaseError, match=rf"^case a: .*a\.nii has {len(shape)} dim.*; expected 3\. "
    ):
        read_ct("a", str(tmp_path / "a.nii"))


def test_a_single_slice_is_refused(ct_of):
    with pytest.raises(CaseError, match=r"shape \(6, 5, 1\); expected at least 2 voxels along"):
        ct_of(hu_of()[:1])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_voxels_that_are_no_numbers_are_counted_and_refused(ct_of, bad):
    volume = hu_of(np.float32)
    volume[1, 2, 3:5] = bad
    with pytest.raises(CaseError, match=r"has 2 voxels with NaN or infinity; expected HU in"):
        ct_of(volume)


def test_a_scan_that_is_not_in_hu_is_refused_with_its_range(ct_of):
    with pytest.raises(CaseError, match=r"values from 0 to 1; expected HU, with air near -1000"):
        ct_of((hu_of(np.float32) + 1000) / 2380)


@pytest.mark.parametrize(("darkest", "is_ct"), [(-500, True), (-499, False)])
def test_a_ct_has_air_of_minus_500_hu_at_least(ct_of, darkest, is_ct):
    volume = np.full(SHAPE, 40, np.int16)
    volume[0, 0, 0] = darkest
    if is_ct:
        assert ct_of(volume)[0].min() == darkest
    else:
        with pytest.raises(CaseError, match="expected HU, with air near -1000"):
            ct_of(volume)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
@pytest.mark.parametrize("share", [0.0, 0.2, 0.9])
def test_a_truncated_file_is_refused(tmp_path, name, share):
    path = save_nifti(
        tmp_path / name, np.random.default_rng(0).integers(-1000, 0, (20, 20, 20), np.int16), AFFINE
    )
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(CaseError, match=rf"{name} cannot be read \(.*\); expected a whole NIfTI"):
        read_ct("a", str(path))


def test_a_file_that_is_no_nifti_or_not_there_is_refused_in_one_line(tmp_path):
    (tmp_path / "a.nii").write_text("hello\n" * 100)
    for name in ("a.nii", "b.nii"):
        with pytest.raises(CaseError, match=rf"{name} cannot be read") as caught:
            read_ct("a", str(tmp_path / name))
        assert "\n" not in str(caught.value)


def test_a_flipped_bit_in_a_compressed_file_is_refused(tmp_path):
    path = save_nifti(
        tmp_path / "a.nii.gz",
        np.random.default_rng(0).integers(-1000, 0, (20, 20, 20), np.int16),
        AFFINE,
    )
    torn = bytearray(path.read_bytes())
    torn[len(torn) // 2] ^= 1
    path.write_bytes(torn)
    with pytest.raises(CaseError, match=r"a\.nii\.gz cannot be read"):
        read_ct("a", str(path))


def test_an_affine_that_cannot_be_inverted_is_refused(tmp_path):
    image = nib.Nifti1Image(ijk_from_zyx(hu_of()), AFFINE)
    image.header["sform_code"], image.header["srow_x"] = 1, [0, 0, 0, 0]
    image.header["qform_code"] = 0
    with open(tmp_path / "a.nii", "wb") as file:
        image.header["magic"], image.header["vox_offset"] = b"n+1", 352
        image.header.write_to(file)
        file.write(bytes(4) + np.asfortranarray(ijk_from_zyx(hu_of())).tobytes(order="F"))
    with pytest.raises(CaseError, match="an affine that cannot be inverted; expected voxel to mm"):
        read_ct("a", str(tmp_path / "a.nii"))


def test_colours_are_refused(tmp_path):
    rgb = np.zeros((6, 5, 4), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    nib.save(nib.Nifti1Image(rgb, AFFINE), tmp_path / "a.nii")
    with pytest.raises(CaseError, match=r"voxels; expected numbers"):
        read_ct("a", str(tmp_path / "a.nii"))


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32, np.float64])
def test_labels_are_read_whatever_type_they_are_stored_in(labels_of, dtype):
    layout = (np.arange(120) % 3).reshape(SHAPE)
    labels, affine = labels_of(layout.astype(dtype), BINARY)
    np.testing.assert_array_equal(labels, layout)
    assert labels.dtype == np.uint8
    np.testing.assert_allclose(affine, AFFINE, atol=1e-5)


def test_any_label_of_a_byte_may_occur_where_none_is_asked_for(labels_of):
    layout = np.arange(120, dtype=np.int16).reshape(SHAPE)
    layout[0, 0, 0] = 255
    assert labels_of(layout, None)[0][0, 0, 0] == 255


@pytest.mark.parametrize(
    ("label", "named"), [(0.5, "0.5"), (-1, "-1"), (256, "256"), (np.nan, "nan"), (np.inf, "inf")]
)
@pytest.mark.parametrize("allowed", [BINARY, None])
def test_a_label_that_is_none_is_refused_and_never_rounded(labels_of, label, named, allowed):
    layout = np.zeros(SHAPE, np.float32)
    layout[1, 1, 1] = label
    with pytest.raises(CaseError, match=rf"a\.nii\.gz has label {named}; expected .*Relabel"):
        labels_of(layout, allowed)


def test_an_unexpected_label_is_named_with_those_that_are_expected(labels_of):
    layout = (np.arange(120) % 5).reshape(SHAPE).astype(np.uint8)
    with pytest.raises(CaseError, match=r"has label 3 or 4; expected 0, 1 or 2\. Relabel"):
        labels_of(layout, BINARY)


@pytest.mark.parametrize(("sform", "qform", "known"), [(1, 0, True), (0, 1, True), (0, 0, False)])
def test_a_header_says_whether_the_scan_has_an_orientation(tmp_path, sform, qform, known):
    image = nib.Nifti1Image(ijk_from_zyx(hu_of()), AFFINE)
    image.set_sform(AFFINE, code=sform)
    image.set_qform(AFFINE, code=qform)
    nib.save(image, tmp_path / "a.nii")
    assert has_orientation(tmp_path / "a.nii") is known


@pytest.mark.parametrize(("scale", "found"), [(1e3, "700 x 800 x 2500"), (1e-2, "0.007 x 0.008")])
def test_voxels_in_another_unit_than_millimetres_are_refused(ct_of, scale, found):
    affine = AFFINE.copy()
    affine[:3, :3] *= scale
    with pytest.raises(CaseError, match=rf"has voxels of {found}.* mm; expected 0\.05 to 50 mm"):
        ct_of(hu_of(), affine)


def test_values_that_no_scanner_gives_are_refused(ct_of):
    with pytest.raises(CaseError, match=r"has values from -1e\+30 to .*; expected HU, with air"):
        ct_of((hu_of(np.float32) * np.float32(1e27)).astype(np.float32))


def declare(path, changes: dict[int, bytes]):
    """Overwrite parts of a NIfTI header, compressed or not, by their offset."""
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rb") as file:
        content = bytearray(file.read())
    for offset, patch in changes.items():
        content[offset : offset + len(patch)] = patch
    with opener(path, "wb") as file:
        file.write(content)
    return str(path)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_a_shape_that_no_scan_has_is_refused_before_memory_is_taken(tmp_path, name):
    path = save_nifti(tmp_path / name, hu_of(), AFFINE)
    huge = declare(path, {42: struct.pack("<3h", 20000, 20000, 20000)})
    expected = r"declares a shape of \(20000, 20000, 20000\); expected up to 1073741824 voxels\. "
    with pytest.raises(CaseError, match=expected):
        read_ct("a", huge)


def test_a_compressed_scan_that_declares_more_than_it_can_unpack_to_is_refused(tmp_path):
    path = save_nifti(tmp_path / "a.nii.gz", hu_of(), AFFINE)
    bomb = declare(path, {42: struct.pack("<3h", 1000, 1000, 1000)})
    with pytest.raises(
        CaseError, match=r"declares 2000000000 bytes of voxels and has \d+ bytes that"
    ):
        read_ct("a", bomb)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_voxels_far_behind_the_header_are_not_looked_for(tmp_path, name):
    path = save_nifti(tmp_path / name, hu_of(), AFFINE)
    far = declare(path, {108: struct.pack("<f", 2e9)})
    with pytest.raises(
        CaseError, match=r"has its voxels at byte 2e\+09; expected them after a head"
    ):
        read_ct("a", far)


def test_a_compressed_scan_that_goes_on_after_its_voxels_is_refused(tmp_path):
    path = save_nifti(tmp_path / "a.nii.gz", hu_of(), AFFINE)
    with gzip.open(path, "rb") as file:
        whole = file.read()
    path.write_bytes(gzip.compress(whole + bytes(40 * 2**20)))
    with pytest.raises(CaseError, match=r"goes on after its last voxel; expected it to end there"):
        read_ct("a", str(path))


def test_labels_beyond_a_byte_are_named(labels_of):
    with pytest.raises(CaseError, match=r"has label -2, 300 or 400; expected whole numbers from 0"):
        labels_of(np.array([-2, 300, 400] * 40, np.int16).reshape(SHAPE), None)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.mha", "a.mhd"])
def test_what_is_no_file_is_refused_before_it_is_opened(tmp_path, name, kind):
    path = write_endless(tmp_path / name, kind)
    with not_for_ever(), pytest.raises(CaseError, match=rf"^case a: .* is a {kind} and no regular"):
        read_labels("a", str(path), None)
