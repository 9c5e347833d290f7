import time
from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from factory.errors import UsageError
from factory.phantom import FIELD_OF_VIEW_MM, Phantom, draw_phantom

SEEDS = (0, 3, 8)


@pytest.fixture(scope="module")
def phantoms() -> list[Phantom]:
    return [draw_phantom(seed, size=(48, 72, 96)) for seed in SEEDS]


def _millilitres(phantom: Phantom, mask: NDArray[np.bool_]) -> float:
    return float(mask.sum() * np.prod(phantom.spacing_mm) / 1000.0)


def test_lungs_have_the_volume_of_an_adult_and_are_two(phantoms: list[Phantom]) -> None:
    for phantom in phantoms:
        parts, _ = ndimage.label(phantom.lung)
        sizes = np.sort(np.bincount(parts.ravel())[1:])[::-1]

        assert 2500.0 < _millilitres(phantom, phantom.lung) < 7000.0
        assert sizes[:2].sum() > 0.995 * phantom.lung.sum()
        assert sizes[1] > 0.6 * sizes[0]


def test_tissues_have_the_hu_that_a_reader_expects(phantoms: list[Phantom]) -> None:
    for phantom in phantoms:
        outside = ndimage.binary_erosion(~ndimage.binary_fill_holes(phantom.ct > -300))
        assert np.median(phantom.ct[outside]) == pytest.approx(-1000, abs=5)
        assert -900 < np.median(phantom.ct[phantom.lung]) < -800
        assert 0.03 < (phantom.ct > 150).sum() / (phantom.ct > -300).sum() < 0.25
        fat = ((phantom.ct > -130) & (phantom.ct < -70)).sum()
        muscle = ((phantom.ct > 20) & (phantom.ct < 80)).sum()
        assert 0.2 < fat / muscle < 1.5
        assert phantom.ct.max() > 400


def test_vessels_stand_out_inside_the_lungs(phantoms: list[Phantom]) -> None:
    for phantom in phantoms:
        inside = ndimage.binary_erosion(phantom.lung & (phantom.nodule == 0), iterations=3)
        assert 0.003 < (phantom.ct[inside] > -550).mean() < 0.15


def test_lung_is_denser_at_the_back_of_a_patient_who_lies_on_it(phantoms: list[Phantom]) -> None:
    for phantom in phantoms:
        inside = ndimage.binary_erosion(phantom.lung, iterations=2) & (phantom.ct < -750)
        _, y, _ = np.nonzero(inside)
        hu = phantom.ct[inside]
        front, back = y > np.quantile(y, 0.8), y < np.quantile(y, 0.2)

        assert hu[back].mean() > hu[front].mean() + 15.0


