"""Nodules placed in lungs: their volume and shape on any grid, what they keep away from, and what is recorded."""

import time

import numpy as np
import pytest
from lung_shapes import affine_of, two_lungs
from scipy import ndimage

from factory.nodules.bank import NoduleBank, embedded_bank
from factory.nodules.measure import measure_nodules
from factory.nodules.place import PlacementConfig, place_nodules

CONFIG = PlacementConfig()
BALL = np.add.outer(np.add.outer(*[np.arange(-9, 10) ** 2] * 2), np.arange(-9, 10) ** 2) <= 81


@pytest.mark.parametrize("spacing_mm", [(4.0, 4.0, 4.0), (5.0, 2.0, 2.0), (1.0, 2.5, 2.5)])
def test_a_nodule_keeps_the_volume_of_its_shape_on_any_grid(spacing_mm):
    bank = embedded_bank()
    voxel_mm3 = np.prod(spacing_mm)
    for seed in range(6):
        _, placements = place_nodules(two_lungs(64), spacing_mm, bank, seed=seed, config=CONFIG)
        for placement in placements:
            mask = bank.masks[bank.names.index(placement.bank_name)]
            # Half a voxel by rounding; the rest are specks cut off thin spikes.
            slack = 0.5 * voxel_mm3 + 0.1 * mask.sum()
            assert placement.volume_mm3 == pytest.approx(mask.sum(), abs=slack)


def test_what_is_recorded_is_what_measuring_finds():
    spacing_mm = (3.0, 2.5, 2.5)
    placed, placements = place_nodules(
        two_lungs(80), spacing_mm, embedded_bank(), seed=5, config=PlacementConfig(min_nodules=3)
    )
    nodules = measure_nodules(placed, affine_of(spacing_mm))
    assert len(nodules) == 3
    centres_mm = np.array([nodule.center_ras_mm[::-1] for nodule in nodules])
    for placement in placements:
        distances = np.linalg.norm(
            centres_mm - np.multiply(placement.center_zyx, spacing_mm), axis=1
        )
        assert distances.min() < 2.0
        assert nodules[distances.argmin()].volume_mm3 == pytest.approx(placement.volume_mm3)


def test_a_long_shape_lies_along_the_axis_that_its_rotation_says():
    rod = NoduleBank((np.ones((21, 5, 5), dtype=bool),), ("rod",))
    for seed in range(8):
        placed, (placement,) = place_nodules(
            np.ones((40, 60, 60), np.uint8),
            (1.5, 1.0, 1.0),
            rod,
            seed=seed,
            config=PlacementConfig(max_nodules=1),
        )
        points = np.argwhere(placed == 2) * (1.5, 1.0, 1.0)
        _, _, axes = np.linalg.svd(points - points.mean(axis=0))
        along = np.array(placement.rotation) @ [1.0, 0.0, 0.0]
        assert abs(axes[0] @ along) > 0.98


def test_rotations_are_orthogonal_and_point_in_every_direction():
    bank, config = NoduleBank((BALL,), ("ball",)), PlacementConfig(max_nodules=1)
    lung = np.ones((24, 24, 24), np.uint8)
    rotations = np.array(
        [
            place_nodules(lung, (1.0, 1.0, 1.0), bank, seed=seed, config=config)[1][0].rotation
            for seed in range(150)
        ]
    )
    identity = np.broadcast_to(np.eye(3), rotations.shape)
    assert rotations @ rotations.transpose(0, 2, 1) == pytest.approx(identity, abs=1e-12)
    assert np.abs(rotations.mean(axis=0)).max() < 0.2
    assert (rotations**2).mean(axis=0) == pytest.approx(np.full((3, 3), 1 / 3), abs=0.1)


def test_a_sphere_stays_a_sphere_in_mm_on_an_anisotropic_grid():
    spacing_mm = (3.0, 0.8, 1.2)
    placed, _ = place_nodules(
        np.ones((20, 60, 60), np.uint8),
        spacing_mm,
        NoduleBank((BALL,), ("ball",)),
        seed=1,
        config=PlacementConfig(max_nodules=1),
    )
    for axis, points in enumerate(np.nonzero(placed == 2)):
        assert (np.ptp(points) + 1) * spacing_mm[axis] == pytest.approx(
            19, abs=2 * spacing_mm[axis]
        )


def test_a_coarse_grid_passes_over_shapes_that_it_cannot_show():
    spacing_mm = (9.4, 9.4, 9.4)
    for seed in range(10):
        placed, placements = place_nodules(
            two_lungs(32), spacing_mm, embedded_bank(), seed=seed, config=CONFIG
        )
        names = {placement.bank_name for placement in placements}
        assert all(name.endswith(("20mm", "29mm")) for name in names)
        assert len(measure_nodules(placed, affine_of(spacing_mm))) == len(placements)


