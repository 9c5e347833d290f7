import math

import numpy as np
import pytest

from factory.seam import mean_jump, seam_score

DRAWN = np.zeros((6, 6, 6), bool)
DRAWN[2:4, 2:4, 2:4] = True


def chest(lung_hu: int) -> np.ndarray:
    return np.where(DRAWN, lung_hu, 40).astype(np.int16)


def test_a_volume_like_its_reference_has_a_border_like_a_real_one() -> None:
    assert seam_score(chest(-860), chest(-860), DRAWN) == 1.0


@pytest.mark.parametrize(("lung_hu", "score"), [(-410, 0.5), (-1760, 2.0), (40, 0.0)])
def test_score_is_the_ratio_of_the_jumps_across_the_border(lung_hu: int, score: float) -> None:
    assert seam_score(chest(lung_hu), chest(-860), DRAWN) == pytest.approx(score)


def test_only_faces_of_the_border_count() -> None:
    noisy, reference = chest(-860), chest(-860)
    noisy[0, 0, 0] = reference[0, 0, 0] = 3000
    assert seam_score(noisy, reference, DRAWN) == 1.0
    inner = np.zeros((6, 6, 6), bool)
    inner[1:5, 1:5, 1:5] = True
    hu = np.where(inner, -860, 40).astype(np.int16)
    changed = hu.copy()
    changed[2:4, 2:4, 2:4] = 500
    assert seam_score(changed, hu, inner) == 1.0


def test_jumps_beyond_16_bits_do_not_wrap() -> None:
    low = np.where(DRAWN, -20000, 20000).astype(np.int16)
    assert seam_score(low, chest(-860), DRAWN) == pytest.approx(40000 / 900)


@pytest.mark.parametrize("drawn", [np.zeros((6, 6, 6), bool), np.ones((6, 6, 6), bool)])
def test_without_a_border_there_is_no_score(drawn: np.ndarray) -> None:
    assert math.isnan(seam_score(chest(-860), chest(-860), drawn))


def test_the_mean_jump_is_in_hu_and_none_without_a_border() -> None:
    assert mean_jump(chest(-860), DRAWN) == 900.0
    assert math.isnan(mean_jump(chest(-860), np.zeros_like(DRAWN)))