def test_patient_lies_as_ras_says(phantoms: list[Phantom]) -> None:
    for phantom in phantoms:
        z, y, x = np.nonzero(phantom.ct > 350)
        num_z, num_y, num_x = phantom.ct.shape
        middle = (abs(x - num_x / 2) < num_x / 10) & (abs(z - num_z / 2) < num_z / 4)
        assert np.median(y[middle]) < num_y / 2, "the spine is posterior"
        heart = (phantom.ct[: num_z // 2] > 0) & (phantom.ct[: num_z // 2] < 200)
        heart[: num_z // 4] = False
        heart = ndimage.binary_opening(heart, iterations=3)
        assert np.nonzero(heart)[2].mean() < num_x / 2, "the heart is left; x grows to the right"
        bottom = ndimage.median_filter(phantom.ct[1], 5)
        liver_hu, left_hu = bottom[num_y // 2, num_x * 7 // 10], bottom[num_y // 2, num_x * 3 // 10]
        assert liver_hu == pytest.approx(60, abs=15), "the liver is inferior and right"
        assert left_hu < liver_hu - 15


def test_airway_is_dark_and_no_part_of_the_lungs(phantoms: list[Phantom]) -> None:
    for phantom in phantoms:
        top = phantom.ct[-6:]
        body = np.stack([ndimage.binary_fill_holes(plane > -300) for plane in top])
        trachea = body & (top < -800)

        assert trachea.any(axis=(1, 2)).all()
        assert not (trachea & phantom.lung[-6:]).any()


def test_nodules_are_one_to_four_in_the_lungs_and_of_the_promised_size(
    phantoms: list[Phantom],
) -> None:
    counts = []
    small = (draw_phantom(seed, size=(24, 32, 40)) for seed in (10, 11))
    for phantom in [*phantoms, *small]:
        labels = np.unique(phantom.nodule)[1:]
        counts.append(len(labels))
        assert labels.tolist() == list(range(1, len(labels) + 1))
        assert 1 <= len(labels) <= 4
        assert phantom.lung[phantom.nodule > 0].all()
        for label in labels:
            volume_mm3 = 1000.0 * _millilitres(phantom, phantom.nodule == label)
            assert 4.5 < (6.0 * volume_mm3 / np.pi) ** (1 / 3) < 28.0
    assert len(set(counts)) > 1


def test_nodule_is_denser_than_the_lung_around_it(phantoms: list[Phantom]) -> None:
    for phantom in phantoms:
        for label in range(1, int(phantom.nodule.max()) + 1):
            nodule = phantom.nodule == label
            rim = ndimage.binary_dilation(nodule, iterations=3) & phantom.lung
            rim &= ~ndimage.binary_dilation(nodule)
            assert phantom.ct[nodule].mean() > np.median(phantom.ct[rim]) + 100.0


@pytest.mark.parametrize("seed", [0, 27])
def test_nodules_do_not_touch_one_another_where_the_view_leaves_little_room(seed: int) -> None:
    phantom = draw_phantom(seed, size=(8, 16, 20), spacing_mm=(4.0, 8.0, 8.0))

    _, num_parts = ndimage.label(phantom.nodule > 0, structure=np.ones((3, 3, 3)))
    assert num_parts == phantom.nodule.max() == 4


def test_same_seed_gives_the_same_voxels() -> None:
    one, two = (draw_phantom(5, size=(20, 32, 40)) for _ in range(2))

    np.testing.assert_array_equal(one.ct, two.ct)
    np.testing.assert_array_equal(one.nodule, two.nodule)


def test_another_seed_is_another_patient(phantoms: list[Phantom]) -> None:
    for one, two in pairwise(phantoms):
        overlap = 2.0 * (one.lung & two.lung).sum() / (one.lung.sum() + two.lung.sum())
        assert overlap < 0.97
        assert not np.array_equal(one.nodule, two.nodule)


def test_same_patient_is_seen_on_a_finer_grid() -> None:
    coarse = draw_phantom(3, size=(20, 30, 40))
    fine = draw_phantom(3, size=(40, 60, 80))

    assert _millilitres(fine, fine.lung) == pytest.approx(
        _millilitres(coarse, coarse.lung), rel=0.04
    )
    assert fine.nodule.max() == coarse.nodule.max()
    seen = fine.lung.reshape(20, 2, 30, 2, 40, 2).mean(axis=(1, 3, 5)) > 0.5
    overlap = 2.0 * (seen & coarse.lung).sum() / (seen.sum() + coarse.lung.sum())
    assert overlap > 0.96


def test_smallest_useful_grid_still_has_lungs_and_every_nodule() -> None:
    phantom = draw_phantom(0, size=(8, 8, 8))

    assert phantom.lung.any()
    assert phantom.nodule.any()
    assert phantom.lung[phantom.nodule > 0].all()


def test_affine_places_the_grid_in_ras_millimetres() -> None:
    phantom = draw_phantom(0, size=(11, 21, 31), spacing_mm=(20.0, 12.0, 10.0))

    assert phantom.affine.shape == (4, 4)
    # Voxel (i, j, k) is (x, y, z); the grid's centre is the origin.
    np.testing.assert_allclose(phantom.affine @ [15, 10, 5, 1], [0.0, 0.0, 0.0, 1.0])
    np.testing.assert_allclose(phantom.affine @ [16, 10, 5, 1], [10.0, 0.0, 0.0, 1.0])
    np.testing.assert_allclose(phantom.affine @ [15, 11, 6, 1], [0.0, 12.0, 20.0, 1.0])


def test_spacing_spans_the_field_of_view_unless_it_is_given() -> None:
    phantom = draw_phantom(0, size=(20, 30, 40))

    extent_mm = np.multiply(phantom.ct.shape, phantom.spacing_mm)
    np.testing.assert_allclose(extent_mm, FIELD_OF_VIEW_MM)
    given = draw_phantom(0, size=(20, 30, 40), spacing_mm=(9.0, 9.0, 9.0))
    assert given.spacing_mm == (9.0, 9.0, 9.0)


def test_phantom_is_drawn_in_less_than_three_seconds() -> None:
    start = time.process_time()
    draw_phantom(1)

    assert time.process_time() - start < 3.0


def test_field_of_view_without_lung_names_its_extent_and_the_way_out() -> None:
    with pytest.raises(
        UsageError,
        match=r"phantom 2: found no lung voxel in the \(4, 4, 4\) mm .* "
        r"expected about \(300\.0, 270\.0, 360\.0\) mm. Take more voxels",
    ):
        draw_phantom(2, size=(4, 4, 4), spacing_mm=(1.0, 1.0, 1.0))


@pytest.mark.parametrize(
    ("seed", "size", "spacing_mm", "message"),
    [
        (-1, (8, 8, 8), None, r"phantom seed is -1; expected 0 or more"),
        (0, (8, 0, 8), None, r"size \(z, y, x\) is \(8, 0, 8\) voxels; expected at least 1"),
        (0, (8, 8, 8), (1.0, -1.0, 1.0), r"spacing .* is \(1\.0, -1\.0, 1\.0\) mm; expected more"),
        (0, (8, 8, 8), (1.0, float("nan"), 1.0), r"spacing .* nan"),
    ],
)
def test_settings_that_cannot_be_meant_say_what_was_expected(
    seed: int,
    size: tuple[int, int, int],
    spacing_mm: tuple[float, float, float] | None,
    message: str,
) -> None:
    with pytest.raises(UsageError, match=message):
        draw_phantom(seed, size=size, spacing_mm=spacing_mm)
