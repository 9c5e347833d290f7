import numpy as np
import pytest

from factory.intensity import HU_MAX, HU_MIN, HuWindow


def test_every_hu_of_the_default_window_comes_back_exactly():
    hu = np.arange(-1024, 601, dtype=np.int16)
    np.testing.assert_array_equal(HuWindow().decode(HuWindow().encode(hu)), hu)


def test_hu_outside_the_window_come_back_as_its_ends():
    hu = np.array([-32768, -1025, 601, 3071, 32767], np.int16)
    decoded = HuWindow().decode(HuWindow().encode(hu))
    assert decoded.tolist() == [-1024, -1024, 600, 600, 600]


def test_the_ends_of_the_window_are_minus_one_and_one():
    encoded = HuWindow(-1000.0, 400.0).encode(np.array([-2000, -1000, -300, 400, 3000], np.int16))
    assert encoded.tolist() == [-1.0, -1.0, 0.0, 1.0, 1.0]
    assert encoded.dtype == np.float32


def test_a_sampler_that_overshoots_is_clipped_to_the_window():
    decoded = HuWindow().decode(np.array([-7.5, -1.0, 1.0, np.inf], np.float32))
    assert decoded.tolist() == [-1024, -1024, 600, 600]
    assert decoded.dtype == np.int16


def test_a_voxel_that_is_nan_is_an_error_and_never_becomes_tissue():
    units = np.zeros((2, 2, 2), np.float32)
    units[0, 1] = np.nan
    with pytest.raises(ValueError, match=r"found 2 voxels that are NaN; expected window units"):
        HuWindow().decode(units)


def test_encoding_leaves_the_scan_as_it_was():
    hu = np.array([-2000, 2000], np.int16)
    HuWindow().encode(hu)
    assert hu.tolist() == [-2000, 2000]


def test_a_scans_hu_fit_twelve_bits():
    assert HU_MAX - HU_MIN + 1 == 4096
