import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage
from support import patient_1011

from factory.case import Case
from factory.ingest.prepare import IngestConfig
from factory.layouts import LUNG, NODULE
from factory.likeness import Likeness, likeness

NODULE_AT = (slice(6, 8),) * 3


def layout_of(*, nodule: bool = True) -> np.ndarray:
    """A lung of 12^3 in 16^3, with a nodule of 2^3 inside."""
    layout = np.zeros((16, 16, 16), np.uint8)
    layout[2:14, 2:14, 2:14] = LUNG
    if nodule:
        layout[NODULE_AT] = NODULE
    return layout


def chest(lung_hu: int = -850, nodule_hu: int = -50, *, wall_hu: int = 40) -> np.ndarray:
    return np.array([wall_hu, lung_hu, nodule_hu], np.int16)[layout_of()]


def textured(spread_hu: float, *, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, spread_hu, (16, 16, 16))
    return np.where(layout_of() == LUNG, chest() + noise, chest()).astype(np.int16)


def test_a_scan_beside_itself_has_no_error_and_the_reference_s_own_figures() -> None:
    hu = textured(60)
    found = likeness(hu, hu, layout_of())
    assert (found.lung_mse, found.volume_mse, found.lung_rmse_hu) == (0.0, 0.0, 0.0)
    assert found.lung_histogram_distance_hu == 0.0
    assert (found.seam_score, found.texture) == (1.0, 1.0)
    assert found.nodule_contrast_hu == found.reference_nodule_contrast_hu
    assert found.border_jump_hu == found.reference_border_jump_hu


def test_an_error_of_81_hu_in_the_lungs_is_a_tenth_of_the_window_s_half() -> None:
    synthetic = np.where(layout_of() == 0, chest(), chest() + 81).astype(np.int16)
    found = likeness(synthetic, chest(), layout_of())
    assert found.lung_mse == pytest.approx((81 / 812) ** 2, rel=1e-5)
    assert found.lung_rmse_hu == pytest.approx(81, rel=1e-5)
    # 12^3 of 16^3 voxels are lung or nodule; the others are the reference's own.
    assert found.volume_mse == pytest.approx((81 / 812) ** 2 * 12**3 / 16**3, rel=1e-5)


def test_nodules_count_in_the_error_as_lung_does() -> None:
    found = likeness(chest(nodule_hu=-131), chest(), layout_of())
    assert found.lung_mse == pytest.approx((81 / 812) ** 2 * 2**3 / 12**3, rel=1e-5)
    assert found.lung_histogram_distance_hu == 0.0


def test_what_lies_beyond_the_window_is_no_error() -> None:
    found = likeness(chest(nodule_hu=3000), chest(nodule_hu=700), layout_of())
    assert found.lung_mse == 0.0
    wide = likeness(chest(nodule_hu=3000), chest(nodule_hu=700), layout_of(), hu_window=(-1e3, 3e3))
    assert wide.lung_mse == pytest.approx((2300 / 2000) ** 2 * 2**3 / 12**3, rel=1e-5)
    assert wide.lung_rmse_hu == pytest.approx(2300 * math.sqrt(2**3 / 12**3), rel=1e-5)


def test_a_flat_lung_is_the_baseline_that_unrelated_lungs_have_twice() -> None:
    reference, layout = textured(60), layout_of(nodule=False)
    reference[NODULE_AT] = -850
    flat = np.where(layout == LUNG, np.median(reference[layout == LUNG]), reference)
    found = likeness(flat.astype(np.int16), reference, layout)
    assert found.lung_mse == pytest.approx(found.flat_lung_mse, rel=1e-5)
    assert found.flat_lung_mse == pytest.approx((60 / 812) ** 2, rel=0.1)
    unrelated = textured(60, seed=1)
    unrelated[NODULE_AT] = -850
    other = likeness(unrelated, reference, layout)
    assert other.lung_mse == pytest.approx(2 * other.flat_lung_mse, rel=0.1)


