"""Intervals over patients, seeds and both: they hold what they say."""

import math

import numpy as np
import pytest
from segmentation_scores import case, one_of, trial

from factory.evaluation.intervals import Interval
from factory.segmentation.intervals import (
    LEAST_PATIENTS,
    interval_over_both,
    interval_over_means,
    interval_over_patients,
)
from factory.segmentation.summary import differences, summarise


def scores_of(rng, num_patients, num_seeds, *, num_cases=2):
    """Return (patients, cases, seeds) made-up Dice: a third of the patients is missed altogether."""
    base = np.where(rng.random(num_patients) < 1 / 3, 0.0, rng.beta(4, 3, num_patients))
    of_case = rng.normal(0, 0.08, (num_patients, num_cases, 1))
    return base[:, None, None] + of_case + rng.normal(0, 0.05, (num_patients, num_cases, num_seeds))


TRUE_MEAN = 2 / 3 * 4 / 7


def coverage(num_patients, *, alone=False, rounds=300):
    """Return how often the interval over patients has the true mean in it."""
    rng, hits = np.random.default_rng(num_patients), 0
    for _ in range(rounds):
        values = scores_of(rng, num_patients, 3).ravel()
        names = np.arange(len(values)) // (1 if alone else 6)
        found = interval_over_patients(values, [str(name) for name in names])
        hits += found.low <= TRUE_MEAN <= found.high
    return hits / rounds


@pytest.mark.parametrize("num_patients", [8, 15, 40])
def test_the_interval_over_patients_has_the_truth_in_it_about_as_often_as_it_says(num_patients):
    assert 0.91 <= coverage(num_patients) <= 0.99


def test_tests_of_one_patient_are_no_independent_patients():
    assert coverage(15, alone=True, rounds=150) < 0.75


def test_the_interval_of_a_paired_gain_has_the_true_gain_in_it():
    rng, hits = np.random.default_rng(5), 0
    for _ in range(60):
        before = scores_of(rng, 15, 2, num_cases=1)[:, 0]
        after = before + 0.03 + rng.normal(0, 0.04, (15, 1)) + rng.normal(0, 0.02, before.shape)
        sides = [
            [
                trial(
                    *(case(f"p{p}", dice=value) for p, value in enumerate(scores[:, seed])),
                    seed=seed,
                )
                for seed in range(2)
            ]
            for scores in (after, before)
        ]
        found = one_of(differences(*sides), "dice").over_patients
        hits += found.low <= 0.03 <= found.high
    assert hits / 60 >= 0.88


def test_the_interval_over_seeds_has_the_mean_of_all_trainings_in_it():
    rng, hits = np.random.default_rng(6), 0
    cases = np.linspace(0.1, 0.7, 8)
    for _ in range(60):
        trials = [
            trial(*(case(f"p{p}", dice=value + shift) for p, value in enumerate(cases)), seed=seed)
            for seed, shift in enumerate(rng.normal(0, 0.02, 3))
        ]
        found = one_of(summarise(trials), "dice").over_seeds
        hits += found.low <= 0.4 <= found.high
    assert hits / 60 >= 0.88


def test_an_interval_over_patients_is_wider_the_fewer_they_are():
    rng = np.random.default_rng(0)
    values = rng.normal(0.5, 0.1, 200)
    widths = []
    for count in (6, 25, 200):
        found = interval_over_patients(values[:count], [str(i) for i in range(count)])
        widths.append(found.high - found.low)
        half = 2.0 * values[:count].std(ddof=1) / math.sqrt(count)
        assert (found.high - found.low) / 2 == pytest.approx(half, rel=0.35)
    assert widths == sorted(widths, reverse=True)


def test_too_few_or_equal_patients_make_no_interval():
    few = interval_over_patients(np.linspace(0, 1, 4), list("abcd"))
    assert (few.value, math.isnan(few.low), math.isnan(few.high)) == (0.5, True, True)
    assert LEAST_PATIENTS == 5
    alike = interval_over_patients(np.zeros(10), list("abcdefghij"))
    assert (alike.value, math.isnan(alike.low)) == (0.0, True)
    enough = interval_over_patients(np.linspace(0, 1, 5), list("abcde"))
    assert 0.0 <= enough.low < 0.5 < enough.high <= 1.0


def test_patients_count_with_all_their_tests():
    values = np.array([1.0, 1.0, 1.0, 5.0, 0.0, 0.0, 0.0])
    found = interval_over_patients(values, list("aaabcde"))
    assert found.value == pytest.approx(8 / 7)
    assert found == interval_over_patients(values[::-1], list("edcbaaa"))


