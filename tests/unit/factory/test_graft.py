"""Nodules of other patients grafted into a lung: the HU of their crops, and no trace of where they grew."""

import os
from pathlib import Path

import numpy as np
import pytest
from nodule_crops import LUNG_HU, TISSUE_HU, crop, crops_of, host, rng_of
from scipy import ndimage

from factory.nodules.crops import load_crops
from factory.nodules.graft import GraftConfig, graft
from factory.nodules.place import place_nodules

NODE21 = (
    Path(os.environ.get("FACTORY_CT_DIR", "../shared/ct")) / "nodules" / "node21_patches_2mm.npz"
)
ALWAYS = GraftConfig(probability=1.0)
ONE = GraftConfig(probability=1.0, max_nodules=1)
SPACING = (4.7, 4.7, 4.7)


def test_with_probability_zero_nothing_is_copied_and_nothing_drawn():
    ct, layout = host()
    rng = rng_of(0)
    same = graft(ct, layout, SPACING, crops_of(crop(12.0)), GraftConfig(), rng)
    assert same[0] is ct
    assert same[1] is layout
    assert rng.random() == rng_of(0).random()


def test_the_share_of_grafted_examples_is_the_probability():
    ct, layout = host(16)
    crops, rng = crops_of(crop(12.0)), rng_of(3)
    config = GraftConfig(probability=0.3, max_nodules=1)
    grafted = [graft(ct, layout, SPACING, crops, config, rng)[0] is not ct for _ in range(400)]
    assert np.mean(grafted) == pytest.approx(0.3, abs=0.07)


def test_one_to_the_configured_number_of_nodules_are_grafted():
    ct, layout = host()
    crops = crops_of(crop(9.0))
    numbers = {
        ndimage.label(graft(ct, layout, SPACING, crops, ALWAYS, rng_of(seed))[1] == 2)[1]
        for seed in range(30)
    }
    assert numbers == {1, 2, 3}


def test_labels_are_those_of_placement_and_what_was_given_does_not_change():
    ct, layout = host()
    crops = crops_of(crop(10.0), crop(16.0))
    before = ct.copy(), layout.copy()
    _, labels = graft(ct, layout, SPACING, crops, ALWAYS, rng_of(5))
    rng = rng_of(5)
    rng.random()
    placed, _ = place_nodules(
        layout, SPACING, crops.bank, seed=int(rng.integers(2**63)), config=ALWAYS.placement
    )
    np.testing.assert_array_equal(labels, placed)
    np.testing.assert_array_equal(ct, before[0])
    np.testing.assert_array_equal(layout, before[1])


def test_one_state_of_the_generator_gives_one_graft():
    ct, layout = host()
    crops = crops_of(crop(10.0), crop(16.0))
    first, second = (graft(ct, layout, SPACING, crops, ALWAYS, rng_of(8)) for _ in range(2))
    np.testing.assert_array_equal(first[0], second[0])
    np.testing.assert_array_equal(first[1], second[1])
    assert (graft(ct, layout, SPACING, crops, ALWAYS, rng_of(9))[0] != first[0]).any()


def test_only_lung_within_a_voxel_of_a_nodule_changes():
    ct, layout = host()
    ct += rng_of(0).integers(-60, 60, ct.shape).astype(np.int16)
    for seed in range(10):
        grafted, labels = graft(ct, layout, SPACING, crops_of(crop(12.0)), ALWAYS, rng_of(seed))
        changed = grafted != ct
        rim = ndimage.binary_dilation(labels == 2, np.ones((3, 3, 3)))
        assert changed[labels == 2].mean() > 0.95
        assert not changed[~rim].any()
        assert not changed[layout == 0].any()


def test_the_core_of_a_large_nodule_has_the_hu_of_its_crop_and_none_of_the_host():
    ct, layout = host()
    ct += rng_of(0).integers(-60, 60, ct.shape).astype(np.int16)
    for hu in (40, -300):
        grafted, labels = graft(ct, layout, SPACING, crops_of(crop(24.0, hu=hu)), ONE, rng_of(1))
        core = ndimage.binary_erosion(labels == 2, iterations=2)
        assert core.any()
        assert grafted[core] == pytest.approx(hu, abs=8)


