import numpy as np
import pytest
from scipy import ndimage

from factory.augment import AugmentConfig, augment

SPACING = (5.0, 2.5, 2.5)
SHAPE = (20, 40, 40)


def rng_of(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def points_mm() -> np.ndarray:
    """(3, z, y, x) in mm from the centre of the volume."""
    edges = [(np.arange(n) - (n - 1) / 2) * mm for n, mm in zip(SHAPE, SPACING, strict=True)]
    return np.stack(np.meshgrid(*edges, indexing="ij"))


def ramp() -> tuple[np.ndarray, np.ndarray]:
    """HU that grow along a slanting line, and lung where they are above 0."""
    z, y, x = points_mm()
    ct = np.rint(8 * z + 5 * y + 3 * x).astype(np.int16)
    return ct, (ct > 0).astype(np.uint8)


def rod() -> tuple[np.ndarray, np.ndarray]:
    """A nodule 60 mm long from foot to head, 10 mm thick, in lung."""
    z, y, x = points_mm()
    layout = np.where((abs(z) < 30) & (y**2 + x**2 < 25), 2, 1).astype(np.uint8)
    return np.where(layout == 2, 40, -850).astype(np.int16), layout


def axes_of(nodule: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return spread in mm along the main axes, and the longest axis."""
    points = np.argwhere(nodule) * SPACING
    _, spread, axes = np.linalg.svd(points - points.mean(axis=0), full_matrices=False)
    return spread / np.sqrt(len(points)), axes[0]


def test_with_all_at_zero_nothing_is_copied_and_nothing_drawn():
    ct, layout = ramp()
    rng = rng_of(0)
    same = augment(ct, layout, SPACING, AugmentConfig(), rng)
    assert not AugmentConfig().is_on
    assert same[0] is ct
    assert same[1] is layout
    assert rng.random() == rng_of(0).random()


def test_labels_move_with_the_hu():
    config = AugmentConfig(rotation_deg=20.0, scale=0.15, translation_mm=10.0)
    for seed in range(6):
        ct, layout = augment(*ramp(), SPACING, config, rng_of(seed))
        assert (ct != ramp()[0]).mean() > 0.9
        # HU change by 49 over half a voxel along each axis.
        certain = abs(ct) > 49
        np.testing.assert_array_equal(layout[certain], ct[certain] > 0)


def test_shapes_keep_their_millimetres_when_they_turn_on_an_anisotropic_grid():
    config = AugmentConfig(rotation_deg=60.0)
    expected, _ = axes_of(rod()[1] == 2)
    turned = []
    for seed in range(8):
        _, layout = augment(*rod(), SPACING, config, rng_of(seed))
        spread, along = axes_of(layout == 2)
        assert spread == pytest.approx(expected, rel=0.05, abs=0.3)
        turned.append(abs(along[0]))
    assert min(turned) < 0.7


def test_the_turn_about_each_axis_stays_within_its_bound():
    config = AugmentConfig(rotation_deg=10.0)
    degrees = []
    for seed in range(30):
        _, along = axes_of(augment(*rod(), SPACING, config, rng_of(seed))[1] == 2)
        degrees.append(np.rad2deg(np.arctan2(along[1:], along[0] + 0.0)))
    tilts = (np.array(degrees) + 90.0) % 180.0 - 90.0
    assert abs(tilts).max() < 11.5
    assert (abs(tilts).max(axis=0) > 7.0).all()
    assert (tilts.min(axis=0) < -4.0).all()


def test_the_turn_about_the_long_axis_of_the_body_is_drawn_too():
    layout = (abs(points_mm()[2]) < 3).astype(np.uint8)
    ct = np.where(layout, -850, 40).astype(np.int16)
    tilts = []
    for seed in range(20):
        _, moved = augment(ct, layout, SPACING, AugmentConfig(rotation_deg=15.0), rng_of(seed))
        rows, columns = np.nonzero(moved[10, 10:30])
        tilts.append(np.rad2deg(np.arctan(np.polyfit(rows, columns, 1)[0])))
    assert 10.0 < max(tilts) < 16.0
    assert -16.0 < min(tilts) < -10.0


def test_sizes_change_alike_along_every_axis():
    layout, factors = np.zeros(SHAPE, np.uint8), []
    for seed in range(20):
        slopes = []
        for along in points_mm():
            ct = np.rint(20 * along).astype(np.int16)
            moved, _ = augment(ct, layout, SPACING, AugmentConfig(scale=0.2), rng_of(seed))
            middle = (slice(6, -6),) * 3
            slopes.append(np.polyfit(along[middle].ravel(), moved[middle].ravel(), 1)[0] / 20)
        assert slopes == pytest.approx([slopes[0]] * 3, rel=0.01)
        factors.append(1 / slopes[0])
    assert 0.8 <= min(factors) < 0.87
    assert 1.13 < max(factors) <= 1.2


def test_shifts_are_in_millimetres_along_every_axis():
    config = AugmentConfig(translation_mm=15.0)
    ct, layout = rod()
    shifts = np.array(
        [
            (
                np.argwhere(augment(ct, layout, SPACING, config, rng_of(seed))[1] == 2).mean(axis=0)
                - np.argwhere(layout == 2).mean(axis=0)
            )
            * SPACING
            for seed in range(30)
        ]
    )
    assert (abs(shifts).max(axis=0) < (17.5, 16.3, 16.3)).all()
    assert (shifts.max(axis=0) > 9.0).all()
    assert (shifts.min(axis=0) < -9.0).all()
    assert abs(np.corrcoef(shifts.T) - np.eye(3)).max() < 0.6


def test_hu_are_rounded_and_not_cut():
    ct = rng_of(0).integers(-851, -849, SHAPE).astype(np.int16)
    config = AugmentConfig(translation_mm=5.0)
    moved, _ = augment(ct, np.zeros(SHAPE, np.uint8), SPACING, config, rng_of(0))
    assert moved.mean() == pytest.approx(ct.mean(), abs=0.1)


def test_an_even_volume_stays_even():
    ct = np.full(SHAPE, -851, np.int16)
    config = AugmentConfig(rotation_deg=20.0, scale=0.1)
    for seed in range(5):
        moved, _ = augment(ct, np.zeros(SHAPE, np.uint8), SPACING, config, rng_of(seed))
        assert (moved == -851).all()


def test_beyond_the_scan_lies_its_nearest_voxel():
    ct = rng_of(0).integers(-900, -100, SHAPE).astype(np.int16)
    config = AugmentConfig(translation_mm=20.0, rotation_deg=30.0, scale=0.3)
    for seed in range(5):
        moved, _ = augment(ct, np.zeros(SHAPE, np.uint8), SPACING, config, rng_of(seed))
        assert moved.min() >= -900
        assert moved.max() < -100


def test_no_nodule_is_lost_or_cut_in_half():
    ct, layout = np.full(SHAPE, -850, np.int16), np.ones(SHAPE, np.uint8)
    for corner in ((1, 1, 1), (9, 20, 37), (18, 4, 20)):
        layout[corner] = 2
    layout[2:6, 30:36, 2:8] = 2
    config = AugmentConfig(rotation_deg=25.0, translation_mm=25.0, scale=0.2)
    num_moved = 0
    for seed in range(40):
        _, moved = augment(ct, layout, SPACING, config, rng_of(seed))
        pieces, num_pieces = ndimage.label(moved == 2, np.ones((3, 3, 3)))
        assert num_pieces == 4
        assert np.bincount(pieces.ravel())[1:].max() >= 0.5 * 0.8**3 * 144
        num_moved += (moved != layout).any()
    assert num_moved > 20


def test_where_nothing_can_be_lost_the_whole_motion_is_made():
    ct, layout = rod()
    config = AugmentConfig(translation_mm=15.0)
    with_nodule = augment(ct, layout, SPACING, config, rng_of(1))[0]
    without = augment(ct, np.ones_like(layout), SPACING, config, rng_of(1))[0]
    np.testing.assert_array_equal(with_nodule, without)


def test_gain_keeps_air_and_changes_contrast():
    ct = np.array([[[-1000, 0, 400]]], np.int16)
    config = AugmentConfig(gain=0.1)
    changed = np.array(
        [
            augment(ct, np.zeros((1, 1, 3), np.uint8), SPACING, config, rng_of(seed))[0][0, 0]
            for seed in range(40)
        ]
    )
    assert (changed[:, 0] == -1000).all()
    gains = changed[:, 1] / 1000
    assert -0.1 <= gains.min() < -0.07
    assert 0.07 < gains.max() <= 0.1
    np.testing.assert_allclose(changed[:, 2], 400 + 1400 * gains, atol=1.5)


def test_a_shift_moves_air_and_bone_alike_and_stays_in_what_a_ct_stores():
    ct = np.array([[[-1024, -1000, 0, 3071]]], np.int16)
    config = AugmentConfig(shift_hu=50.0)
    changed = np.array(
        [
            augment(ct, np.zeros((1, 1, 4), np.uint8), SPACING, config, rng_of(seed))[0][0, 0]
            for seed in range(40)
        ]
    )
    assert changed[:, 2].min() < -35
    assert 35 < changed[:, 2].max() <= 50
    assert (changed[:, 0] >= -1024).all()
    assert (changed[:, 3] <= 3071).all()
    up = changed[:, 2] > 0
    np.testing.assert_array_equal(changed[up, 1] + 1000, changed[up, 2])


def test_extreme_hu_do_not_wrap_around():
    ct = np.full((2, 2, 2), 32_767, np.int16)
    config = AugmentConfig(gain=0.5, shift_hu=500.0)
    for seed in range(10):
        brighter, _ = augment(ct, np.zeros((2, 2, 2), np.uint8), SPACING, config, rng_of(seed))
        assert (brighter == 3071).all()


def test_a_changed_contrast_leaves_the_layout_and_the_place_of_every_voxel():
    ct, layout = ramp()
    changed, same = augment(ct, layout, SPACING, AugmentConfig(gain=0.05), rng_of(2))
    assert same is layout
    assert (changed != ct).any()
    assert np.corrcoef(changed.ravel(), ct.ravel())[0, 1] > 0.9999


def test_every_other_example_is_mirrored_where_that_is_asked_for():
    ct, layout = ramp()
    config = AugmentConfig(flip_left_right=True)
    mirrored = 0
    for seed in range(100):
        moved, labels = augment(ct, layout, SPACING, config, rng_of(seed))
        if (moved == ct).all():
            np.testing.assert_array_equal(labels, layout)
        else:
            mirrored += 1
            np.testing.assert_array_equal(moved, ct[:, :, ::-1])
            np.testing.assert_array_equal(labels, layout[:, :, ::-1])
    assert 35 < mirrored < 65


def test_no_setting_changes_what_is_drawn_for_another():
    ct, layout = np.zeros(SHAPE, np.int16), np.zeros(SHAPE, np.uint8)
    alone = augment(ct, layout, SPACING, AugmentConfig(gain=0.1), rng_of(3))[0]
    turned = AugmentConfig(gain=0.1, rotation_deg=10.0, scale=0.1, flip_left_right=True)
    np.testing.assert_array_equal(augment(ct, layout, SPACING, turned, rng_of(3))[0], alone)


def test_one_state_of_the_generator_gives_one_example_and_the_given_one_stays():
    config = AugmentConfig(rotation_deg=10.0, scale=0.1, translation_mm=5.0, gain=0.1, shift_hu=9.0)
    ct, layout = rod()
    first, second = (augment(ct, layout, SPACING, config, rng_of(4)) for _ in range(2))
    np.testing.assert_array_equal(first[0], second[0])
    np.testing.assert_array_equal(first[1], second[1])
    np.testing.assert_array_equal(ct, rod()[0])
    np.testing.assert_array_equal(layout, rod()[1])
    assert (first[0].dtype, first[1].dtype) == (np.int16, np.uint8)


def test_a_ct_and_a_layout_of_other_grids_are_refused():
    ct, layout = ramp()
    with pytest.raises(ValueError, match=r"the CT is \(20, 40, 40\) and the layout \(19, 40, 40\)"):
        augment(ct, layout[1:], SPACING, AugmentConfig(gain=0.1), rng_of(0))


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"rotation_deg": -5.0}, r"rotation_deg is -5\.0; it must be 0 or more"),
        ({"rotation_deg": 270.0}, r"rotation_deg is 270\.0; it must lie in \[0, 180\]"),
        ({"scale": 1.0}, r"scale is 1\.0; it must lie in \[0, 1\)"),
        ({"gain": 1.5}, r"gain is 1\.5; it must lie in \[0, 1\)"),
        ({"translation_mm": float("inf")}, "translation_mm is inf; it must be 0 or more"),
        ({"shift_hu": float("nan")}, "shift_hu is nan; it must be 0 or more"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(settings, problem):
    with pytest.raises(ValueError, match=problem):
        AugmentConfig(**settings)
