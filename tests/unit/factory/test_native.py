"""What was drawn goes back to where it lay in the scan, and nothing else of the scan changes."""

import numpy as np
import pytest

from factory.axes import ijk_from_zyx
from factory.geometry import ModelGrid, grid_at_spacing, grid_over_box, grid_over_scan
from factory.layouts import BACKGROUND, LUNG, NODULE
from factory.native import drawn_labels, grid_in_scan, layout_on_scan, put_back

SHAPE = (41, 30, 36)
OBLIQUE = np.array(
    [
        [1.9, 0.1, 0.05, -40.0],
        [-0.1, 1.9, 0.2, -30.0],
        [-0.05, -0.2, 2.4, 12.0],
        [0.0, 0.0, 0.0, 1.0],
    ]
)
GRID = ModelGrid(16, (4.3, 2.73, 5.13), (2.05, 1.41, 1.61))


def world(shape: tuple[int, ...], affine: np.ndarray) -> np.ndarray:
    """Return (z, y, x, 3) RAS mm of each voxel's centre."""
    ijk = np.moveaxis(np.indices(shape[::-1]), 0, -1)
    return (ijk @ affine[:3, :3].T + affine[:3, 3]).transpose(2, 1, 0, 3)


def plane(points: np.ndarray) -> np.ndarray:
    """Return HU that grow linearly with the place."""
    return points @ np.array([3.0, -5.0, 4.0])


@pytest.mark.parametrize(
    "grid",
    [
        GRID,
        grid_over_scan(SHAPE, size=32),
        grid_over_box(np.pad(np.ones((9, 8, 7), bool), 5), (2.4, 1.9, 1.9), size=16, margin_mm=5),
        grid_at_spacing(np.ones((9, 8, 7), bool), (2.4, 1.9, 1.9), size=16, target_mm=3),
    ],
)
def test_the_grid_of_a_case_is_found_again_from_its_affine(grid: ModelGrid) -> None:
    found = grid_in_scan(grid.affine(OBLIQUE), OBLIQUE, (grid.size,) * 3)

    assert found.size == grid.size
    np.testing.assert_allclose(found.start, grid.start, atol=1e-8)
    np.testing.assert_allclose(found.step, grid.step, atol=1e-8)


def test_a_volume_that_is_no_cube_is_refused() -> None:
    with pytest.raises(ValueError, match=r"its grid is \(4, 4, 5\) voxels; expected a cube"):
        grid_in_scan(OBLIQUE, OBLIQUE, (4, 4, 5))


@pytest.mark.parametrize("name", ["turned", "mirrored", "swapped", "not finite"])
def test_a_volume_that_was_not_cut_along_the_scans_axes_is_refused(name: str) -> None:
    affine = GRID.affine(OBLIQUE)
    if name == "turned":
        affine[0, 1] += 0.01
    elif name == "mirrored":
        affine[:3, 0] *= -1
    elif name == "swapped":
        affine[:, [0, 1]] = affine[:, [1, 0]]
    else:
        affine[0, 0] = np.nan

    with pytest.raises(ValueError, match="not cut along the axes of the scan"):
        grid_in_scan(affine, OBLIQUE, (16, 16, 16))


def test_drawn_hu_land_where_they_lay_in_the_patient() -> None:
    """HU that grow linearly with the place are interpolated exactly, so that no shift can hide."""
    scan = np.full(SHAPE, -3000, np.int16)
    ct = np.rint(plane(world((16, 16, 16), GRID.affine(OBLIQUE)))).astype(np.int16)
    layout = np.full((16, 16, 16), LUNG, np.uint8)

    back = put_back(scan, ct, layout, [LUNG], GRID)

    drawn = back.ct != -3000
    expected = plane(world(SHAPE, OBLIQUE))
    # Within half a grid voxel of its ends there is nothing to interpolate between.
    inner = np.zeros(SHAPE, bool)
    inner[6:36, 4:23, 7:29] = True
    assert drawn[inner].all()
    np.testing.assert_allclose(back.ct[inner], expected[inner], atol=1.01)


def test_all_that_was_not_drawn_keeps_the_scans_hu_bit_for_bit() -> None:
    random = np.random.default_rng(0)
    scan = random.integers(-1024, 3072, SHAPE).astype(np.int16)
    ct = random.integers(-1024, 600, (16, 16, 16)).astype(np.int16)
    layout = np.zeros((16, 16, 16), np.uint8)
    layout[4:12, 5:11, 3:14], layout[7:9, 7:9, 7:9] = LUNG, NODULE
    before = scan.copy()

    back = put_back(scan, ct, layout, [NODULE], GRID)

    assert np.array_equal(back.ct[back.layout != NODULE], scan[back.layout != NODULE])
    assert (back.ct[back.layout == NODULE] != scan[back.layout == NODULE]).mean() > 0.9
    assert np.array_equal(scan, before)


