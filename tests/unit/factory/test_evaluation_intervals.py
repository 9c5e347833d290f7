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
    assert hits / 150 > 0.85
    assert narrow / 150 < 0.7


def test_patients_count_with_all_their_volumes():
    found = interval_by_patient(np.array([1.0, 1.0, 1.0, 5.0]), ["a", "a", "a", "b"])
    assert found.value == 2.0
    assert (found.low, found.high) == (1.0, 5.0)


def test_one_patient_gives_a_mean_and_no_interval():
    found = interval_by_patient(np.array([1.0, 3.0]), ["a", "a"])
    assert (found.value, math.isnan(found.low), str(found)) == (2.0, True, "2")


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
