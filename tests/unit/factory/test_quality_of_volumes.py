"""What quality control sees in volumes: good ones, and each way to spoil one."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import ndimage
from support import patient_1011

from factory.case import Case
from factory.ingest.prepare import IngestConfig
from factory.intensity import HuWindow, Scale, SliceRanges
from factory.layouts import BACKGROUND, LUNG, NODULE
from factory.preprocessing import NotFiniteError, Preprocessing
from factory.quality import Quality, QualityLimits, assess

WALL_HU, LUNG_HU, NODULE_HU = 40, -850, -50


def layout_of() -> np.ndarray:
    """A lung of 16^3 in 24^3, with a nodule of 3^3 inside."""
    layout = np.zeros((24, 24, 24), np.uint8)
    layout[4:20, 4:20, 4:20] = LUNG
    layout[10:13, 10:13, 10:13] = NODULE
    return layout


def scan(seed: int, *, nodule_hu: int = NODULE_HU) -> np.ndarray:
    """A chest whose lungs have a texture of 60 HU; that of another seed has other lungs."""
    hu = np.array([WALL_HU, LUNG_HU, nodule_hu], np.int16)[layout_of()]
    texture = np.random.default_rng(seed).normal(0, 60, hu.shape)
    return np.where(layout_of() == BACKGROUND, hu, hu + texture).astype(np.int16)


def judged(synthetic: np.ndarray, reference: np.ndarray | None = None, **given: Any) -> Quality:
    layout = layout_of()
    reference = scan(0) if reference is None else reference
    settings: dict[str, Any] = {"annotated": True} | given
    return assess(synthetic, reference, layout, layout != BACKGROUND, HuWindow(), **settings)


@pytest.mark.parametrize("seed", range(1, 6))
def test_other_lungs_of_the_same_kind_are_accepted(seed: int) -> None:
    assert judged(scan(seed)).reasons == ()


def test_the_reference_itself_is_rejected_as_hardly_changed() -> None:
    copy = judged(scan(0))
    assert copy.verdict == "reject"
    assert copy.reasons == (
        "share of drawn voxels unlike the reference is 0, expected at least 0.5",
    )


@pytest.mark.parametrize("error_hu", [-1, 1, 2000])
def test_one_voxel_of_background_that_is_one_hu_off_rejects_a_good_volume(error_hu: int) -> None:
    off = scan(1)
    off[23, 0, 23] += error_hu
    assert judged(off).verdict == "reject"
    assert judged(off).reasons == ("background has 1 voxel unlike the reference, expected none",)


def test_a_difference_that_int16_cannot_hold_is_one() -> None:
    reference, off = scan(0), scan(1)
    reference[0, 0, 0], off[0, 0, 0] = -32768, 32767
    assert judged(off, reference).background_changed == 1


@pytest.mark.parametrize("end_hu", [-1024, 600])
def test_lungs_at_the_end_of_the_window_are_doubted(end_hu: int) -> None:
    quality = judged(np.where(layout_of() == LUNG, end_hu, scan(1)).astype(np.int16))
    assert quality.verdict == ("reject" if end_hu == 600 else "review")
    assert any("at the scale's ends is 0.99" in reason for reason in quality.reasons)


def test_lungs_of_soft_tissue_are_rejected() -> None:
    quality = judged(np.where(layout_of() == LUNG, scan(1) + 900, scan(1)).astype(np.int16))
    assert quality.verdict == "reject"
    assert quality.lung_median_hu == pytest.approx(50, abs=5)
    assert quality.reasons[0].startswith("lung median is ")


def test_lungs_as_dense_as_no_neighbour_s_are_reviewed() -> None:
    denser = np.where(layout_of() == LUNG, scan(1) + 150, scan(1)).astype(np.int16)
    quality = judged(denser)
    assert quality.verdict == "review"
    (reason,) = quality.reasons
    assert reason.startswith("distance of the lung median from the reference's is 14")


@pytest.mark.parametrize(("factor", "verdict"), [(0.0, "review"), (0.9, "accept"), (3, "review")])
def test_lungs_without_a_vessel_and_lungs_of_noise_are_reviewed(
    factor: float, verdict: str
) -> None:
    lungs = LUNG_HU + factor * (scan(1).astype(float) - LUNG_HU)
    quality = judged(np.where(layout_of() == LUNG, np.rint(lungs), scan(1)).astype(np.int16))
    assert quality.verdict == verdict
    assert any("interquartile range" in reason for reason in quality.reasons) == (
        verdict == "review"
    )


def test_a_bright_rim_at_the_border_of_the_lungs_is_reviewed() -> None:
    layout, hu = layout_of(), scan(1)
    inner = ndimage.binary_erosion(layout != BACKGROUND)
    hu[(layout == LUNG) & ~inner] += 2700
    quality = judged(hu)
    assert quality.verdict == "review"
    assert [reason for reason in quality.reasons if reason.startswith("seam score is 2.")]


def test_nodules_that_are_not_there_are_reviewed() -> None:
    placed = judged(scan(1, nodule_hu=LUNG_HU), scan(0, nodule_hu=LUNG_HU), annotated=False)
    assert placed.verdict == "review"
    assert placed.reasons[0].startswith("nodule contrast is ")
    assert placed.reasons[0].endswith("expected at least 100 HU")
    own = judged(scan(1, nodule_hu=LUNG_HU))
    assert own.verdict == "review"
    assert own.reasons[0].startswith("nodule contrast is ")


def test_placed_nodules_are_not_compared_with_the_lung_that_the_reference_has_there() -> None:
    quality = judged(scan(1), scan(0, nodule_hu=LUNG_HU), annotated=False)
    assert quality.nodule_contrast_hu == pytest.approx(800, abs=40)
    assert math.isnan(quality.reference_nodule_contrast_hu)
    assert quality.verdict == "accept"


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("scaling", ["window", "slices"])
def test_a_voxel_that_is_no_number_never_becomes_one(wrong: float, scaling: str) -> None:
    window = (-1024.0, 600.0) if scaling == "window" else None
    given = Preprocessing(scaling=scaling, hu_window=window).feed(scan(0), layout_of())
    x_0 = given.x_known.copy()
    x_0[0, 11, 11, 11] = wrong
    with pytest.raises(NotFiniteError, match=r"found 1 voxel with NaN or infinity; expected"):
        given.decode(x_0)


def row_of_voxels() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A synthetic row of eight voxels, its reference and the layout."""
    layout = np.array([[[0, 0, 1, 1, 1, 1, 2, 2]]], np.uint8)
    reference = np.array([[[40, 3000, -800, -810, -820, -830, 30, 40]]], np.int16)
    synthetic = np.array([[[40, 3000, -800, -900, -910, -1024, 600, 50]]], np.int16)
    return synthetic, reference, layout