@pytest.mark.parametrize("lung_hu", [-930, -850, -700])
def test_a_nodule_has_neither_a_halo_nor_a_dark_rim_in_a_lung_of_another_density(lung_hu):
    ct, layout = host(lung_hu=lung_hu)
    for seed in range(5):
        grafted, labels = graft(ct, layout, SPACING, crops_of(crop(15.0)), ONE, rng_of(seed))
        inside = grafted[layout == 1]
        assert inside.min() >= lung_hu
        assert inside.max() <= TISSUE_HU + 1
        assert inside.max() > -100
        rim = ndimage.binary_dilation(labels == 2, np.ones((3, 3, 3))) & (labels == 1)
        assert np.median(grafted[rim]) < lung_hu + 150


@pytest.mark.parametrize("spacing_mm", [(1.5, 1.5, 1.5), (3.0, 2.0, 2.0), SPACING, (9.0, 9.0, 9.0)])
@pytest.mark.parametrize("diameter_mm", [7.0, 16.0])
def test_a_nodule_brings_the_same_amount_of_tissue_to_any_grid(spacing_mm, diameter_mm):
    ct, layout = host(36)
    ball = crop(diameter_mm)
    expected = (ball[0].astype(float) - LUNG_HU).sum() * 8.0
    # Far from the wall, or some of the rim would be the wall's.
    config = GraftConfig(probability=1.0, max_nodules=1, margin_mm=2 * max(spacing_mm))
    grafted, _ = graft(ct, layout, spacing_mm, crops_of(ball), config, rng_of(2))
    brought = (grafted.astype(float) - ct).sum() * np.prod(spacing_mm)
    assert brought == pytest.approx(expected, rel=0.05)


def test_a_lung_twice_as_dense_shows_half_the_contrast_of_its_air():
    light, dense = host(lung_hu=-850), host(lung_hu=-405)
    crops = crops_of(crop(16.0, hu=-405))
    in_light, in_dense = (
        graft(*each, SPACING, crops, ONE, rng_of(4))[0] for each in (light, dense)
    )
    gained = (in_light.astype(float) - light[0]).sum(), (in_dense.astype(float) - dense[0]).sum()
    assert gained[1] / gained[0] == pytest.approx(0.5, abs=0.02)


def test_hu_turn_with_the_shape():
    ct, layout = host(40)
    crops = crops_of(crop(20.0, half_hu=-400))
    for seed in range(8):
        grafted, _ = graft(ct, layout, (2.5, 2.0, 2.0), crops, ONE, rng_of(seed))
        rng = rng_of(seed)
        rng.random()
        _, (placement,) = place_nodules(
            layout, (2.5, 2.0, 2.0), crops.bank, seed=int(rng.integers(2**63)), config=ONE.placement
        )
        gain = grafted.astype(float) - ct
        mass = np.array([(gain * axis).sum() / gain.sum() for axis in np.indices(gain.shape)])
        towards = (mass - placement.center_zyx) * (2.5, 2.0, 2.0)
        dense_side = np.array(placement.rotation) @ [1.0, 0.0, 0.0]
        assert towards @ dense_side / np.linalg.norm(towards) > 0.97
        assert np.linalg.norm(towards) == pytest.approx(1.25, rel=0.2)


def test_a_cavity_stays_a_cavity():
    ct, layout = host(30)
    crops = crops_of(crop(26.0, cavity_mm=16.0))
    grafted, labels = graft(ct, layout, (2.5, 2.5, 2.5), crops, ONE, rng_of(0))
    middle = tuple(np.rint(np.argwhere(labels == 2).mean(axis=0)).astype(int))
    assert labels[middle] == 2
    assert grafted[middle] < -950
    assert grafted[labels == 2].max() > 0


def test_the_wall_that_a_nodule_grew_on_stays_behind():
    ct, layout = host(30)
    alone, grown = (
        graft(ct, layout, (3.0, 3.0, 3.0), crops_of(each), ONE, rng_of(6))[0].astype(float) - ct
        for each in (crop(14.0), crop(14.0, wall_at_mm=-3.0))
    )
    assert grown.sum() == pytest.approx(alone.sum(), rel=0.1)
    assert not grown[alone == 0].any()


def test_two_nodules_side_by_side_take_nothing_from_each_other():
    ct, layout = host(20)
    crops, spacing_mm = crops_of(crop(9.0)), (1.5, 1.5, 1.5)
    config = GraftConfig(probability=1.0, max_nodules=3, margin_mm=0.0)
    num_together = 0
    for seed in range(40):
        grafted, labels = graft(ct, layout, spacing_mm, crops, config, rng_of(seed))
        num_together += ndimage.label(labels == 2, np.ones((3, 3, 3)))[1] > 1
        # A hole that a neighbour's rim leaves has the lung's -850 HU.
        assert grafted[labels == 2].min() > -620
    assert num_together > 5


