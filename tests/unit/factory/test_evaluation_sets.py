"""Folds keep patients together; a floor is what two halves of one set have."""

import math
from functools import partial

import numpy as np
import pytest

from factory.evaluation.folds import folds_by_patient, halves_by_patient
from factory.evaluation.frechet import frechet_distance
from factory.evaluation.mmd import median_kernel, mmd_squared
from factory.evaluation.moments import Moments
from factory.evaluation.set_distances import frechet_over_folds, mmd_over_folds, real_floor

REAL = [f"p{i // 2}" for i in range(40)]
SYNTHETIC = [f"p{i % 7}" for i in range(21)]


def normal(seed, count, width=6, shift=0.0):
    return np.random.default_rng(seed).normal(shift, 1.0, (count, width))


def fid(one, other):
    return frechet_distance(Moments.of(one), Moments.of(other))


def test_a_patient_is_in_one_fold_of_both_sets():
    real, synthetic = folds_by_patient(REAL, SYNTHETIC, 5)
    fold_of = {}
    for name, fold in zip([*REAL, *SYNTHETIC], [*real, *synthetic], strict=True):
        assert fold_of.setdefault(name, fold) == fold
    assert set(real) == set(synthetic) == set(range(5))


def test_every_fold_gets_its_share_of_both_sets():
    real, synthetic = folds_by_patient(REAL, SYNTHETIC, 5)
    assert np.ptp(np.bincount(real)) <= 2
    assert min(np.bincount(synthetic)) >= 3


def test_folds_do_not_depend_on_the_order_of_the_rows():
    real, _ = folds_by_patient(REAL, SYNTHETIC, 5)
    turned, _ = folds_by_patient(REAL[::-1], SYNTHETIC[::-1], 5)
    assert real.tolist() == turned[::-1].tolist()


def test_there_are_no_more_folds_than_patients():
    _, synthetic = folds_by_patient(REAL, ["p0", "p0", "p1"], 5)
    assert synthetic.max() == 1
    assert max(folds_by_patient(REAL, ["p0", "p0"], 5)[0]) == 0


def test_a_half_has_half_of_the_patients_and_all_their_volumes():
    first = halves_by_patient(REAL, seed=3)
    assert first.sum() == 20
    assert all(first[i] == first[i + 1] for i in range(0, 40, 2))
    assert (first != halves_by_patient(REAL, seed=4)).any()


def test_a_distance_over_folds_is_that_of_the_whole_sets():
    one, other = normal(0, 40), normal(1, 21, shift=1.0)
    folds = folds_by_patient(REAL, SYNTHETIC, 5)
    found = frechet_over_folds(one, other, *folds)
    assert found.value == pytest.approx(fid(one, other), rel=1e-9)
    assert 0.0 <= found.low < found.value < found.high
    kernel = median_kernel(one)
    found = mmd_over_folds(one, other, *folds, kernel)
    assert found.value == mmd_squared(one, other, kernel)
    assert found.low < found.value < found.high


def test_each_fold_is_left_out_of_both_sets():
    one, other = normal(0, 40), normal(1, 21, shift=1.0)
    folds = folds_by_patient(REAL, SYNTHETIC, 5)
    left_out = [fid(one[folds[0] != f], other[folds[1] != f]) for f in range(5)]
    half = 2.7764 * math.sqrt(4 * np.var(left_out))
    assert frechet_over_folds(one, other, *folds).high == pytest.approx(
        fid(one, other) + half, rel=1e-4
    )


def test_a_set_against_itself_is_at_zero():
    one = normal(0, 40)
    folds = folds_by_patient(REAL, REAL, 5)
    assert frechet_over_folds(one, one, *folds).value == pytest.approx(0.0, abs=1e-9)


def test_volumes_of_two_patients_have_a_distance_and_no_interval():
    folds = folds_by_patient(REAL, ["p0", "p0", "p1", "p1"], 5)
    found = frechet_over_folds(normal(0, 40), normal(1, 4), *folds)
    assert (found.value > 0.0, math.isnan(found.low), math.isnan(found.high)) == (True, True, True)


def test_the_floor_of_a_set_is_near_that_of_two_draws():
    features, patients = normal(5, 400), [str(i) for i in range(400)]
    kernel = median_kernel(features)
    found = real_floor(features, patients, fid, num_splits=5)
    assert 0.0 < found.low <= found.value <= found.high
    assert found.value == pytest.approx(fid(normal(6, 200), normal(7, 200)), rel=0.6)
    near_zero = real_floor(features, patients, partial(mmd_squared, kernel=kernel), num_splits=5)
    assert abs(near_zero.value) < 0.01


def test_three_patients_have_no_floor():
    assert math.isnan(real_floor(normal(0, 3), ["a", "b", "c"], fid, num_splits=5).value)


def test_the_discrepancy_is_zero_in_the_mean_over_200_draws():
    kernel = median_kernel(normal(9, 100))
    found = [mmd_squared(normal(2 * i, 20), normal(2 * i + 1, 20), kernel) for i in range(200)]
    assert abs(np.mean(found)) < 3 * np.std(found) / math.sqrt(200)
