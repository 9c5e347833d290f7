"""Held against torchmetrics, and against sums that are written out."""

import math
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from evaluations import relunged, scan
from scipy import linalg
from torchmetrics.image.fid import FrechetInceptionDistance

from factory.evaluation.frechet import frechet_distance
from factory.evaluation.mmd import median_kernel, mmd_squared
from factory.evaluation.moments import Moments, merge
from factory.evaluation.paired import WINDOW
from jobs.evaluate.extractors import open_extractor

PIECE = 16
"""Voxels a side."""


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


def features_of_pieces(scans: list[np.ndarray], seed: int) -> np.ndarray:
    """Return the fixed extractor's features of more pieces of scans than there are features."""
    extract, rng = open_extractor(None, "cpu"), np.random.default_rng(seed)
    found = []
    for number in range(extract.num_features + 20):
        hu = scans[number % len(scans)]
        corner = [rng.integers(0, size - PIECE + 1) for size in hu.shape]
        piece = hu[tuple(slice(at, at + PIECE) for at in corner)]
        found.append(extract(WINDOW.encode(np.ascontiguousarray(piece))))
    return np.stack(found).astype(np.float64)


def read_scan(folder: Path, name: str) -> np.ndarray:
    """Return a real CT, (z, y, x) HU."""
    hu = np.asanyarray(nib.load(folder / "thorax" / f"{name}_ct.nii.gz").dataobj)
    return hu.transpose(2, 1, 0).astype(np.int16)


def test_so_it_is_of_pieces_of_real_scans(ct_dir: Path) -> None:
    sides = [["lctsc_000", "lctsc_001"], ["lctsc_002", "lidc_1011"]]
    one, other = (
        features_of_pieces([read_scan(ct_dir, name) for name in names], seed)
        for seed, names in enumerate(sides)
    )
    found = frechet_distance(Moments.of(one), Moments.of(other))
    assert found == pytest.approx(theirs(one, other), rel=1e-5)


def test_so_it_is_of_pieces_of_scans_and_of_drawn_ones() -> None:
    real = features_of_pieces([scan(seed).ct for seed in range(4)], seed=0)
    drawn = features_of_pieces([relunged(scan(seed), seed).ct for seed in range(4)], seed=1)
    found = frechet_distance(Moments.of(real), Moments.of(drawn))
    assert found == pytest.approx(theirs(real, drawn), rel=1e-5)


def test_of_volumes_fewer_than_features_it_is_that_of_the_volumes_inner_products(
    features: tuple[np.ndarray, np.ndarray],
) -> None:
    real, drawn = features
    assert len(real) < real.shape[1]
    found = frechet_distance(Moments.of(real), Moments.of(drawn))
    # The root's trace by scipy, of the small matrix of volumes by volumes, which is not singular.
    one, other = real - real.mean(0), drawn - drawn.mean(0)
    spread = (one**2).sum() + (other**2).sum() - 2 * linalg.svdvals(one @ other.T).sum()
    expected = ((real.mean(0) - drawn.mean(0)) ** 2).sum() + spread / (len(real) - 1)
    assert found == pytest.approx(expected, rel=1e-9)
    # torchmetrics takes the root through eigenvalues that are 0 but for rounding: of it, less is asked.
    assert found == pytest.approx(theirs(real, drawn), abs=1e-5 * (one**2).sum() / (len(real) - 1))


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