def test_beyond_the_grid_nothing_changes_even_where_all_of_it_was_drawn() -> None:
    scan = np.full(SHAPE, 100, np.int16)
    ct = np.full((16, 16, 16), -500, np.int16)
    layout = np.zeros((16, 16, 16), np.uint8)

    back = put_back(scan, ct, layout, [BACKGROUND, LUNG, NODULE], GRID)

    z, y, x = np.nonzero(back.ct == -500)
    assert ((back.ct == -500) | (back.ct == 100)).all()
    # From 4.3 to 4.3 + 16 x 2.05 = 37.1 and so on, a voxel's centre half a voxel on.
    assert (z.min(), z.max(), y.min(), y.max(), x.min(), x.max()) == (4, 36, 3, 24, 5, 30)


def test_a_volume_of_which_nothing_was_drawn_is_the_scan() -> None:
    scan = np.random.default_rng(0).integers(-1024, 3072, SHAPE).astype(np.int16)

    back = put_back(
        scan, np.zeros((16, 16, 16), np.int16), np.ones((16, 16, 16), np.uint8), (), GRID
    )

    assert np.array_equal(back.ct, scan)


def test_each_scan_voxel_has_the_label_of_the_grid_voxel_that_it_lies_in() -> None:
    layout = np.random.default_rng(0).integers(0, 3, (16, 16, 16)).astype(np.uint8)

    found = layout_on_scan(layout, SHAPE, GRID)

    to_grid = np.linalg.inv(GRID.affine(OBLIQUE)) @ OBLIQUE
    ijk = world(SHAPE, to_grid)
    cells = np.floor(ijk + 0.5).astype(int)[..., ::-1]
    inside = ((cells >= 0) & (cells < 16)).all(axis=-1)
    expected = np.where(inside, layout[tuple(np.clip(cells, 0, 15).transpose(3, 0, 1, 2))], 0)
    assert np.array_equal(found, expected)
    assert inside.mean() > 0.1
    assert ijk_from_zyx(found).shape == SHAPE[::-1]


def test_a_layout_on_a_grid_of_twice_the_voxels_comes_back_as_it_was() -> None:
    """Every scan voxel's centre is a border of the grid: rounding may not decide."""
    layout = np.random.default_rng(0).integers(0, 3, (16, 16, 16)).astype(np.uint8)
    doubled = layout.repeat(2, 0).repeat(2, 1).repeat(2, 2)
    grid = grid_over_scan((16, 16, 16), size=32)

    found = layout_on_scan(
        doubled, (16, 16, 16), grid_in_scan(grid.affine(OBLIQUE), OBLIQUE, (32, 32, 32))
    )

    assert np.array_equal(found, layout)


@pytest.mark.parametrize("seed", range(8))
def test_a_scan_voxel_between_two_of_the_grid_gets_the_upper_one_whatever_the_last_bit(
    seed: int,
) -> None:
    """Odd and even cells differ here, so a centre that falls short of its border by a bit shows."""
    layout = np.zeros((32, 32, 32), np.uint8)
    layout[1::2, 1::2, 1::2] = LUNG
    grid = grid_over_scan((16, 16, 16), size=32)
    affine = OBLIQUE.copy()
    affine[:3, 3] = np.random.default_rng(seed).normal(0, 300, 3)

    found = layout_on_scan(
        layout, (16, 16, 16), grid_in_scan(grid.affine(affine), affine, (32, 32, 32))
    )

    assert (found == LUNG).all()


def test_drawn_are_the_labels_that_differ_from_the_donor() -> None:
    donor = np.zeros((3, 3, 3), np.int16)
    layout = np.zeros((3, 3, 3), np.uint8)
    layout[1], layout[2] = LUNG, NODULE
    ct = donor.copy()

    assert drawn_labels(ct, donor, layout) == ()
    ct[2, 0, 0] = 7
    assert drawn_labels(ct, donor, layout) == (NODULE,)
    ct[1, 0, 0] = 7
    assert drawn_labels(ct, donor, layout) == (LUNG, NODULE)
    ct[0, 0, 0] = 7
    assert drawn_labels(ct, donor, layout) == (BACKGROUND, LUNG, NODULE)