def test_a_mean_of_nothing_is_refused():
    with pytest.raises(ValueError, match=r"0 values of 0 named patients"):
        interval_over_patients(np.array([]), [])
    with pytest.raises(ValueError, match=r"2 values of 1 named"):
        interval_over_patients(np.array([1.0, 2.0]), ["a"])


def test_means_of_seeds_make_students_interval():
    found = interval_over_means(0.5, [0.4, 0.5, 0.6], [7, 7, 7])
    assert (found.low, found.high) == pytest.approx((0.5 - 4.3027 * 0.1 / 3**0.5, 0.7484), abs=1e-3)
    assert math.isnan(interval_over_means(0.5, [0.5], [7]).low)


def test_an_interval_over_uneven_folds_lies_around_the_mean_that_stands_beside_it():
    trials = [
        trial(case("a", dice=1.0), fold=0),
        trial(*(case(f"b{i}", dice=0.05 + 0.02 * (i % 2)) for i in range(12)), fold=1),
        trial(*(case(f"c{i}", dice=0.10 + 0.02 * (i % 2)) for i in range(12)), fold=2),
    ]
    found = one_of(summarise(trials), "dice")
    assert found.value == pytest.approx((1.0 + 12 * 0.06 + 12 * 0.11) / 25)
    assert found.over_folds.value == found.value
    middle = 2 * found.value - found.over_folds.high
    # Below 0 a share cannot be.
    assert found.over_folds.low == pytest.approx(max(0.0, middle))
    # By hand: 3/2 of the sum of (n / 25 (mean - 0.1216))^2, and 4.3027 of two degrees of freedom.
    parts = [(1, 1.0), (12, 0.06), (12, 0.11)]
    error = math.sqrt(1.5 * sum((n / 25 * (mean - 0.1216)) ** 2 for n, mean in parts))
    assert found.over_folds.high - found.value == pytest.approx(4.3027 * error, rel=1e-4)


def test_the_interval_over_uneven_folds_has_the_true_mean_in_it():
    rng, hits = np.random.default_rng(11), 0
    counts = [4, 10, 12, 20, 30]
    for _ in range(400):
        values = [0.4 + rng.normal(0, 0.02) + rng.normal(0, 0.2, count) for count in counts]
        whole = float(np.concatenate(values).mean())
        found = interval_over_means(whole, [float(one.mean()) for one in values], counts)
        hits += found.low <= 0.4 <= found.high
    assert 0.9 <= hits / 400 <= 0.99


def told_from_0(rng, num_seeds):
    """Return whether no gain at all is told from 0: over both, and over patients and seeds each."""
    # The mean has as much spread of 20 patients as of the seeds.
    patients, seeds = rng.normal(0, 0.1, (20, 1)), rng.normal(0, 0.1, num_seeds)
    noise = rng.normal(0, 0.05, (20, num_seeds))
    gains = patients + (num_seeds / 20) ** 0.5 * seeds + noise
    names = [f"p{number}" for number in range(20)]
    over_patients = interval_over_patients(
        gains.ravel(), [name for name in names for _ in range(num_seeds)]
    )
    means = gains.mean(axis=0).tolist()
    over_seeds = interval_over_means(float(gains.mean()), means, [20] * num_seeds)
    both = interval_over_both(over_patients, over_seeds)
    return [not one.low <= 0 <= one.high for one in (both, over_patients, over_seeds)]


def test_no_gain_is_told_from_0_no_more_often_than_the_interval_over_both_says():
    rng = np.random.default_rng(4)
    found = np.array([told_from_0(rng, 10) for _ in range(400)])
    assert found[:, 0].mean() <= 0.05
    # Either alone lacks the other's spread, and so do the two together.
    assert (found[:, 1] & found[:, 2]).mean() > 0.08


def test_an_interval_over_both_is_none_where_one_of_the_two_is():
    some, none = Interval(0.5, 0.4, 0.7), Interval(0.5, math.nan, math.nan)
    for pair in ((some, none), (none, some)):
        found = interval_over_both(*pair)
        assert (found.value, math.isnan(found.low), math.isnan(found.high)) == (0.5, True, True)
    found = interval_over_both(some, Interval(0.5, 0.2, 0.6))
    assert found.low == pytest.approx(0.5 - math.hypot(0.1, 0.3))
    assert found.high == pytest.approx(0.5 + math.hypot(0.2, 0.1))
