"""Distances through the extractor that ships grow with what is wrong with the lungs."""

from functools import cache
from itertools import pairwise

import numpy as np
import pytest
from evaluations import scan
from scipy import ndimage

from factory.evaluation.frechet import frechet_distance
from factory.evaluation.lung_box import lungs_alone
from factory.evaluation.mmd import median_kernel, mmd_squared
from factory.evaluation.moments import Moments
from factory.evaluation.paired import WINDOW
from factory.layouts import BACKGROUND
from jobs.evaluate.extractors import open_extractor

SEEDS = range(10)
AMOUNTS = (0.0, 0.5, 1.0, 2.0)


@cache
def features(way: str, much: float, *, lungs: bool):
    extract = open_extractor(None, "cpu")
    found = []
    for seed in SEEDS:
        volume = scan(seed)
        units = WINDOW.encode(spoilt(way, much, seed))
        alone = lungs_alone(units, volume.layout) if lungs else units
        found.append(extract(alone))
    return np.stack(found)


def spoilt(way: str, much: float, seed: int):
    volume, rng = scan(seed), np.random.default_rng(seed)
    drawn, hu = volume.layout != BACKGROUND, volume.ct.astype(float)
    if way == "noise":
        made = hu + rng.normal(0, 100 * much, hu.shape)
    elif way == "blur":
        made = ndimage.gaussian_filter(hu, much)
    else:
        made = hu + 150 * much * (drawn & ~ndimage.binary_erosion(drawn))
    return np.rint(np.where(drawn, made, hu)).astype(np.int16)


@pytest.mark.parametrize("lungs", [True, False])
@pytest.mark.parametrize("way", ["noise", "blur", "seam"])
def test_the_frechet_distance_grows_with_noise_blur_and_a_seam(way: str, lungs: bool) -> None:
    real = Moments.of(features("noise", 0.0, lungs=lungs))
    found = [
        frechet_distance(real, Moments.of(features(way, much, lungs=lungs))) for much in AMOUNTS
    ]
    assert found[0] == pytest.approx(0.0, abs=1e-6)
    assert found[1] > 1e-4
    assert all(more > 1.2 * less for less, more in pairwise(found))


@pytest.mark.parametrize("way", ["noise", "blur", "seam"])
def test_the_discrepancy_sees_what_is_plainly_wrong(way: str) -> None:
    real = features("noise", 0.0, lungs=True)
    found = mmd_squared(real, features(way, 2.0, lungs=True), median_kernel(real))
    assert found > 0.1


def test_what_is_outside_the_lungs_does_not_reach_their_features() -> None:
    volume, extract = scan(0), open_extractor(None, "cpu")
    outside = np.where(volume.layout == BACKGROUND, volume.ct + 200, volume.ct).astype(np.int16)
    one, other = (
        extract(lungs_alone(WINDOW.encode(hu), volume.layout)) for hu in (volume.ct, outside)
    )
    assert np.array_equal(one, other)
