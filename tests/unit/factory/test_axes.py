import re
from itertools import permutations, product

import nibabel as nib
import numpy as np
import pytest
from nibabel.affines import apply_affine

from factory.axes import (
    CANONICAL,
    affine_from_dicom,
    affine_from_orientation,
    affine_from_zyx,
    from_orientation,
    ijk_from_zyx,
    is_orientation,
    orientation_of,
    ras_from_lps,
    ras_from_zyx,
    spacing_zyx,
    to_orientation,
    zyx_from_ijk,
    zyx_from_ras,
)

ORIENTATIONS = [
    "".join(codes) for axes in permutations(["SI", "AP", "RL"]) for codes in product(*axes)
]

OBLIQUE = np.array(
    [
        [0.6, -0.8, 0.0, -10.0],
        [0.8, 0.6, 0.0, 20.0],
        [0.0, 0.0, 2.5, -300.0],
        [0.0, 0.0, 0.0, 1.0],
    ]
)


def test_the_voxel_i_j_k_of_a_file_is_k_j_i_of_the_array():
    volume = np.arange(24).reshape(2, 3, 4)
    array = zyx_from_ijk(volume)
    assert array.shape == (4, 3, 2)
    assert array[3, 2, 1] == volume[1, 2, 3]
    assert array[0, 2, 1] == volume[1, 2, 0]
    assert array.flags.c_contiguous


def test_there_and_back_is_the_same_volume_without_a_copy():
    volume = np.arange(24).reshape(2, 3, 4)
    np.testing.assert_array_equal(zyx_from_ijk(ijk_from_zyx(volume)), volume)
    assert np.shares_memory(ijk_from_zyx(volume), volume)


def test_spacing_is_named_z_first():
    assert spacing_zyx(np.diag([0.7, 0.8, 2.5, 1.0])) == pytest.approx((2.5, 0.8, 0.7))


def test_spacing_of_an_oblique_scan_is_the_length_of_its_steps_and_never_negative():
    flipped = OBLIQUE @ np.diag([0.7, -0.8, -1.0, 1.0])
    assert spacing_zyx(flipped) == pytest.approx((2.5, 0.8, 0.7))


def test_a_point_of_the_array_lies_where_nibabel_says():
    x, y, z = 5.0, 7.5, 11.0
    expected = apply_affine(OBLIQUE, [x, y, z])
    assert ras_from_zyx(OBLIQUE, (z, y, x)) == pytest.approx(tuple(expected))
    assert ras_from_zyx(OBLIQUE, (0, 0, 0)) == (-10.0, 20.0, -300.0)


def test_an_affine_from_steps_goes_where_its_first_voxel_and_steps_say():
    affine = affine_from_zyx((3.0, 2.0, 1.0), (30.0, 20.0, 10.0))
    assert ras_from_zyx(affine, (0, 0, 0)) == (10.0, 20.0, 30.0)
    assert ras_from_zyx(affine, (1, 1, 1)) == (11.0, 22.0, 33.0)
    assert spacing_zyx(affine) == (3.0, 2.0, 1.0)


@pytest.mark.parametrize("codes", ORIENTATIONS)
def test_turning_a_volume_there_and_back_loses_no_voxel(codes):
    volume = np.arange(2 * 3 * 4 * 5, dtype=np.int16).reshape(2, 3, 4, 5)
    for channels in (volume[0], volume):
        turned = to_orientation(channels, codes)
        back = from_orientation(turned, codes)
        np.testing.assert_array_equal(back, channels)
        np.testing.assert_array_equal(to_orientation(back, codes), turned)
        assert turned.flags.c_contiguous
        assert back.flags.c_contiguous


@pytest.mark.parametrize("codes", ORIENTATIONS)
def test_a_turned_volume_is_the_one_that_nibabel_turns(codes):
    volume = np.arange(3 * 4 * 5).reshape(3, 4, 5)
    ours = nib.orientations.axcodes2ornt(tuple(CANONICAL))
    wanted = nib.orientations.axcodes2ornt(tuple(codes))
    turn = nib.orientations.ornt_transform(ours, wanted)
    expected = nib.orientations.apply_orientation(volume, turn)
    np.testing.assert_array_equal(to_orientation(volume, codes), expected)


def test_there_are_48_orientations_and_ours_changes_nothing():
    assert len(set(ORIENTATIONS)) == 48
    assert all(map(is_orientation, ORIENTATIONS))
    volume = np.arange(24).reshape(2, 3, 4)
    np.testing.assert_array_equal(to_orientation(volume, CANONICAL), volume)