def test_the_mask_hides_the_host_and_its_rim_lets_it_through():
    ball = crop(14.0)
    tissue = crops_of(ball).tissue("crop-0")
    covered = np.count_nonzero(ball[1] >= 50)
    rim = np.count_nonzero((ball[1] > 0) & (ball[1] < 50))
    assert np.count_nonzero(tissue.opacity == 1) == covered
    assert np.count_nonzero((tissue.opacity > 0) & (tissue.opacity < 1)) == rim


def test_the_wall_around_a_narrow_lung_does_not_count_as_its_lung():
    ct, layout = host(11)
    bony = np.where(layout == 1, ct, 700).astype(np.int16)
    crops, lung = crops_of(crop(14.0)), layout == 1
    for seed in range(5):
        grafted, beside_bone = (
            graft(each, layout, SPACING, crops, ONE, rng_of(seed))[0] for each in (ct, bony)
        )
        np.testing.assert_array_equal(grafted[lung], beside_bone[lung])
        assert np.median(grafted[lung]) == LUNG_HU


def test_nodules_that_were_there_keep_their_hu_and_label():
    ct, layout = host(16)
    layout[6:10, 6:10, 6:10], ct[6:10, 6:10, 6:10] = 2, 17
    for seed in range(10):
        grafted, labels = graft(ct, layout, SPACING, crops_of(crop(10.0)), ALWAYS, rng_of(seed))
        assert (labels[6:10, 6:10, 6:10] == 2).all()
        assert (grafted[6:10, 6:10, 6:10] == 17).all()
        assert (labels == 2).sum() > 64


@pytest.mark.parametrize("num_voxels", [0, 1])
def test_an_example_without_room_passes_as_it_is(num_voxels):
    ct, layout = host(16)
    layout[:] = 0
    layout[8, 8, 8 : 8 + num_voxels] = 1
    grafted, labels = graft(ct, layout, SPACING, crops_of(crop(20.0)), ALWAYS, rng_of(0))
    assert grafted is ct
    assert labels is layout


def test_bounds_that_no_crop_meets_are_an_error_and_not_silence():
    config = GraftConfig(probability=1.0, min_diameter_mm=28.0)
    with pytest.raises(ValueError, match=r"1 nodules measure 10\.\d to 10\.\d mm.*28 to 30 mm"):
        graft(*host(), SPACING, crops_of(crop(10.0)), config, rng_of(0))


def test_a_ct_that_does_not_fit_its_layout_is_refused():
    ct, layout = host()
    crops = crops_of(crop(10.0))
    with pytest.raises(ValueError, match=r"int16 \(23, 24, 24\), expected int16 \(24, 24, 24\)"):
        graft(ct[1:], layout, SPACING, crops, ALWAYS, rng_of(0))
    with pytest.raises(ValueError, match="the CT is float32"):
        graft(ct.astype(np.float32), layout, SPACING, crops, ALWAYS, rng_of(0))


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"probability": 1.5}, r"probability is 1\.5; it must lie in \[0, 1\]"),
        ({"probability": float("nan")}, "probability is nan"),
        ({"max_nodules": 0}, "max_nodules is 0; it must be at least 1"),
        ({"min_diameter_mm": 40.0}, "0 < min_diameter_mm <= max_diameter_mm"),
        ({"margin_mm": -1.0}, r"margin_mm is -1\.0, expected 0 or more"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(settings, problem):
    with pytest.raises(ValueError, match=problem):
        GraftConfig(**settings)


@pytest.mark.skipif(not NODE21.is_file(), reason=f"no real nodules at {NODE21}")
def test_real_nodules_of_15_mm_have_soft_cores_on_a_coarse_grid():
    crops = load_crops(NODE21)
    assert len(crops) == 1160
    assert len(crops.bank) == 1146
    ct, layout = host(30)
    config = GraftConfig(probability=1.0, min_diameter_mm=13.0, max_diameter_mm=17.0)
    cores = []
    for seed in range(12):
        grafted, labels = graft(ct, layout, SPACING, crops, config, rng_of(seed))
        cores.append(grafted[labels == 2].max())
        assert grafted[layout == 1].min() > -1024
    assert -150 < np.median(cores) < 60
