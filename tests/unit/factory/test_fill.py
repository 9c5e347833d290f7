"""Nodules of a layout get the tissue of real ones: in exactly their voxels, and of about their size."""

import os
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from factory.layouts import LUNG, NODULE
from factory.nodules.crops import NoduleCrops, load_crops
from factory.nodules.fill import NUM_CANDIDATES, fill_nodules

NODE21 = (
    Path(os.environ.get("FACTORY_CT_DIR", "../shared/ct")) / "nodules" / "node21_patches_2mm.npz"
)
LUNG_HU, TISSUE_HU, WALL_HU = -850, 40, 30
SPACING = (2.0, 2.0, 2.0)


@cache
def crop(
    radii_mm: tuple[float, float, float], *, tissue: int = TISSUE_HU, cavity: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """An ellipsoid of one HU in a lung, 25^3 at 2 mm; with a cavity, air fills its inner half."""
    fine = (np.arange(75) + 0.5) * 2 / 3 - 25.0
    grid = np.meshgrid(fine, fine, fine, indexing="ij", sparse=True)
    radius = np.sqrt(sum((axis / r) ** 2 for axis, r in zip(grid, radii_mm, strict=True)))
    hu = np.where(radius < 1, float(tissue), float(LUNG_HU))
    if cavity:
        hu[radius < 0.5] = -1000.0
    blocks = (array.reshape(25, 3, 25, 3, 25, 3).mean(axis=(1, 3, 5)) for array in (hu, radius < 1))
    ct, covered = blocks
    return np.rint(ct).astype(np.int16), np.rint(100 * covered).astype(np.uint8)


def crops_of(*pairs: tuple[np.ndarray, np.ndarray]) -> NoduleCrops:
    cts, masks = zip(*pairs, strict=True)
    return NoduleCrops(
        np.stack(cts), np.stack(masks), tuple(f"crop-{i}" for i in range(len(pairs))), 2.0
    )


def host(
    radii_mm: tuple[float, float, float] = (8.0, 8.0, 8.0),
    center: tuple[int, int, int] = (16, 16, 16),
    spacing: tuple[float, float, float] = SPACING,
) -> tuple[np.ndarray, np.ndarray]:
    """A block of lung in a wall, with one nodule in the layout that the CT has not."""
    ct, layout = np.full((32,) * 3, WALL_HU, np.int16), np.zeros((32,) * 3, np.uint8)
    ct[2:-2, 2:-2, 2:-2], layout[2:-2, 2:-2, 2:-2] = LUNG_HU, LUNG
    layout[ellipsoid(radii_mm, center, spacing)] = NODULE
    return ct, layout


def ellipsoid(
    radii_mm: tuple[float, float, float],
    center: tuple[int, int, int],
    spacing: tuple[float, float, float] = SPACING,
) -> np.ndarray:
    index = np.indices((32,) * 3, dtype=float)
    steps = zip(index, center, spacing, radii_mm, strict=True)
    return sum(((i - c) * s / r) ** 2 for i, c, s, r in steps) < 1


def rng_of(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_every_voxel_of_a_nodule_is_filled_and_no_other_is_touched() -> None:
    ct, layout = host((5.0, 9.0, 12.0))
    before = ct.copy(), layout.copy()
    hu, _ = fill_nodules(ct, layout, SPACING, crops_of(crop((8.0, 8.0, 8.0))), rng_of())
    nodule = layout == NODULE
    np.testing.assert_array_equal(hu[~nodule], ct[~nodule])
    assert (hu[nodule] > LUNG_HU + 200).all()
    np.testing.assert_array_equal(ct, before[0])
    np.testing.assert_array_equal(layout, before[1])


def test_the_core_has_the_tissue_of_the_crop_and_the_rim_is_partly_lung() -> None:
    ct, layout = host((10.0, 10.0, 10.0))
    hu, _ = fill_nodules(ct, layout, SPACING, crops_of(crop((10.0, 10.0, 10.0))), rng_of())
    nodule = layout == NODULE
    core = ndimage.binary_erosion(nodule, iterations=2)
    assert abs(int(np.median(hu[core])) - TISSUE_HU) <= 10
    rim = hu[nodule & ~ndimage.binary_erosion(nodule)]
    assert rim.min() < TISSUE_HU - 300
    assert rim.mean() < TISSUE_HU - 50


def test_a_ground_glass_nodule_stays_fainter_than_a_solid_one() -> None:
    ct, layout = host()
    solid, glass = (
        fill_nodules(ct, layout, SPACING, crops_of(crop((8.0, 8.0, 8.0), tissue=t)), rng_of())[0]
        for t in (40, -600)
    )
    nodule = ndimage.binary_erosion(layout == NODULE)
    assert abs(int(np.median(glass[nodule])) + 600) <= 15
    assert (glass[nodule] < solid[nodule]).all()


def test_what_shows_through_is_the_hosts_lung_and_not_the_crops() -> None:
    ct, layout = host()
    ct[layout != 0] = -700
    glass = crops_of(crop((8.0, 8.0, 8.0), tissue=-600))
    hu, _ = fill_nodules(ct, layout, SPACING, glass, rng_of())
    share = (-600 - LUNG_HU) / (40 - LUNG_HU)
    core = ndimage.binary_erosion(layout == NODULE)
    assert abs(np.median(hu[core]) - (-700 + share * 740)) <= 10


def test_a_cavity_lies_in_the_middle_however_the_nodule_is_stretched() -> None:
    radii = (7.0, 10.0, 16.0)
    ct, layout = host(radii)
    hollow = crops_of(crop((12.0, 12.0, 12.0), cavity=True))
    hu, _ = fill_nodules(ct, layout, SPACING, hollow, rng_of())
    inner = ellipsoid(tuple(0.35 * r for r in radii), (16, 16, 16))  # type: ignore[arg-type]
    ring = ellipsoid(tuple(0.85 * r for r in radii), (16, 16, 16)) & ~ellipsoid(  # type: ignore[arg-type]
        tuple(0.7 * r for r in radii),  # type: ignore[arg-type]
        (16, 16, 16),
    )
    assert hu[inner].mean() < -800 < -250 < hu[ring].mean()


def test_the_long_axis_of_the_crop_is_laid_on_that_of_the_nodule() -> None:
    """Dense ends mark the crop's long axis, z; the nodule is long in x."""
    ct, percent = crop((16.0, 6.0, 6.0))
    ends = ct.copy()
    z = np.arange(25) * 2 - 24
    ends[np.abs(z) > 8] = np.where(percent[np.abs(z) > 8] >= 50, 600, ends[np.abs(z) > 8])
    host_ct, layout = host((6.0, 6.0, 16.0))
    hu, _ = fill_nodules(host_ct, layout, SPACING, crops_of((ends, percent)), rng_of())
    assert min(hu[16, 16, 10], hu[16, 16, 22]) > 400 > 100 > hu[16, 16, 16]


def test_where_the_shape_reaches_beyond_the_crops_its_rim_goes_on() -> None:
    """The corners of a cube lie outside every ball."""
    ct, layout = host()
    layout[layout == NODULE] = LUNG
    layout[10:18, 10:18, 10:18] = NODULE
    hu, _ = fill_nodules(ct, layout, SPACING, crops_of(crop((8.0, 8.0, 8.0))), rng_of())
    corners = hu[10:18:7, 10:18:7, 10:18:7]
    assert corners.min() > -500


def test_a_coarse_voxel_has_the_mean_of_the_tissue_that_it_covers() -> None:
    """Planes of -400 and 480 HU, 2 mm thick, become their mean in voxels of 4 mm."""
    ct, percent = crop((20.0, 20.0, 20.0))
    striped = ct.copy()
    striped[percent == 100] = np.where(np.indices(ct.shape)[0] % 2, -400, 480)[percent == 100]
    spacing = (4.0, 4.0, 4.0)
    host_ct, layout = host((20.0, 20.0, 20.0), spacing=spacing)
    hu, _ = fill_nodules(host_ct, layout, spacing, crops_of((striped, percent)), rng_of())
    core = ndimage.binary_erosion(layout == NODULE, iterations=2)
    assert np.abs(hu[core] - 40).max() < 60


def test_a_nodule_takes_tissue_of_its_own_size() -> None:
    sizes = [3.5, 3.7, 3.9, 12.0] * NUM_CANDIDATES
    crops = crops_of(*(crop((r, r, r)) for r in sizes))
    ct, layout = host((12.0, 12.0, 12.0))
    names = {fill_nodules(ct, layout, SPACING, crops, rng_of(s))[1][0] for s in range(40)}
    assert {sizes[int(name.removeprefix("crop-"))] for name in names} == {12.0}
    assert len(names) > 8


def test_nodules_are_filled_one_by_one_each_with_a_crop_of_its_own() -> None:
    ct, layout = host((4.0, 4.0, 4.0), (8, 8, 8))
    layout[ellipsoid((12.0, 12.0, 12.0), (20, 20, 20))] = NODULE
    small, large = crop((4.0, 4.0, 4.0), tissue=300), crop((12.0, 12.0, 12.0))
    crops = crops_of(*[small] * NUM_CANDIDATES, *[large] * NUM_CANDIDATES)
    hu, names = fill_nodules(ct, layout, SPACING, crops, rng_of())
    assert [int(name.removeprefix("crop-")) < NUM_CANDIDATES for name in names] == [True, False]
    assert hu[8, 8, 8] > 150 > 60 > hu[20, 20, 20]


def test_a_seed_says_every_voxel_and_another_fills_otherwise() -> None:
    ct, layout = host()
    crops = crops_of(*(crop((r, 8.0, 11.0), tissue=t) for r, t in ((7.0, 0), (8.0, 60), (9.0, 90))))
    fillings = [
        fill_nodules(ct, layout, SPACING, crops, rng_of(seed))[0] for seed in (1, *range(1, 9))
    ]
    np.testing.assert_array_equal(fillings[0], fillings[1])
    assert len({filling.tobytes() for filling in fillings}) >= 3


@pytest.mark.parametrize("spacing", [(1.0, 0.7, 0.7), (5.0, 4.0, 4.0)])
def test_a_finer_or_coarser_grid_than_the_crops_is_filled_alike(
    spacing: tuple[float, float, float],
) -> None:
    ct, layout = host((10.0, 10.0, 10.0), spacing=spacing)
    hu, _ = fill_nodules(ct, layout, spacing, crops_of(crop((10.0, 10.0, 10.0))), rng_of())
    nodule = layout == NODULE
    # A coarse voxel of the rim averages more lung.
    assert -250 < hu[nodule].mean() < TISSUE_HU
    assert abs(int(hu[16, 16, 16]) - TISSUE_HU) <= 25


@pytest.mark.parametrize("extent", [(1, 1, 1), (1, 1, 9), (1, 6, 6)])
def test_a_speck_a_line_and_a_plate_are_filled_too(extent: tuple[int, int, int]) -> None:
    ct, layout = host()
    layout[layout == NODULE] = LUNG
    layout[tuple(slice(12, 12 + n) for n in extent)] = NODULE
    hu, _ = fill_nodules(ct, layout, SPACING, crops_of(crop((6.0, 6.0, 6.0))), rng_of())
    assert (hu[layout == NODULE] > -700).all()


def test_a_nodule_in_the_wall_is_filled_over_the_lung_of_the_whole_scan() -> None:
    ct, layout = host()
    layout[layout == NODULE] = LUNG
    layout[26:, 26:, 26:] = 0
    layout[29:31, 29:31, 29:31] = NODULE
    glass = crops_of(crop((6.0, 6.0, 6.0), tissue=-600))
    hu, _ = fill_nodules(ct, layout, SPACING, glass, rng_of())
    assert hu[29:31, 29:31, 29:31].max() < -500


def test_a_layout_without_nodules_leaves_the_scan_as_it_is() -> None:
    ct, layout = host()
    layout[layout == NODULE] = LUNG
    hu, names = fill_nodules(ct, layout, SPACING, crops_of(crop((6.0, 6.0, 6.0))), rng_of())
    np.testing.assert_array_equal(hu, ct)
    assert names == ()


def test_a_ct_of_another_grid_or_type_is_refused_with_both() -> None:
    ct, layout = host()
    crops = crops_of(crop((6.0, 6.0, 6.0)))
    with pytest.raises(ValueError, match=r"the CT is float64 \(32, 32, 32\), expected int16"):
        fill_nodules(ct.astype(float), layout, SPACING, crops, rng_of())  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"\(31, 32, 32\), expected int16 \(32, 32, 32\) like the"):
        fill_nodules(ct[1:], layout, SPACING, crops, rng_of())


@pytest.mark.skipif(not NODE21.exists(), reason=f"no real crops at {NODE21}; set FACTORY_CT_DIR")
def test_real_nodules_stand_out_of_the_lung_as_real_nodules_do() -> None:
    crops = load_crops(NODE21)
    ct, layout = host((6.0, 7.0, 8.0))
    nodule = layout == NODULE
    medians = [
        float(np.median(fill_nodules(ct, layout, SPACING, crops, rng_of(seed))[0][nodule]))
        for seed in range(20)
    ]
    # Most are solid, some are ground glass; none is lung or bone.
    assert -400 < np.median(medians) < 50
    assert -850 < min(medians) < max(medians) < 300
