import numpy as np
import pytest

from factory.intensity import HU_MAX, HU_MIN, HuWindow, SliceRanges


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
    with pytest.raises(ValueError, match=r"found 2 voxels with NaN; expected window units"):
        HuWindow().decode(units)


def test_encoding_leaves_the_scan_as_it_was():
    hu = np.array([-2000, 2000], np.int16)
    HuWindow().encode(hu)
    assert hu.tolist() == [-2000, 2000]


def test_the_ends_of_the_window_are_saturated_and_nothing_between():
    hu = np.array([-1024, -1023, 0, 599, 600], np.int16)
    assert HuWindow().saturated(hu).tolist() == [True, False, False, False, True]
    # The end of a window need not be a whole HU.
    assert HuWindow(-1023.6, 599.7).saturated(hu).tolist() == [True, False, False, False, True]


def slices() -> np.ndarray:
    """Four slices: air and metal, soft tissue, one value alone, all that int16 holds."""
    return np.array([[[-1000, 3000]], [[-100, 60]], [[40, 40]], [[-32768, 32767]]], np.int16)


def test_each_slice_is_scaled_to_its_own_lowest_and_highest_hu():
    units = SliceRanges.of(slices()).encode(slices())
    assert units.dtype == np.float32
    assert units.tolist() == [[[-1.0, 1.0]], [[-1.0, 1.0]], [[-1.0, -1.0]], [[-1.0, 1.0]]]
    middle = np.array([[[1000, -1000]], [[-20, -60]], [[40, 40]], [[0, 0]]], np.int16)
    assert SliceRanges.of(slices()).encode(middle)[:2].tolist() == [[[0.0, -1.0]], [[0.0, -0.5]]]


def test_scaling_agrees_with_the_min_max_of_each_slice():
    ct = np.random.default_rng(3).integers(-1024, 3072, (6, 7, 8)).astype(np.int16)
    flat = ct.reshape(6, -1).astype(np.float64)
    low, high = flat.min(axis=1, keepdims=True), flat.max(axis=1, keepdims=True)
    expected = ((flat - low) / (high - low) * 2 - 1).reshape(ct.shape)
    np.testing.assert_allclose(SliceRanges.of(ct).encode(ct), expected, atol=3e-7)


def test_a_reference_comes_back_exactly_from_its_own_slices():
    ct = np.random.default_rng(4).integers(-1024, 3072, (5, 16, 16)).astype(np.int16)
    ct[2] = -1024
    ct[3, 0, 0], ct[3, 0, 1] = -32768, 32767
    # int16 in full is wider than float32 in [-1, 1] resolves to a HU; a scanner's 12 bits are not.
    ranges = SliceRanges.of(ct)
    back = ranges.decode(ranges.encode(ct))
    assert back.dtype == np.int16
    np.testing.assert_array_equal(back[[0, 1, 2, 4]], ct[[0, 1, 2, 4]])
    np.testing.assert_allclose(back[3].astype(int), ct[3].astype(int), atol=1)


def test_what_is_drawn_stays_within_the_range_of_its_slice():
    decoded = SliceRanges.of(slices()).decode(np.float32([[[-9, 9]]] * 3 + [[[-np.inf, np.inf]]]))
    np.testing.assert_array_equal(decoded, slices())
    halves = SliceRanges.of(slices()).decode(np.zeros((4, 1, 2), np.float32))
    assert halves[:3].tolist() == [[[1000, 1000]], [[-20, -20]], [[40, 40]]]


def test_a_slice_with_a_voxel_that_is_nan_is_an_error():
    units = np.zeros((4, 1, 2), np.float32)
    units[1, 0, 1] = np.nan
    with pytest.raises(ValueError, match=r"found 1 voxel with NaN; expected .*Look for NaN"):
        SliceRanges.of(slices()).decode(units)


def test_a_slice_is_saturated_at_its_own_ends():
    hu = np.array([[[-1000, 60]], [[60, 40]], [[40, 41]], [[0, 32767]]], np.int16)
    saturated = SliceRanges.of(slices()).saturated(hu)
    assert saturated.tolist() == [
        [[True, False]],
        [[True, False]],
        [[True, False]],
        [[False, True]],
    ]


def test_a_scans_hu_fit_twelve_bits():
    assert HU_MAX - HU_MIN + 1 == 4096
