from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from lidc_xml import ring

from factory.lidc.outline import enclosed, on_outline

PROFILE = settings(deadline=None, derandomize=True, max_examples=150)
SHAPE = (9, 11)

outlines = st.lists(st.tuples(st.integers(0, 8), st.integers(0, 10)), min_size=1, max_size=9)


def filled(edge, shape=SHAPE):
    return enclosed(np.array(edge, np.int64), shape)


def winds_around(edge, row, column):
    """Whether the polygon winds around a point that is not on it: turns to its right, exactly."""
    turns = 0
    for (r0, c0), (r1, c1) in pairwise([*edge, edge[0]]):
        if min(r0, r1) <= row < max(r0, r1):
            meets = c0 + Fraction((row - r0) * (c1 - c0), r1 - r0)
            turns += (1 if r1 > r0 else -1) * (meets > column)
    return turns != 0


def lies_on(edge, row, column):
    for (r0, c0), (r1, c1) in pairwise([*edge, edge[0]]):
        aligned = (r1 - r0) * (column - c0) == (c1 - c0) * (row - r0)
        within = min(r0, r1) <= row <= max(r0, r1) and min(c0, c1) <= column <= max(c0, c1)
        if aligned and within:
            return True
    return False


def test_the_drawn_pixels_are_the_first_outside():
    inside = filled(ring(3, 4, 2, 5))
    expected = np.zeros(SHAPE, bool)
    expected[3:5, 4:9] = True
    np.testing.assert_array_equal(inside, expected)


def test_a_diamond_that_is_drawn_at_its_corners_alone_is_filled():
    inside = filled([(0, 4), (4, 8), (8, 4), (4, 0)])
    assert inside.sum() == 25
    assert not inside[2, 2]
    assert not inside[6, 6]
    assert inside[2, 3]


def test_an_outline_of_one_or_two_pixels_or_along_a_line_encloses_nothing():
    for edge in ([(3, 3)], [(3, 3), (3, 4)], [(1, 1), (2, 2), (3, 3), (2, 2)], [(2, 2)] * 5):
        assert not filled(edge).any()


def test_a_spicule_that_is_drawn_there_and_back_adds_nothing():
    square = list(ring(2, 2, 3, 3))
    spicule = [(1, 6), (1, 7), (1, 8), (1, 7), (1, 6)]
    corner = square.index((1, 5)) + 1
    np.testing.assert_array_equal(
        filled([*square[:corner], *spicule, *square[corner:]]), filled(square)
    )


def test_an_outline_that_goes_round_twice_encloses_what_it_encloses_once():
    square = list(ring(2, 2, 3, 3))
    np.testing.assert_array_equal(filled(square * 2), filled(square))


def test_a_figure_of_eight_encloses_both_its_loops():
    inside = filled([(0, 0), (4, 8), (0, 8), (4, 0)])
    assert inside[2, 1]
    assert inside[2, 7]
    assert not inside[1, 4]
    assert not inside[2, 4]


def test_the_bay_of_a_horseshoe_is_outside():
    horseshoe = [(1, 1), (7, 1), (7, 4), (3, 4), (3, 6), (7, 6), (7, 9), (1, 9)]
    inside = filled(horseshoe)
    assert inside[2, 5]
    assert not inside[5, 5]


@PROFILE
@example([(0, 0), (8, 5), (3, 10), (8, 0)])
@example([(4, 0), (4, 10), (0, 5), (4, 5), (8, 5)])
@given(outlines)
def test_a_pixel_is_inside_where_the_outline_winds_around_its_centre(edge):
    inside = filled(edge)
    for row, column in np.ndindex(SHAPE):
        expected = not lies_on(edge, row, column) and winds_around(edge, row, column)
        assert inside[row, column] == expected


@PROFILE
@given(outlines)
def test_a_pixel_is_on_the_outline_where_its_centre_lies_on_a_line_of_it(edge):
    on = np.zeros(SHAPE, bool)
    on[on_outline(np.array(edge, np.int64))] = True
    for row, column in np.ndindex(SHAPE):
        assert on[row, column] == lies_on(edge, row, column)


@PROFILE
@given(outlines, st.integers(0, 8))
def test_neither_the_start_nor_the_direction_of_an_outline_matters(edge, start):
    start %= len(edge)
    turned = edge[start:] + edge[:start]
    np.testing.assert_array_equal(filled(turned), filled(edge))
    np.testing.assert_array_equal(filled(turned[::-1]), filled(edge))


@pytest.mark.parametrize("size", [1, 40])
def test_a_disc_keeps_its_area_within_the_ring_that_is_drawn_around_it(size):
    angles = np.linspace(0, 2 * np.pi, 400, endpoint=False)
    edge = np.rint(50 + (size + 1) * np.stack([np.sin(angles), np.cos(angles)], axis=1))
    inside = filled(edge.astype(np.int64), (101, 101))
    # A ring of rounded pixels lies half a pixel in or out.
    assert np.pi * (size - 0.5) ** 2 < inside.sum() < np.pi * (size + 1) ** 2
