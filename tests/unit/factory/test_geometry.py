import numpy as np
import pytest

from factory.axes import Triple, ras_from_zyx, spacing_zyx
from factory.geometry import (
    ModelGrid,
    describe_spacing,
    grid_at_spacing,
    grid_over_box,
    grid_over_scan,
    resample_hu,
    resample_labels,
    voxel_volume_mm3,
)

AIR = -1024
SHAPE = (20, 24, 30)
TURN = np.array([[0.8, -0.6, 0.0], [0.6, 0.8, 0.0], [0.0, 0.0, 1.0]])


def affine_of(*, oblique: bool = False) -> np.ndarray:
    affine = np.diag([1.5, 2.0, 2.5, 1.0])
    if oblique:
        affine[:3, :3] = TURN @ affine[:3, :3]
    affine[:3, 3] = [-20.0, 15.0, -40.0]
    return affine


def box_mask(low: tuple[int, int, int], high: tuple[int, int, int]) -> np.ndarray:
    mask = np.zeros(SHAPE, dtype=bool)
    mask[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] = True
    return mask


def world_of(shape: tuple[int, ...], affine: np.ndarray) -> np.ndarray:
    """RAS mm of each voxel of a (z, y, x) array, (z, y, x, 3)."""
    z, y, x = np.indices(shape)
    return np.stack([x, y, z], axis=-1) @ affine[:3, :3].T + affine[:3, 3]


@pytest.mark.parametrize("oblique", [False, True], ids=["straight", "oblique"])
@pytest.mark.parametrize("world_axis", [0, 1, 2], ids=["right", "anterior", "superior"])
def test_a_grid_voxel_shows_what_the_scan_has_at_the_same_point_of_the_patient(world_axis, oblique):
    affine = affine_of(oblique=oblique)
    ct = np.rint(10.0 * world_of(SHAPE, affine)[..., world_axis]).astype(np.int16)
    grid = ModelGrid(8, (3.2, 4.1, 5.7), (1.3, 1.7, 2.1))
    expected = 10.0 * world_of((8, 8, 8), grid.affine(affine))[..., world_axis]
    # Half a HU from rounding the ramp, half from rounding the result.
    np.testing.assert_allclose(resample_hu(ct, grid, air_hu=AIR), expected, atol=1.01)


def test_a_grid_over_the_scan_keeps_the_outer_edges_of_its_field_of_view():
    affine, size = affine_of(oblique=True), 16
    grid_affine = grid_over_scan(SHAPE, size=size).affine(affine)
    first: Triple = (-0.5, -0.5, -0.5)
    assert ras_from_zyx(grid_affine, first) == pytest.approx(ras_from_zyx(affine, first))
    z, y, x = (n - 0.5 for n in SHAPE)
    last = (size - 0.5, size - 0.5, size - 0.5)
    assert ras_from_zyx(grid_affine, last) == pytest.approx(ras_from_zyx(affine, (z, y, x)))


def test_a_grid_of_the_scans_own_size_changes_no_voxel():
    ct = np.random.default_rng(0).integers(-1024, 3071, (16, 16, 16), np.int16, endpoint=True)
    grid = grid_over_scan(ct.shape, size=16)
    np.testing.assert_array_equal(resample_hu(ct, grid, air_hu=AIR), ct)
    np.testing.assert_array_equal(resample_labels(ct, grid), ct)
    np.testing.assert_array_equal(grid.affine(affine_of()), affine_of())


def test_a_grid_over_the_lungs_adds_the_margin_in_mm_along_each_axis():
    mask = box_mask((5, 6, 10), (9, 15, 20))
    grid = grid_over_box(mask, (2.5, 2.0, 1.5), size=10, margin_mm=5.0)
    assert grid.start == pytest.approx((5 - 2.0, 6 - 2.5, 10 - 10 / 3))
    assert grid.step == pytest.approx(((4 + 4.0) / 10, (9 + 5.0) / 10, (10 + 20 / 3) / 10))


def test_the_margin_ends_where_the_scan_ends():
    mask = box_mask((1, 6, 10), (20, 15, 29))
    grid = grid_over_box(mask, (2.5, 2.0, 1.5), size=10, margin_mm=1000.0)
    assert grid.start == (0.0, 0.0, 0.0)
    assert grid.step == pytest.approx(tuple(n / 10 for n in SHAPE))


