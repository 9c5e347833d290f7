import numpy as np
import pytest
from matplotlib.path import Path as Outline

from factory.ingest.masks.polygon import fill, num_crossings

SHAPE = (30, 40)


def inside(polygon: np.ndarray, shape: tuple[int, int] = SHAPE) -> np.ndarray:
    pixels = np.stack(np.indices(shape), axis=-1).reshape(-1, 2)
    return Outline(polygon).contains_points(pixels).reshape(shape)


def box(low: float, high: float) -> np.ndarray:
    return np.array([(low, low), (low, high), (high, high), (high, low)])


@pytest.mark.parametrize("seed", range(20))
def test_a_pixel_is_inside_where_its_centre_is(seed):
    rng = np.random.default_rng(seed)
    angle = np.sort(rng.uniform(0, 2 * np.pi, 25))
    radius = rng.uniform(3, 14, 25)
    star = np.stack([15.03 + radius * np.sin(angle), 20.07 + radius * np.cos(angle)], axis=1)
    np.testing.assert_array_equal(fill([star], SHAPE), inside(star))


def test_the_direction_of_an_outline_does_not_matter():
    star = np.array([(2.2, 3.1), (25.7, 8.4), (20.2, 35.6), (4.9, 30.3)])
    np.testing.assert_array_equal(fill([star], SHAPE), fill([star[::-1]], SHAPE))


def test_squares_that_share_an_edge_share_no_pixel_and_leave_none():
    left = np.array([(5, 5), (5, 10), (10, 10), (10, 5)], float)
    right = left + np.array([0, 5])
    both = np.array([(5, 5), (5, 15), (10, 15), (10, 5)], float)
    assert not (fill([left], SHAPE) & fill([right], SHAPE)).any()
    np.testing.assert_array_equal(fill([left], SHAPE) | fill([right], SHAPE), fill([both], SHAPE))
    assert fill([left], SHAPE).sum() == 25


def test_an_outline_within_an_outline_is_a_hole_and_one_within_that_is_not():
    drawn = fill([box(4.5, 24.5), box(9.5, 19.5), box(12.5, 15.5)], SHAPE)
    assert drawn[6, 6]
    assert not drawn[11, 11]
    assert drawn[14, 14]
    assert drawn.sum() == 400 - 100 + 9


def test_a_hole_that_is_reached_by_a_slit_stays_a_hole():
    outer, inner = box(4.5, 24.5), box(9.5, 19.5)[::-1]
    keyhole = np.concatenate([outer, outer[:1], inner, inner[:1]])
    np.testing.assert_array_equal(fill([keyhole], SHAPE), fill([outer, inner], SHAPE))


def test_what_lies_beyond_the_image_is_cut_off():
    assert fill([box(-10.0, 100.0)], SHAPE).all()
    assert fill([box(-10.0, 2.5)], SHAPE).sum() == 9
    assert not fill([box(50.0, 60.0)], SHAPE).any()


@pytest.mark.parametrize("points", [np.zeros((1, 2)), np.array([(3.0, 3.0), (9.0, 9.0)])])
def test_an_outline_without_area_has_no_pixel(points):
    assert not fill([points], SHAPE).any()


def test_the_cost_is_the_rows_that_edges_cross():
    assert num_crossings([box(4.5, 24.5)], 30) == 40
    assert num_crossings([box(-1e9, 1e9)], 30) == 60