def test_a_flat_lung_has_the_reference_s_lung_and_no_nodule() -> None:
    layout = layout_of()
    layout[3:13, 3:13, 3:13] = NODULE
    reference = np.array([40, -850, -50], np.int16)[layout]
    found = likeness(chest(lung_hu=-700), reference, layout)
    assert found.flat_lung_mse == pytest.approx((800 / 812) ** 2 * 10**3 / 12**3, rel=1e-5)


def test_histograms_lie_apart_by_the_hu_that_all_lung_is_denser() -> None:
    found = likeness(chest(lung_hu=-810, nodule_hu=400), chest(), layout_of())
    assert found.lung_histogram_distance_hu == pytest.approx(40)


def test_contrast_is_of_the_same_voxels_in_both() -> None:
    found = likeness(chest(nodule_hu=-250), chest(), layout_of())
    assert (found.nodule_contrast_hu, found.reference_nodule_contrast_hu) == (600.0, 800.0)


def test_a_nodule_that_was_placed_has_no_contrast_in_the_reference() -> None:
    found = likeness(chest(), chest(nodule_hu=-850), layout_of())
    assert (found.nodule_contrast_hu, found.reference_nodule_contrast_hu) == (800.0, 0.0)


def around(low: int, high: int) -> np.ndarray:
    """Indices of the voxels more than `low` and up to `high` voxels away from the nodule."""
    away = ndimage.distance_transform_cdt(layout_of() != NODULE, metric="chessboard")
    return np.flatnonzero((away > low) & (away <= high))


def test_contrast_is_with_the_lung_two_and_three_voxels_around() -> None:
    hu = chest(lung_hu=-700)
    hu.flat[around(1, 2)] = -800
    hu.flat[around(2, 3)] = -900
    assert len(around(2, 3)) > len(around(1, 2))
    assert likeness(hu, chest(), layout_of()).nodule_contrast_hu == 850.0


def test_lung_that_touches_a_nodule_is_partly_nodule_and_does_not_count() -> None:
    hu, touching, shell = chest(), around(0, 1), around(1, 3)
    most = len(shell) // 2 + 5
    hu.flat[shell[:most]], hu.flat[shell[most:]], hu.flat[touching] = -900, -800, -400
    # With them, -900 would be less than half of the voxels.
    assert most < (len(shell) + len(touching)) / 2
    assert likeness(hu, chest(), layout_of()).nodule_contrast_hu == 850.0


def test_without_nodules_there_is_no_contrast() -> None:
    found = likeness(chest(), chest(), layout_of(nodule=False))
    assert math.isnan(found.nodule_contrast_hu)
    assert math.isnan(found.reference_nodule_contrast_hu)


def test_a_nodule_with_no_lung_around_has_no_contrast() -> None:
    layout = np.zeros((16, 16, 16), np.uint8)
    layout[0:2, 0:2, 0:2] = NODULE
    layout[8:14, 8:14, 8:14] = LUNG
    assert math.isnan(likeness(chest(), chest(), layout).nodule_contrast_hu)


def test_jumps_across_the_border_are_told_in_hu() -> None:
    found = likeness(chest(lung_hu=-405), chest(lung_hu=-850), layout_of())
    assert (found.border_jump_hu, found.reference_border_jump_hu) == (445.0, 890.0)
    assert found.seam_score == pytest.approx(0.5)


