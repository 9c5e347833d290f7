"""Distances between sets of features, held against other ways to compute them."""

import numpy as np
import pytest
from scipy.linalg import sqrtm

from factory.evaluation.frechet import frechet_distance
from factory.evaluation.mmd import GaussianKernel, median_kernel, mmd_squared
from factory.evaluation.moments import Moments, merge


def normal(seed, count, width=12, *, shift=0.0, scale=1.0):
    rng = np.random.default_rng(seed)
    mixing = np.random.default_rng(99).normal(size=(width, width))
    return shift + scale * rng.normal(size=(count, width)) @ mixing


def test_parts_in_any_order_give_the_moments_of_the_whole():
    features = normal(0, 90, shift=1e4)
    parts = [Moments.of(features[a:b]) for a, b in ((0, 1), (1, 40), (40, 90))]
    for order in ((0, 1, 2), (2, 0, 1), (1, 2, 0)):
        together = merge(parts[number] for number in order)
        assert together.count == 90
        np.testing.assert_allclose(together.mean, features.mean(axis=0), rtol=1e-12)
        np.testing.assert_allclose(together.covariance, np.cov(features.T), rtol=1e-8)


def test_features_that_are_no_numbers_or_no_vectors_are_refused():
    with pytest.raises(ValueError, match=r"a feature is NaN or infinite"):
        Moments.of(np.array([[1.0, np.nan]]))
    for shape in ((0, 3), (3, 0), (3,)):
        with pytest.raises(ValueError, match=r"expected \(n, d\)"):
            Moments.of(np.zeros(shape))
    with pytest.raises(ValueError, match=r"no moments to merge"):
        merge([])
    with pytest.raises(ValueError, match=r"12 and 3 features"):
        Moments.of(normal(0, 4)).merged(Moments.of(normal(0, 4, 3)))
    with pytest.raises(ValueError, match=r"covariance of 1 vector, expected two"):
        _ = Moments.of(normal(0, 1)).covariance


@pytest.mark.parametrize("count", [200, 8])
def test_the_frechet_distance_is_that_of_the_matrix_root(count):
    one, other = normal(1, count), normal(2, count, shift=0.3, scale=1.2)
    root = sqrtm(np.cov(one.T) @ np.cov(other.T) + (count < 12) * 1e-12 * np.eye(12))
    apart = one.mean(axis=0) - other.mean(axis=0)
    expected = apart @ apart + np.trace(np.cov(one.T) + np.cov(other.T) - 2 * root.real)
    found = frechet_distance(Moments.of(one), Moments.of(other))
    assert found == pytest.approx(expected, rel=1e-5)


def test_a_set_lies_at_no_distance_from_itself_also_with_fewer_vectors_than_features():
    for count in (4, 200):
        moments = Moments.of(normal(3, count))
        assert frechet_distance(moments, moments) == pytest.approx(0.0, abs=1e-9)


def test_the_frechet_distance_grows_with_noise():
    rng, real = np.random.default_rng(5), normal(4, 400)
    noisy = [real + level * rng.normal(size=real.shape) for level in (0.0, 0.5, 1.0, 2.0, 4.0)]
    distances = [frechet_distance(Moments.of(real), Moments.of(one)) for one in noisy]
    assert distances == sorted(distances)
    assert distances[0] < 1e-9 < distances[1]


def test_moments_of_other_features_have_no_distance():
    with pytest.raises(ValueError, match=r"12 and 5 features, expected one number"):
        frechet_distance(Moments.of(normal(0, 4)), Moments.of(normal(0, 4, 5)))


def test_the_discrepancy_is_the_mean_kernel_over_pairs_of_different_vectors():
    one, other, kernel = normal(6, 7, 3), normal(7, 5, 3, shift=0.5), GaussianKernel(2.0)

    def k(x, y):
        return np.exp(-((x - y) ** 2).sum() / 8.0)

    within = [
        np.mean([k(x, y) for i, x in enumerate(side) for j, y in enumerate(side) if i != j])
        for side in (one, other)
    ]
    between = np.mean([k(x, y) for x in one for y in other])
    assert mmd_squared(one, other, kernel) == pytest.approx(sum(within) - 2 * between, abs=1e-12)
    assert mmd_squared(other, one, kernel) == pytest.approx(sum(within) - 2 * between, abs=1e-12)


def test_the_discrepancy_of_halves_of_one_set_is_zero_on_average():
    found = []
    for seed in range(200):
        features = normal(seed, 40, 4)
        found.append(mmd_squared(features[:20], features[20:], GaussianKernel(3.0)))
    error = np.std(found) / np.sqrt(len(found))
    assert abs(np.mean(found)) < 3 * error
    # A biased estimate of the same draws: the diagonal alone lifts it by some 0.08.
    assert error < 0.005


def test_sets_larger_than_a_block_are_compared_whole():
    one, other, kernel = normal(8, 600, 2), normal(9, 300, 2, shift=1.0), GaussianKernel(1.0)
    squared = ((one[:, None] - other[None]) ** 2).sum(axis=-1)
    between = np.exp(-squared / 2).mean()
    within = [
        (np.exp(-((s[:, None] - s[None]) ** 2).sum(axis=-1) / 2).sum() - len(s))
        / (len(s) * (len(s) - 1))
        for s in (one, other)
    ]
    assert mmd_squared(one, other, kernel) == pytest.approx(sum(within) - 2 * between, abs=1e-10)


def test_the_bandwidth_is_the_median_of_the_real_set():
    line = np.array([[0.0], [1.0], [3.0]])
    kernel = median_kernel(line)
    assert 2 * kernel.sigma**2 == pytest.approx(4.0)
    assert str(kernel) == "Gaussian, sigma 1.41421"
    with pytest.raises(ValueError, match=r"4 vectors give no bandwidth"):
        median_kernel(np.ones((4, 2)))
    with pytest.raises(ValueError, match=r"1 vectors give no bandwidth"):
        median_kernel(np.ones((1, 2)))
    with pytest.raises(ValueError, match=r"sigma is 0\.0, expected a length above 0"):
        GaussianKernel(0.0)


def test_too_few_vectors_have_no_discrepancy():
    for one, other in (((1, 3), (4, 3)), ((4, 3), (4, 2))):
        with pytest.raises(ValueError, match=r"expected two or more vectors each, of one length"):
            mmd_squared(np.zeros(one), np.zeros(other), GaussianKernel(1.0))