def test_a_grid_of_fixed_spacing_is_isotropic_and_centred_on_the_lungs():
    affine = affine_of(oblique=True)
    mask = box_mask((5, 6, 10), (9, 15, 20))
    grid = grid_at_spacing(mask, spacing_zyx(affine), size=16, target_mm=1.25)
    assert spacing_zyx(grid.affine(affine)) == pytest.approx((1.25, 1.25, 1.25))
    of_grid = ras_from_zyx(grid.affine(affine), (7.5, 7.5, 7.5))
    assert of_grid == pytest.approx(ras_from_zyx(affine, (6.5, 10.0, 14.5)))


def test_beyond_the_scan_there_is_air_and_no_label():
    mask = box_mask((5, 6, 10), (15, 18, 20))
    grid = grid_at_spacing(mask, (2.5, 2.0, 1.5), size=32, target_mm=2.5)
    ct, labels = np.full(SHAPE, 40, np.int16), np.ones(SHAPE, np.uint8)
    resampled, resampled_labels = resample_hu(ct, grid, air_hu=AIR), resample_labels(labels, grid)
    indices = np.stack(np.meshgrid(*[grid.centres(a) for a in range(3)], indexing="ij"), axis=-1)
    within = ((indices > -0.5) & (indices < np.array(SHAPE) - 0.5)).all(axis=-1)
    assert 0 < within.sum() < within.size
    assert (resampled[within] == 40).all()
    assert (resampled[~within] == AIR).all()
    np.testing.assert_array_equal(resampled_labels, within)


def test_up_to_its_outer_edge_the_scan_is_not_faded_into_air():
    # Centres at -0.375 and 4.375 lie in the outer half of the first and the last voxel.
    ct = np.full((5, 5, 5), 40, np.int16)
    resampled = resample_hu(ct, grid_over_scan(ct.shape, size=20), air_hu=AIR)
    np.testing.assert_array_equal(resampled, 40)


def test_labels_come_from_the_nearest_voxel_and_are_never_mixed():
    labels = np.zeros((4, 4, 4), np.uint8)
    labels[2:, :, :] = 2
    resampled = resample_labels(labels, grid_over_scan(labels.shape, size=16))
    np.testing.assert_array_equal(resampled[:, 0, 0], [0] * 8 + [2] * 8)
    assert set(np.unique(resampled)) == {0, 2}


def test_a_grid_half_a_voxel_off_loses_no_slice_and_doubles_none():
    labels = np.zeros((8, 8, 8), np.uint8)
    labels[:] = np.arange(8, dtype=np.uint8)[:, None, None]
    grid = ModelGrid(4, (1.5, 1.5, 1.5), (1.0, 1.0, 1.0))
    assert (np.diff(resample_labels(labels, grid)[:, 0, 0].astype(int)) == 1).all()


def test_hu_are_interpolated_linearly_between_slices():
    ct = np.zeros((2, 2, 2), np.int16)
    ct[1] = 100
    grid = ModelGrid(4, (0.5, 0.0, 0.0), (0.25, 0.5, 0.5))
    np.testing.assert_array_equal(resample_hu(ct, grid, air_hu=AIR)[:, 0, 0], [12, 38, 62, 88])


def test_no_hu_of_a_scan_overflows_or_overshoots():
    ct = np.random.default_rng(1).choice(np.array([-1024, 3071], np.int16), (9, 9, 9))
    resampled = resample_hu(ct, grid_over_scan(ct.shape, size=16), air_hu=AIR)
    assert resampled.dtype == np.int16
    assert (resampled.min(), resampled.max()) == (-1024, 3071)


def test_resampling_leaves_the_scan_as_it_was():
    ct, labels = np.full(SHAPE, 40, np.int16), np.ones(SHAPE, np.uint8)
    grid = grid_at_spacing(box_mask((5, 6, 10), (9, 15, 20)), (2.5, 2, 1.5), size=32, target_mm=5)
    resample_hu(ct, grid, air_hu=AIR)
    resample_labels(labels, grid)
    assert (ct == 40).all()
    assert (labels == 1).all()


def test_a_voxel_has_the_volume_of_its_steps_also_in_an_oblique_or_flipped_scan():
    assert voxel_volume_mm3(affine_of(oblique=True)) == pytest.approx(7.5)
    assert voxel_volume_mm3(affine_of() @ np.diag([-1.0, 1, 1, 1])) == pytest.approx(7.5)


def test_messages_name_the_spacing_z_first_in_mm():
    assert describe_spacing(affine_of(oblique=True)) == "(2.50, 2.00, 1.50) mm"