def test_texture_tells_noise_from_blur() -> None:
    reference = textured(60)
    noisy = textured(120)
    blurred = np.where(layout_of() == LUNG, -850 + (reference + 850) // 4, reference)
    assert likeness(noisy, reference, layout_of()).texture == pytest.approx(2.0, rel=0.01)
    found = likeness(blurred.astype(np.int16), reference, layout_of())
    assert found.texture == pytest.approx(0.25, rel=0.05)


def test_texture_is_of_lung_that_touches_neither_wall_nor_nodule() -> None:
    reference, changed = textured(60), textured(60)
    changed[layout_of() != LUNG] = 3000
    assert likeness(changed, reference, layout_of()).texture == 1.0


def test_texture_does_not_know_a_gradient_that_the_reference_lacks() -> None:
    reference = textured(60)
    slope = np.where(layout_of() == LUNG, 20 * np.arange(16), 0)
    found = likeness((reference + slope).astype(np.int16), reference, layout_of())
    assert found.texture == pytest.approx(1.0)


@pytest.mark.parametrize("lung", ["thin", "flat"])
def test_a_lung_that_has_no_texture_has_no_ratio_of_it(lung: str) -> None:
    layout = np.where(np.arange(16) < 2, layout_of(), 0) if lung == "thin" else layout_of()
    layout = layout.astype(np.uint8)
    layout[2, 2, 2] = LUNG
    assert math.isnan(likeness(textured(60), chest(), layout).texture)


def test_another_shape_and_a_layout_without_lung_are_refused() -> None:
    with pytest.raises(ValueError, match=r"synthetic \(16, 16, 16\), reference \(8, 16, 16\)"):
        likeness(chest(), chest()[:8], layout_of())
    with pytest.raises(ValueError, match="with 0 lung voxels; expected one"):
        likeness(chest(), chest(), np.zeros((16, 16, 16), np.uint8))


@pytest.fixture(scope="module")
def real_case(ct_dir: Path) -> Case:
    """A patient with nodules of 5 to 23 mm, on a grid of 64^3 over the lungs."""
    return patient_1011(ct_dir, IngestConfig(grid=64))


def redrawn(case: Case, drawn_hu: np.ndarray) -> Likeness:
    """Return how a real case compares with itself after other HU were put into its lungs."""
    hu = np.where(case.layout == 0, case.ct, np.clip(np.rint(drawn_hu), -1024, 600))
    return likeness(hu.astype(np.int16), case.ct, case.layout)


def test_each_way_to_spoil_a_real_lung_shows_in_a_figure(real_case: Case) -> None:
    ct, rng = real_case.ct.astype(float), np.random.default_rng(0)
    lung = real_case.layout == LUNG
    shuffled = ct.copy()
    shuffled[lung] = rng.permutation(ct[lung])
    ways = {
        "flat": redrawn(real_case, np.full(ct.shape, np.median(ct[lung]))),
        "blurred": redrawn(real_case, ndimage.gaussian_filter(ct, 1.0)),
        "noisy": redrawn(real_case, ct + rng.normal(0, 100, ct.shape)),
        "shuffled": redrawn(real_case, shuffled),
    }
    real = redrawn(real_case, ct)
    assert (
        real.reference_nodule_contrast_hu == real.nodule_contrast_hu == pytest.approx(500, abs=50)
    )
    assert ways["flat"].texture == 0.0
    assert ways["flat"].nodule_contrast_hu == 0.0
    assert ways["blurred"].texture < 0.5
    assert ways["blurred"].seam_score < 0.8
    assert ways["blurred"].nodule_contrast_hu < 300
    # By the error alone, all three would be better than lungs that are merely somebody else's.
    assert ways["noisy"].lung_mse < ways["blurred"].lung_mse < ways["flat"].lung_mse
    assert ways["noisy"].texture > 1.3
    assert ways["shuffled"].lung_histogram_distance_hu == 0.0
    assert ways["shuffled"].texture > 1.4
    assert ways["shuffled"].seam_score > 1.2
    assert ways["shuffled"].lung_mse > 1.5 * ways["shuffled"].flat_lung_mse


def test_every_figure_of_a_real_case_is_a_number(real_case: Case) -> None:
    found = likeness(real_case.ct, real_case.ct, real_case.layout)
    assert np.isfinite(list(dataclasses.asdict(found).values())).all()
