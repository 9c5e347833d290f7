import numpy as np
import pytest
from nibabel.affines import apply_affine

from factory.axes import (
    affine_from_zyx,
    ijk_from_zyx,
    ras_from_zyx,
    spacing_zyx,
    zyx_from_ijk,
)

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
