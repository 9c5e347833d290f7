"""Held against torchmetrics, and against sums that are written out."""

import math

import numpy as np
import pytest
import torch
from evaluations import relunged, scan
from torchmetrics.image.fid import FrechetInceptionDistance

from factory.evaluation.frechet import frechet_distance
from factory.evaluation.mmd import median_kernel, mmd_squared
from factory.evaluation.moments import Moments, merge
from factory.evaluation.paired import WINDOW
from jobs.evaluate.extractors import open_extractor


class Passing(torch.nn.Module):
    """What torchmetrics takes for a network: it hands on features that are there."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return features


def theirs(real: np.ndarray, drawn: np.ndarray) -> float:
    metric = FrechetInceptionDistance(feature=Passing(real.shape[1]), normalize=True)
    metric.set_dtype(torch.float64)
    metric.update(torch.from_numpy(real), real=True)
    metric.update(torch.from_numpy(drawn), real=False)
    return float(metric.compute())


def normal(seed: int, count: int, size: int, shift: float = 0.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(shift, 1.0 + shift, (count, size))


@pytest.fixture(scope="module")
def features() -> tuple[np.ndarray, np.ndarray]:
    """Of the fixed extractor: eight real scans, and as many with other lungs."""
    extract = open_extractor(None, "cpu")
    real = [extract(WINDOW.encode(scan(seed).ct)) for seed in range(8)]
    drawn = [extract(WINDOW.encode(relunged(scan(seed), seed).ct)) for seed in range(8)]
    return np.stack(real).astype(np.float64), np.stack(drawn).astype(np.float64)


@pytest.mark.parametrize(("count", "size"), [(200, 16), (60, 48)])
def test_the_frechet_distance_is_that_of_torchmetrics(count: int, size: int) -> None:
    real, drawn = normal(0, count, size), normal(1, count - 7, size, shift=0.3)
    parts = merge([Moments.of(real[:20]), Moments.of(real[20:])])
    found = frechet_distance(parts, Moments.of(drawn))
    assert found == pytest.approx(theirs(real, drawn), rel=1e-5)


def test_so_it_is_of_the_features_of_volumes_fewer_than_features(
    features: tuple[np.ndarray, np.ndarray],
) -> None:
    real, drawn = features
    assert len(real) < real.shape[1]
    found = frechet_distance(Moments.of(real), Moments.of(drawn))
    # Of a singular covariance torchmetrics takes the root through eigenvalues that are 0 but for rounding.
    assert found == pytest.approx(theirs(real, drawn), rel=1e-3)


def test_the_discrepancy_of_volumes_is_the_double_sum_with_the_median_kernel(
    features: tuple[np.ndarray, np.ndarray],
) -> None:
    real, drawn = ([list(map(float, one)) for one in side] for side in features)

    def squared(one: list[float], other: list[float]) -> float:
        return math.fsum((x - y) ** 2 for x, y in zip(one, other, strict=True))

    pairs = sorted(squared(real[i], real[j]) for i in range(8) for j in range(i))
    median = (pairs[13] + pairs[14]) / 2
    total = 0.0
    for side in (real, drawn):
        within = [
            math.exp(-squared(side[i], side[j]) / median)
            for i in range(8)
            for j in range(8)
            if i != j
        ]
        total += math.fsum(within) / 56
    total -= 2 * math.fsum(math.exp(-squared(x, y) / median) for x in real for y in drawn) / 64
    kernel = median_kernel(features[0])
    assert mmd_squared(*features, kernel) == pytest.approx(total, rel=1e-9)
