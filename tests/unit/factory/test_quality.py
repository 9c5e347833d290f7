import dataclasses

import numpy as np
import pytest

from factory.intensity import HuWindow, Scale, SliceRanges
from factory.quality import (
    LUNG_MEDIAN_HU,
    MAX_SATURATED_FRACTION,
    MIN_CHANGED_FRACTION,
    Quality,
    assess,
)

GOOD = Quality(
    background_equal=True,
    changed_fraction=0.98,
    lung_median_hu=-850.0,
    reference_lung_median_hu=-840.0,
    saturated_fraction=0.001,
)
BELOW, ABOVE = -np.inf, np.inf


def verdict_of(**figures: float | bool) -> str:
    return dataclasses.replace(GOOD, **figures).verdict


def test_a_good_volume_is_accepted():
    assert GOOD.verdict == "accept"


def test_one_changed_voxel_of_background_rejects_a_volume():
    assert verdict_of(background_equal=False) == "reject"


def test_a_volume_that_repeats_its_reference_is_rejected_below_half():
    assert verdict_of(changed_fraction=MIN_CHANGED_FRACTION) == "accept"
    assert verdict_of(changed_fraction=np.nextafter(MIN_CHANGED_FRACTION, BELOW)) == "reject"


def test_an_unlikely_lung_is_reviewed_beyond_either_border_of_its_median():
    low, high = LUNG_MEDIAN_HU
    assert (low, high) == (-1088.6, -366.95)
    assert [verdict_of(lung_median_hu=hu) for hu in (low, high)] == ["accept", "accept"]
    assert verdict_of(lung_median_hu=np.nextafter(low, BELOW)) == "review"
    assert verdict_of(lung_median_hu=np.nextafter(high, ABOVE)) == "review"


def test_a_saturated_volume_is_reviewed_above_a_quarter():
    assert verdict_of(saturated_fraction=MAX_SATURATED_FRACTION) == "accept"
    assert verdict_of(saturated_fraction=np.nextafter(MAX_SATURATED_FRACTION, ABOVE)) == "review"


def test_a_broken_volume_is_rejected_and_not_merely_reviewed():
    assert verdict_of(background_equal=False, saturated_fraction=0.9) == "reject"


def test_a_lung_that_is_no_number_is_reviewed():
    assert verdict_of(lung_median_hu=float("nan")) == "review"


def test_the_manifest_gets_every_figure_and_the_verdict():
    assert GOOD.as_columns() == {
        "qc_background_equal": True,
        "qc_changed_fraction": 0.98,
        "qc_lung_median_hu": -850.0,
        "qc_reference_lung_median_hu": -840.0,
        "qc_saturated_fraction": 0.001,
        "qc_verdict": "accept",
    }


def volumes() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A synthetic row of eight voxels, its reference and the layout."""
    layout = np.array([[[0, 0, 1, 1, 1, 1, 2, 2]]], np.uint8)
    reference = np.array([[[40, 3000, -800, -810, -820, -830, 30, 40]]], np.int16)
    synthetic = np.array([[[40, 3000, -800, -900, -910, -1024, 600, 50]]], np.int16)
    return synthetic, reference, layout


def assessed(scale: Scale, **changes: np.ndarray) -> Quality:
    synthetic, reference, layout = volumes()
    given = {"drawn": layout != 0, "synthetic_hu": synthetic, "layout": layout} | changes
    return assess(reference_hu=reference, scale=scale, **given)


def test_figures_are_measured_where_they_belong():
    quality = assessed(HuWindow())
    assert quality.background_equal
    # Of six voxels of the layout, five differ and two lie at the window's ends.
    assert quality.changed_fraction == pytest.approx(5 / 6)
    assert quality.saturated_fraction == pytest.approx(2 / 6)
    # The nodule does not count as lung.
    assert quality.lung_median_hu == -905.0
    assert quality.reference_lung_median_hu == -815.0
    assert quality.verdict == "review"


def test_one_voxel_of_background_is_noticed():
    synthetic, _, _ = volumes()
    synthetic[0, 0, 1] = 2999
    assert not assessed(HuWindow(), synthetic_hu=synthetic).background_equal


def test_saturation_is_counted_at_the_ends_of_the_models_own_scale():
    assert assessed(HuWindow(-900.0, 50.0)).saturated_fraction == pytest.approx(2 / 6)
    assert assessed(HuWindow(-1000.0, 400.0)).saturated_fraction == 0.0
    ends_of_the_slice = SliceRanges(np.int16([-800]), np.int16([3000]))
    assert assessed(ends_of_the_slice).saturated_fraction == pytest.approx(1 / 6)


def test_where_nodules_alone_are_drawn_the_lungs_are_background():
    synthetic, reference, layout = volumes()
    nodules = layout == 2
    assert not assessed(HuWindow(), drawn=nodules).background_equal

    synthetic[~nodules] = reference[~nodules]
    quality = assessed(HuWindow(), drawn=nodules, synthetic_hu=synthetic)
    assert quality.background_equal
    assert (quality.changed_fraction, quality.saturated_fraction) == (1.0, 0.5)
    assert quality.lung_median_hu == quality.reference_lung_median_hu == -815.0


def test_a_layout_without_lungs_has_no_median_and_is_reviewed():
    _, _, layout = volumes()
    quality = assessed(HuWindow(), layout=np.where(layout == 1, 2, layout).astype(np.uint8))
    assert np.isnan([quality.lung_median_hu, quality.reference_lung_median_hu]).all()
    assert quality.verdict == "review"


def test_the_reference_itself_is_rejected():
    _, reference, _ = volumes()
    quality = assessed(HuWindow(), synthetic_hu=reference)
    assert quality.changed_fraction == 0.0
    assert quality.verdict == "reject"
