"""A generator that copies is told from one that does not; every figure has its interval."""

import numpy as np
import pytest
from scipy import stats

from factory.evaluation.memorisation import membership_auc, nearest, share_closer_to_training


def normal(seed, count, width=6):
    return np.random.default_rng(seed).normal(size=(count, width))


TRAINING, HELD_OUT = normal(1, 60), normal(2, 60)
COPIES = TRAINING[np.arange(300) % 60] + 0.05 * normal(3, 300)
FRESH = normal(4, 300)


def auc(synthetic):
    return membership_auc(*(nearest(side, synthetic).distance for side in (TRAINING, HELD_OUT)))


def test_the_nearest_is_found_with_its_distance_and_how_alone_it_is():
    found = nearest(np.array([[0.0, 0.0], [10.0, 0.0]]), np.array([[0.0, 1.0], [3.0, 4.0]]))
    assert found.index.tolist() == [0, 1]
    np.testing.assert_allclose(found.distance, [1.0, np.hypot(7, 4)])
    np.testing.assert_allclose(found.ratio, [0.2, np.hypot(7, 4) / np.hypot(10, 1)])


def test_one_reference_alone_and_two_copies_have_no_ratio():
    assert np.isnan(nearest(np.ones((1, 2)), np.zeros((1, 2))).ratio).all()
    assert np.isnan(nearest(np.ones((1, 2)), np.ones((2, 2))).ratio).all()


def test_neighbours_of_more_than_a_block_are_those_of_each_alone():
    queries, references = normal(5, 700), normal(6, 30)
    found = nearest(queries, references)
    for number in (0, 255, 256, 699):
        distances = np.linalg.norm(references - queries[number], axis=1)
        assert found.index[number] == distances.argmin()
        assert found.distance[number] == pytest.approx(distances.min())
        first, second = np.sort(distances)[:2]
        assert found.ratio[number] == pytest.approx(first / second)


def test_copies_betray_who_was_trained_on_and_fresh_volumes_do_not():
    copied, fresh = auc(COPIES), auc(FRESH)
    assert copied.low > 0.95
    assert fresh.low < 0.5 < fresh.high
    assert 0.4 < fresh.value < 0.6


def test_copies_lie_closer_to_training_and_fresh_volumes_lie_evenly():
    copied = share_closer_to_training(COPIES, TRAINING, HELD_OUT)
    fresh = share_closer_to_training(FRESH, TRAINING, HELD_OUT)
    assert (copied.value, copied.low > 0.85) == (1.0, True)
    assert fresh.low < 0.5 < fresh.high


def test_a_larger_training_set_is_not_nearer_by_its_size():
    many = normal(7, 600)
    share = share_closer_to_training(FRESH, many, HELD_OUT)
    assert share.low < 0.5 < share.high


def test_a_tie_speaks_for_neither_side():
    same = np.zeros((4, 2))
    assert share_closer_to_training(np.ones((10, 2)), same, same).value == 0.5
    assert membership_auc(np.zeros(5), np.zeros(7)).value == 0.5


def test_the_area_is_that_of_the_rank_test():
    inside, outside = normal(8, 30, 1).ravel(), normal(9, 20, 1).ravel() + 0.4
    expected = stats.mannwhitneyu(-inside, -outside).statistic / (30 * 20)
    assert membership_auc(inside, outside).value == pytest.approx(expected)


def test_the_intervals_of_share_and_area_cover_what_is_true_in_95_of_100():
    covered = np.zeros(2)
    for seed in range(200):
        rng = np.random.default_rng(seed)
        area = membership_auc(rng.normal(size=40), rng.normal(size=40) + 1.0)
        # Of two normal variables a standard deviation apart.
        covered[0] += area.low < stats.norm.cdf(1 / np.sqrt(2)) < area.high
        share = share_closer_to_training(*(rng.normal(size=(n, 3)) for n in (100, 40, 40)))
        covered[1] += share.low < 0.5 < share.high
    assert (covered >= 0.90 * 200).all()


def test_nothing_has_no_figure():
    with pytest.raises(ValueError, match=r"0 training and 3 held-out volumes"):
        membership_auc(np.zeros(0), np.zeros(3))
    with pytest.raises(ValueError, match=r"expected one or more references"):
        nearest(np.zeros((2, 3)), np.zeros((0, 3)))
    with pytest.raises(ValueError, match=r"0 synthetic, 60 training and 60 held-out"):
        share_closer_to_training(np.zeros((0, 6)), TRAINING, HELD_OUT)


def test_half_lie_closer_to_training_where_nothing_is_copied_with_the_donors_left_out() -> None:
    """Of three training volumes two are left: with three held-out ones against them it would be 0.4."""
    shares = []
    for seed in range(300):
        rng = np.random.default_rng(seed)
        synthetic, training, held_out = (rng.normal(size=(count, 8)) for count in (12, 3, 3))
        names = [f"{number % 3}" for number in range(12)], ["0", "1", "2"]
        found = share_closer_to_training(synthetic, training, held_out, apart=names, seed=seed)
        shares.append(found.value)

    assert np.mean(shares) == pytest.approx(0.5, abs=0.04)
