"""Intervals hold what they say, also where volumes of one patient are alike."""

import math

import numpy as np
import pytest

from factory.evaluation.intervals import (
    Interval,
    interval_by_patient,
    interval_of_left_out,
    interval_of_share,
)


def left_out_means(values, num_folds=5):
    folds = np.arange(len(values)) % num_folds
    return [float(values[folds != fold].mean()) for fold in range(num_folds)]


def test_the_jackknife_of_a_mean_is_students_interval_of_it():
    values = np.random.default_rng(0).normal(3.0, 2.0, 5)
    found = interval_of_left_out(float(values.mean()), left_out_means(values))
    half = 2.7764 * values.std(ddof=1) / math.sqrt(5)
    assert (found.low, found.high) == pytest.approx(
        (found.value - half, found.value + half), rel=1e-4
    )
    assert str(Interval(3.0, 1.0371, 4.9629)) == "3 (1.037 to 4.963)"


def test_the_jackknife_holds_the_truth_in_95_of_100():
    hits = 0
    for seed in range(400):
        values = np.random.default_rng(seed).normal(1.0, 1.0, 40)
        found = interval_of_left_out(float(values.mean()), left_out_means(values))
        hits += found.low <= 1.0 <= found.high
    assert 0.92 < hits / 400 < 0.98


def test_two_folds_make_no_interval():
    with pytest.raises(ValueError, match=r"interval of 2 folds, expected three"):
        interval_of_left_out(1.0, [0.9, 1.1])


def test_children_of_one_donor_are_no_independent_cases():
    rng = np.random.default_rng(1)
    hits = narrow = 0
    for _ in range(150):
        of_patient = rng.normal(0.0, 1.0, 20)
        values = np.repeat(of_patient, 8) + rng.normal(0.0, 0.1, 160)
        by_patient = interval_by_patient(values, [str(i // 8) for i in range(160)])
        alone = interval_by_patient(values, [str(i) for i in range(160)])
        hits += by_patient.low <= 0.0 <= by_patient.high
        narrow += alone.low <= 0.0 <= alone.high
    assert hits / 150 > 0.9
    assert narrow / 150 < 0.7


@pytest.mark.parametrize("num_patients", [5, 8])
def test_of_few_patients_the_truth_is_in_the_interval_as_often_as_it_says(num_patients):
    """Bare percentiles of five hold it in 84 of 100."""
    hits = 0
    for seed in range(400):
        values = np.random.default_rng(seed).normal(1.0, 1.0, num_patients)
        found = interval_by_patient(values, [str(i) for i in range(num_patients)])
        hits += found.low <= 1.0 <= found.high
    assert 0.9 < hits / 400 < 0.98


def test_patients_count_with_all_their_volumes():
    values = np.array([1.0, 1.0, 1.0, 5.0, 2.0, 3.0, 4.0])
    found = interval_by_patient(values, list("aaabcde"))
    assert found.value == pytest.approx(17 / 7)
    assert found == interval_by_patient(values[::-1], list("edcbaaa"))
    # As seven patients it would be higher: five of the seven values lie above 1.
    assert interval_by_patient(values, list("abcdefg")).low > found.low


@pytest.mark.parametrize("patients", ["aaaaa", "abcda"])
def test_fewer_than_five_patients_give_a_mean_and_no_interval(patients):
    found = interval_by_patient(np.array([1.0, 3.0, 4.0, 2.0, 5.0]), list(patients))
    assert (found.value, math.isnan(found.low), str(found)) == (3.0, True, "3")


def test_that_all_patients_are_alike_does_not_say_that_all_others_are():
    found = interval_by_patient(np.zeros(10), list("abcdefghij"))
    assert (found.value, math.isnan(found.low)) == (0.0, True)


def test_a_mean_of_nothing_is_refused():
    with pytest.raises(ValueError, match=r"0 values of 0 named patients"):
        interval_by_patient(np.array([]), [])
    with pytest.raises(ValueError, match=r"2 values of 1 named"):
        interval_by_patient(np.array([1.0, 2.0]), ["a"])


def test_none_of_ten_is_not_surely_none():
    none = interval_of_share(np.zeros(10, bool), [str(i) for i in range(10)])
    assert none == Interval(0.0, 0.0, pytest.approx(0.2775, abs=1e-3))
    fewer = interval_of_share(np.zeros(10, bool), ["a", "b"] * 5)
    assert fewer.high > none.high