def measured(scale: Scale, **changes: np.ndarray) -> Quality:
    synthetic, reference, layout = row_of_voxels()
    given = {"drawn": layout != 0, "synthetic_hu": synthetic, "layout": layout} | changes
    return assess(reference_hu=reference, scale=scale, **given)


def test_figures_are_measured_where_they_belong() -> None:
    quality = measured(HuWindow())
    assert quality.background_changed == 0
    # Of six voxels of the layout, five differ and two lie at the window's ends.
    assert quality.changed_fraction == pytest.approx(5 / 6)
    assert quality.saturated_fraction == pytest.approx(2 / 6)
    # The nodule does not count as lung.
    assert quality.lung_median_hu == -905.0
    assert quality.reference_lung_median_hu == -815.0
    assert quality.lung_iqr_hu == -875.0 + 938.5
    assert quality.reference_lung_iqr_hu == 15.0
    # From -800 beside 3000 and from 50 at the end: one border, at the wall.
    assert quality.seam_score == 1.0


def test_saturation_is_counted_at_the_ends_of_the_models_own_scale() -> None:
    assert measured(HuWindow(-900.0, 50.0)).saturated_fraction == pytest.approx(2 / 6)
    assert measured(HuWindow(-1000.0, 400.0)).saturated_fraction == 0.0
    ends_of_the_slice = SliceRanges(np.int16([-800]), np.int16([3000]))
    assert measured(ends_of_the_slice).saturated_fraction == pytest.approx(1 / 6)


def test_where_nodules_alone_are_drawn_the_lungs_are_background() -> None:
    synthetic, reference, layout = row_of_voxels()
    nodules = layout == NODULE
    assert measured(HuWindow(), drawn=nodules).background_changed == 3

    synthetic[~nodules] = reference[~nodules]
    quality = measured(HuWindow(), drawn=nodules, synthetic_hu=synthetic)
    assert quality.background_changed == 0
    assert (quality.changed_fraction, quality.saturated_fraction) == (1.0, 0.5)
    assert quality.lung_median_hu == quality.reference_lung_median_hu == -815.0


def test_a_layout_without_lungs_has_no_median_and_is_reviewed() -> None:
    _, _, layout = row_of_voxels()
    quality = measured(HuWindow(), layout=np.where(layout == 1, 2, layout).astype(np.uint8))
    assert np.isnan([quality.lung_median_hu, quality.reference_lung_iqr_hu]).all()
    assert quality.verdict == "review"


def test_bone_is_measured_where_a_mask_says_that_it_is() -> None:
    synthetic, _, layout = row_of_voxels()
    bone = synthetic == 3000
    assert measured(HuWindow(), bone=bone).bone_median_hu == 3000.0
    assert "bone median is 3000 HU" in measured(HuWindow(), bone=bone).reasons[0]
    assert math.isnan(measured(HuWindow()).bone_median_hu)
    assert math.isnan(measured(HuWindow(), bone=layout == 9).bone_median_hu)


def test_limits_are_those_that_are_given() -> None:
    strict = QualityLimits(max_saturated_fraction=0.0)
    off = scan(1)
    off[5, 5, 5] = 600
    assert judged(off).verdict == "accept"
    assert judged(off, limits=strict).verdict == "review"


@pytest.fixture(scope="module")
def real_case(ct_dir: Path) -> Case:
    """A patient with nodules of 5 to 23 mm, on a grid of 64^3 over the lungs."""
    return patient_1011(ct_dir, IngestConfig(grid=64))


def test_spoilt_lungs_of_a_real_patient_are_told_from_a_little_noise(real_case: Case) -> None:
    ct, layout = real_case.ct.astype(float), real_case.layout
    drawn = layout != BACKGROUND

    def reasons(lungs: np.ndarray) -> list[str]:
        clipped = np.clip(np.rint(lungs), -1024, 600)
        hu = np.where(drawn, clipped, real_case.ct).astype(np.int16)
        quality = assess(hu, real_case.ct, layout, drawn, HuWindow(), annotated=True)
        assert quality.verdict == ("review" if quality.reasons else "accept")
        return [reason.split(" is ")[0] for reason in quality.reasons]

    noise = np.random.default_rng(0).normal(0, 1, ct.shape)
    assert reasons(ct + 20 * noise) == []
    assert reasons(ct + 100 * noise) == ["lung interquartile range over the reference's"]
    spread_and_nodules = ["lung interquartile range over the reference's", "nodule contrast"]
    assert reasons(ndimage.gaussian_filter(ct, 1.0)) == spread_and_nodules
    assert reasons(np.full(ct.shape, np.median(ct[layout == LUNG]))) == spread_and_nodules