def test_a_nodule_smaller_than_a_voxel_still_is_one_voxel():
    placed, (placement,) = place_nodules(
        two_lungs(32),
        (9.4, 9.4, 9.4),
        embedded_bank(),
        seed=0,
        config=PlacementConfig(max_nodules=1, max_diameter_mm=6.0),
    )
    assert np.argwhere(placed == 2).tolist() == [list(placement.center_zyx)]


def test_shapes_outside_the_configured_diameters_are_not_used():
    config = PlacementConfig(max_nodules=3, min_diameter_mm=9.0, max_diameter_mm=15.0)
    for seed in range(10):
        placements = place_nodules(
            two_lungs(64), (3.0, 3.0, 3.0), embedded_bank(), seed=seed, config=config
        )[1]
        assert all(p.bank_name.endswith(("10mm", "14mm")) for p in placements)


def test_new_nodules_keep_away_from_those_of_the_layout():
    layout = two_lungs(48)
    layout[12:36, 18:30, 10:18] = 2
    old = layout == 2
    for seed in range(10):
        placed, placements = place_nodules(
            layout, (4.0, 4.0, 4.0), embedded_bank(), seed=seed, config=CONFIG
        )
        new = (placed == 2) & ~old
        assert placed[old].all()
        assert placements
        assert not (ndimage.binary_dilation(old, np.ones((3, 3, 3))) & new).any()


def test_the_margin_keeps_nodules_apart_and_off_the_wall_in_mm():
    spacing_mm = (3.0, 2.0, 2.0)
    config = PlacementConfig(min_nodules=8, max_nodules=12, max_diameter_mm=15.0, margin_mm=6.0)
    lung = two_lungs(48)
    for seed in range(4):
        placed, _ = place_nodules(lung, spacing_mm, embedded_bank(), seed=seed, config=config)
        pieces, num_pieces = ndimage.label(placed == 2, structure=np.ones((3, 3, 3)))
        for piece in range(1, num_pieces + 1):
            to_others = ndimage.distance_transform_edt(
                (placed == 1) | (pieces == piece), sampling=spacing_mm
            )
            assert to_others[pieces == piece].min() > 6.0


def test_a_shape_finds_the_one_chamber_of_a_lung_that_holds_it():
    layout = np.zeros((48, 48, 48), np.uint8)
    layout[20:23] = 1
    layout[15:28, 15:28, 15:28] = 1
    ball, config = NoduleBank((BALL,), ("ball",)), PlacementConfig(max_nodules=1, max_tries=3)
    for seed in range(10):
        _, (placement,) = place_nodules(layout, (2.0,) * 3, ball, seed=seed, config=config)
        assert np.abs(np.subtract(placement.center_zyx, 21)).max() <= 2


def test_nodules_at_the_edge_of_the_volume_are_not_cut_off():
    ball, config = NoduleBank((BALL,), ("ball",)), PlacementConfig(max_nodules=1)
    for seed in range(20):
        placed, _ = place_nodules(
            np.ones((12, 12, 12), np.uint8), (2.0,) * 3, ball, seed=seed, config=config
        )
        assert np.count_nonzero(placed == 2) == round(BALL.sum() / 8)


def test_a_shape_that_the_grid_would_tear_stays_one_nodule():
    dumbbell = np.zeros((7, 7, 27), bool)
    dumbbell[:, :, :7] = dumbbell[:, :, 20:] = True
    dumbbell[3, 3] = True
    bank, config = NoduleBank((dumbbell,), ("dumbbell",)), PlacementConfig(max_nodules=1)
    for seed in range(5):
        placed, _ = place_nodules(
            np.ones((24, 24, 24), np.uint8), (3.0,) * 3, bank, seed=seed, config=config
        )
        assert len(measure_nodules(placed, affine_of((3.0,) * 3))) == 1


def test_fewer_nodules_than_drawn_are_fine_down_to_the_minimum():
    layout = np.zeros((24, 24, 24), np.uint8)
    layout[8:16, 8:16, 8:16] = 1
    config = PlacementConfig(min_nodules=1, max_nodules=40, max_diameter_mm=6.0)
    counts = [
        len(place_nodules(layout, (1.0,) * 3, embedded_bank(), seed=seed, config=config)[1])
        for seed in range(5)
    ]
    assert 1 <= min(counts) <= max(counts) < 8


def test_a_full_grid_is_filled_in_a_fraction_of_a_second():
    layout, bank = two_lungs(128), embedded_bank()
    times = []
    for seed in range(3):
        start = time.perf_counter()
        place_nodules(layout, (2.5, 2.5, 2.5), bank, seed=seed, config=CONFIG)
        times.append(time.perf_counter() - start)
    # 0.1 s on two quiet cores; the best of three, for machines that are shared.
    assert min(times) < 0.3