def test_the_patients_right_front_top_lands_where_slp_has_it():
    volume = np.zeros((3, 4, 5))
    right, anterior, superior = 4, 3, 2
    volume[superior, anterior, right] = 1
    # z still grows upwards; x starts at the patient's right and y at the front.
    assert np.argwhere(to_orientation(volume, "SLP")).tolist() == [[2, 0, 0]]

    volume[:] = 0
    volume[0, 1, 2] = 1
    assert np.argwhere(to_orientation(volume, "SLP")).tolist() == [[0, 5 - 1 - 2, 4 - 1 - 1]]


@pytest.mark.parametrize("codes", ["", "SA", "SARL", "SAA", "SIA", "sar", "ZYX", "SA ", "SAR?"])
def test_codes_that_are_no_orientation_are_refused(codes):
    assert not is_orientation(codes)
    for turn in (to_orientation, from_orientation):
        with pytest.raises(
            ValueError,
            match=rf"found '{re.escape(codes)}'; expected three letters, one each of S or I, A or P",
        ):
            turn(np.zeros((2, 2, 2)), codes)


def test_dicom_counts_to_the_left_and_to_the_back():
    np.testing.assert_array_equal(
        ras_from_lps([[1.0, 2.0, 3.0], [-4.0, 0.0, 5.0]]), [[-1, -2, 3], [4, 0, 5]]
    )
    assert not np.signbit(ras_from_lps([0.0, 0.0, 0.0])).any()
    np.testing.assert_array_equal(ras_from_lps(ras_from_lps([1.0, 2.0, 3.0])), [1, 2, 3])


def test_an_oblique_dicom_slice_has_its_corners_where_the_standard_says():
    """PS3.3 equation C.7.6.2.1-1, worked out in LPS pixel by pixel."""
    a, b = np.radians([20.0, -35.0])
    row = np.array([np.cos(a), np.sin(a), 0.0])
    column = np.array([-np.sin(a) * np.cos(b), np.cos(a) * np.cos(b), np.sin(b)])
    position, step = np.array([-120.0, -90.0, 33.0]), np.array([0.3, -0.2, 2.5])
    affine = affine_from_dicom(
        position=position,
        orientation=np.concatenate([row, column]),
        pixel_spacing=(0.7, 0.9),
        step=step,
    )
    for i, j, k in [(0, 0, 0), (511, 0, 0), (0, 255, 0), (511, 255, 39), (3, 5, 7)]:
        left, back, up = position + row * 0.9 * i + column * 0.7 * j + step * k
        np.testing.assert_allclose(apply_affine(affine, [i, j, k]), [-left, -back, up])
    assert spacing_zyx(affine) == pytest.approx((np.linalg.norm(step), 0.7, 0.9))


def test_points_go_to_the_array_and_back():
    point = (3.5, 2.0, 1.0)
    ras = np.array([ras_from_zyx(OBLIQUE, point), ras_from_zyx(OBLIQUE, (0.0, 0.0, 0.0))])
    np.testing.assert_allclose(zyx_from_ras(OBLIQUE, ras), [point, (0, 0, 0)], atol=1e-12)
    np.testing.assert_allclose(zyx_from_ras(OBLIQUE, ras[0]), point, atol=1e-12)


@pytest.mark.parametrize("codes", ORIENTATIONS)
def test_an_array_of_any_direction_is_turned_as_nibabel_turns_it(codes):
    affine = nib.orientations.inv_ornt_aff(
        nib.orientations.axcodes2ornt(tuple(reversed(codes))), (5, 4, 3)
    )
    affine = OBLIQUE @ np.diag([0.7, 0.8, 1.0, 1.0]) @ affine
    volume = np.arange(60, dtype=np.int16).reshape(3, 4, 5)
    image = nib.as_closest_canonical(nib.Nifti1Image(volume.transpose(2, 1, 0), affine))
    found = orientation_of(affine)
    turned = from_orientation(volume, found)
    np.testing.assert_array_equal(turned, np.asarray(image.dataobj).transpose(2, 1, 0))
    np.testing.assert_allclose(affine_from_orientation(affine, volume.shape, found), image.affine)


def test_an_affine_of_no_orientation_is_an_error():
    with pytest.raises(ValueError, match="found 'XYZ'; expected three letters"):
        affine_from_orientation(OBLIQUE, (2, 3, 4), "XYZ")
