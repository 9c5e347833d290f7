"""Lungs of whole sets are compared by their HU, whoever each volume was drawn into."""

import numpy as np
import pytest
from scipy.stats import wasserstein_distance

from factory.evaluation.histograms import NUM_BINS, histogram_distance, lung_histogram
from factory.evaluation.set_distances import distance_over_folds
from factory.layouts import BACKGROUND, LUNG, NODULE


def lungs(values):
    ct = np.asarray(values, np.int16).reshape(1, 1, -1)
    return lung_histogram(ct, np.full(ct.shape, LUNG, np.uint8))


def test_the_distance_is_scipys_wasserstein_of_the_voxels():
    rng = np.random.default_rng(0)
    one, other = (
        np.clip(rng.normal(mean, spread, 4000).astype(int), -1024, 600)
        for mean, spread in ((-850, 60), (-790, 90))
    )
    found = histogram_distance(lungs(one)[None], lungs(other)[None])
    assert found == pytest.approx(wasserstein_distance(one, other), abs=1e-3)


def test_lung_voxels_alone_count_and_what_is_beyond_the_window_counts_at_its_ends():
    ct = np.array([[[-3000, -1024, -1023, 600, 3071, 40, 50]]], np.int16)
    layout = np.array([[[LUNG] * 5 + [NODULE, BACKGROUND]]], np.uint8)
    found = lung_histogram(ct, layout)
    assert {int(i): round(float(found[i]), 6) for i in np.flatnonzero(found)} == {
        0: 0.4,
        1: 0.2,
        NUM_BINS - 1: 0.4,
    }
    assert not lung_histogram(ct, np.zeros_like(layout)).any()


def test_each_volume_counts_alike_however_large_its_lungs_are():
    small, large = lungs([-800] * 2), lungs([-900] * 998)
    same = lungs([-850])
    assert histogram_distance(np.stack([small, large]), same[None]) == pytest.approx(50.0, rel=1e-5)


def test_a_set_whose_lungs_are_denser_lies_as_far_off_as_they_are():
    rng = np.random.default_rng(1)
    real = np.stack([lungs(rng.normal(-850, 50, 500).astype(int)) for _ in range(12)])
    drawn = np.stack([lungs(rng.normal(-820, 50, 500).astype(int)) for _ in range(12)])
    folds = np.arange(12) % 4
    found = distance_over_folds(real, drawn, folds, folds, histogram_distance)
    assert found.value == pytest.approx(30.0, abs=2.0)
    assert found.low < 30.0 < found.high
    assert histogram_distance(real, real) == 0.0
