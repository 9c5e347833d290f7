"""What many tests come to: means, spreads and differences of the same case, seed and fold."""

import math

import numpy as np
import pytest
from segmentation_scores import case, nodule, one_of, trial

from factory.segmentation.summary import differences, summarise


def test_means_and_spreads_are_over_the_tests_of_all_cases():
    trials = [
        trial(case("a", dice=0.2), case("b", dice=0.4), seed=0),
        trial(case("a", dice=0.4), case("b", dice=0.8), seed=1),
    ]
    found = one_of(summarise(trials), "dice")
    assert found.value == pytest.approx(0.45)
    assert found.sd == pytest.approx(np.std([0.2, 0.4, 0.4, 0.8], ddof=1))
    assert (found.n, found.num_tests, found.num_patients) == (2, 4, 2)
    assert found.of_seeds == pytest.approx((0.3, 0.6))
    assert math.isnan(found.over_folds.low)


def test_a_case_without_a_nodule_does_not_move_dice_whatever_is_predicted_in_it():
    ill = [case(f"p{i}", dice=0.5) for i in range(3)]
    clear = case("h", dice=math.nan, nodules=())
    false = case("h", dice=0.0, nodules=(), num_false=4, specificity=0.5)
    quiet, loud = summarise([trial(*ill, clear)]), summarise([trial(*ill, false)])
    for found in (quiet, loud):
        assert (one_of(found, "dice").value, one_of(found, "dice").n) == (0.5, 3)
        assert one_of(found, "specificity").n == 4
    assert one_of(loud, "false_per_scan").value == 1.0
    assert one_of(loud, "specificity").value < one_of(quiet, "specificity").value


def test_without_any_nodule_there_is_no_dice_and_no_error():
    found = summarise([trial(case("h", dice=math.nan, nodules=()))])
    assert {one.name for one in found} == {"specificity", "false_per_scan"}


def test_nodules_are_told_by_their_own_size_and_cases_by_their_largest():
    sizes = [nodule(5.0, 0.0), nodule(7.0, 0.5), nodule(20.0, 1.0)]
    found = summarise([trial(case("a", dice=0.6, nodules=sizes), case("b", dice=0.2))])
    assert one_of(found, "nodules_found", "<6 mm").value == 0.0
    assert one_of(found, "nodule_sensitivity", "6-8 mm").value == 0.5
    assert one_of(found, "nodules_found", "15-30 mm").value == 1.0
    assert one_of(found, "dice", "15-30 mm").value == 0.6
    assert one_of(found, "dice", "8-15 mm").value == 0.2
    assert not [one for one in found if (one.name, one.group) == ("dice", "<6 mm")]
    assert (one_of(found, "nodules_found").value, one_of(found, "nodules_found").n) == (0.75, 4)


def test_none_found_in_ten_patients_is_not_surely_none():
    cases = [case(f"p{i}", nodules=[nodule(4.0, 0.0)]) for i in range(10)]
    found = one_of(summarise([trial(*cases)]), "nodules_found")
    assert (found.value, found.over_patients.low) == (0.0, 0.0)
    assert 0.2 < found.over_patients.high < 0.4


def test_intervals_of_shares_stay_between_0_and_1():
    trials = [
        trial(*(case(f"p{i}", dice=value) for i in range(6)), seed=seed)
        for seed, value in enumerate((0.9, 1.0))
    ]
    found = one_of(summarise(trials), "dice")
    assert (found.over_seeds.low, found.over_seeds.high) == (pytest.approx(0.3147, abs=1e-3), 1.0)
    small = one_of(
        summarise([trial(case("a", num_false=9), seed=s) for s in (0, 1)]), "false_per_scan"
    )
    assert small.over_seeds.high == 9.0


def test_differences_are_of_the_same_case_seed_and_fold():
    before = [
        trial(case("a", dice=0.1), case("b", dice=0.7), seed=0),
        trial(case("a", dice=0.3), seed=1),
    ]
    after = [
        trial(case("a", dice=0.2), case("c", dice=0.9), seed=0),
        trial(case("a", dice=0.3), case("b", dice=0.9), seed=1),
        trial(case("a", dice=1.0), seed=2),
    ]
    found = one_of(differences(after, before), "dice")
    assert (found.value, found.num_tests, found.n) == (pytest.approx(0.05), 2, 1)


def test_a_gain_that_all_patients_share_is_told_from_0_though_patients_differ_much():
    base = np.linspace(0.0, 0.9, 12)
    before = [trial(*(case(f"p{i}", dice=one) for i, one in enumerate(base)))]
    shifted = base + 0.03 + np.random.default_rng(0).normal(0, 0.01, 12)
    after = [trial(*(case(f"p{i}", dice=one) for i, one in enumerate(shifted)))]
    found = one_of(differences(after, before), "dice").over_patients
    assert 0.0 < found.low < 0.03 < found.high < 0.05
    sides = [one_of(summarise(trials), "dice").over_patients for trials in (before, after)]
    assert sides[1].low < sides[0].high


def test_seeds_that_are_better_are_those_with_more_dice_and_fewer_false_pieces():
    before = [trial(case("a", dice=0.5, num_false=2), seed=seed) for seed in range(3)]
    after = [
        trial(case("a", dice=dice, num_false=number), seed=seed)
        for seed, (dice, number) in enumerate([(0.6, 3), (0.7, 1), (0.5, 0)])
    ]
    found = differences(after, before)
    assert one_of(found, "dice").num_seeds_better == 2
    assert one_of(found, "false_per_scan").num_seeds_better == 2
    assert one_of(found, "false_per_scan").value == pytest.approx(-2 / 3)


def test_a_seed_that_lacks_a_fold_has_no_mean_of_its_own():
    trials = [
        trial(case("a", dice=0.2), seed=0, fold=0),
        trial(case("b", dice=0.8), seed=0, fold=1),
        trial(case("a", dice=0.2), seed=1, fold=0),
    ]
    found = one_of(summarise(trials), "dice")
    assert found.of_seeds == (0.5,)
    assert math.isnan(found.over_seeds.low)
    assert (found.over_folds.low, found.over_folds.high) == (0.0, 1.0)


def test_a_seed_whose_baseline_lacks_a_fold_has_no_difference_of_its_own():
    after = [
        trial(case(f"p{fold}", dice=0.5), seed=seed, fold=fold)
        for seed in range(2)
        for fold in range(2)
    ]
    found = one_of(differences(after, after[:3]), "dice")
    assert (found.num_tests, found.of_seeds) == (3, (0.0,))


def test_the_order_of_trials_and_cases_does_not_matter():
    rng = np.random.default_rng(2)
    trials = [
        trial(*(case(f"p{i}", dice=rng.random()) for i in range(7)), seed=seed, fold=fold)
        for seed in range(2)
        for fold in range(2)
    ]
    turned = [trial(*one.cases[::-1], seed=one.seed, fold=one.fold) for one in trials[::-1]]
    assert repr(summarise(trials)) == repr(summarise(turned))
