"""Outlines of a structure set become masks on the slices that they were drawn on."""

import numpy as np
import pytest
from annotation_files import circles, dice, sphere, square, stack_of
from scipy import ndimage

from factory.errors import CaseError
from factory.ingest.masks import planes


@pytest.mark.parametrize(
    "stack",
    [stack_of(), stack_of(turn_deg=25.0), stack_of(tilt_deg=15.0)],
    ids=["straight", "turned", "tilted"],
)
def test_the_outlines_of_a_sphere_fill_the_sphere(drawn_rtstruct, stack):
    found = drawn_rtstruct({"GTV": circles(stack, 18.0)}, stack)
    assert dice(found.nodule, sphere(stack, 18.0)) > 0.995
    assert found.lung is None
    assert (found.names, found.left_out, found.notes) == (("GTV",), (), ())


def test_lungs_and_nodules_are_told_apart_and_the_rest_is_counted_but_not_named(drawn_rtstruct):
    stack = stack_of()
    found = drawn_rtstruct(
        {
            "Lung_L": [square(stack, 4, 2.5, 8.5)],
            "Lung_R": [square(stack, 4, 20.5, 30.5)],
            "GTV-1": [square(stack, 4, 4.5, 6.5)],
            "Heart of Doe": [square(stack, 4, 10.5, 20.5)],
        },
        stack,
    )
    assert found.lung.sum() == 36 + 100
    assert found.nodule.sum() == 4
    assert found.left_out == ("Heart of Doe",)
    assert found.notes == (
        "RTSTRUCT: 1 of 4 structures are neither lung nor nodule by their names, and left out",
    )


def test_a_square_lands_on_its_pixels(drawn_rtstruct):
    stack = stack_of()
    found = drawn_rtstruct({"GTV": [square(stack, 7, 9.5, 12.5)]}, stack)
    expected = np.zeros(stack.ct_hu.shape, bool)
    expected[7, 10:13, 10:13] = True
    np.testing.assert_array_equal(found.nodule, expected)


def test_an_outline_within_an_outline_is_a_hole_on_its_own_slice_alone(drawn_rtstruct):
    stack = stack_of()
    found = drawn_rtstruct(
        {
            "Lungs": [
                square(stack, 3, 4.5, 20.5),
                square(stack, 3, 9.5, 14.5),
                square(stack, 4, 4.5, 20.5),
            ]
        },
        stack,
    )
    assert found.lung[3].sum() == 256 - 25
    assert found.lung[4].sum() == 256


def test_an_outline_that_is_written_twice_is_drawn_once(drawn_rtstruct):
    stack = stack_of()
    twice = [square(stack, 3, 4.5, 20.5)] * 2
    assert drawn_rtstruct({"Lung": twice}, stack).lung.sum() == 256


def test_structures_that_overlap_are_united(drawn_rtstruct):
    stack = stack_of()
    found = drawn_rtstruct(
        {"GTV1": [square(stack, 3, 4.5, 10.5)], "GTV2": [square(stack, 3, 4.5, 8.5)]}, stack
    )
    assert found.nodule.sum() == 36


def test_an_outline_between_two_slices_is_drawn_on_the_nearer_one(drawn_rtstruct):
    stack = stack_of()
    found = drawn_rtstruct(
        {"GTV": [square(stack, 5.4, 4.5, 8.5), square(stack, 8.7, 4.5, 8.5)]}, stack
    )
    assert np.flatnonzero(found.nodule.any(axis=(1, 2))).tolist() == [5, 9]


@pytest.mark.parametrize("step", [2, 3])
def test_the_slices_between_outlines_are_filled_from_the_nearest(drawn_rtstruct, step):
    stack = stack_of()
    every = [square(stack, k, 4.5, 6.5 + k) for k in range(13)]
    found = drawn_rtstruct({"GTV": every[::step]}, stack)
    whole = drawn_rtstruct({"GTV": every}, stack).nodule
    for k in range(13):
        nearest = k - k % step if k % step * 2 <= step else k - k % step + step
        np.testing.assert_array_equal(found.nodule[k], whole[nearest])
    num = 13 - len(every[::step])
    assert found.notes == (
        f"RTSTRUCT: {num} slice{'s' * (num > 1)} between contours of one structure filled from the nearest of them",
    )


def test_a_sphere_that_is_outlined_on_every_second_slice_is_one_sphere(drawn_rtstruct):
    stack = stack_of()
    found = drawn_rtstruct({"GTV": circles(stack, 18.0)[::2]}, stack)
    assert ndimage.label(found.nodule)[1] == 1
    assert dice(found.nodule, sphere(stack, 18.0)) > 0.93


def test_outlines_far_apart_stay_apart_with_a_note(drawn_rtstruct):
    stack = stack_of()
    found = drawn_rtstruct({"GTV": [square(stack, k, 4.5, 8.5) for k in (2, 6)]}, stack)
    assert np.flatnonzero(found.nodule.any(axis=(1, 2))).tolist() == [2, 6]
    assert found.notes == (
        "RTSTRUCT: 1 gap of more than 10 mm between contours of one structure left open",
    )


def test_outlines_beside_each_other_and_of_other_structures_are_not_joined(drawn_rtstruct):
    stack = stack_of()
    found = drawn_rtstruct(
        {
            "GTV": [square(stack, 3, 4.5, 8.5), square(stack, 5, 20.5, 24.5)],
            "GTV2": [square(stack, 9, 4.5, 8.5)],
            "GTV3": [square(stack, 11, 4.5, 8.5)],
        },
        stack,
    )
    assert np.flatnonzero(found.nodule.any(axis=(1, 2))).tolist() == [3, 5, 9, 11]
    assert found.notes == ()


def test_only_the_piece_that_goes_on_is_continued(drawn_rtstruct):
    stack = stack_of()
    found = drawn_rtstruct(
        {
            "GTV": [
                square(stack, 3, 4.5, 8.5),
                square(stack, 3, 20.5, 24.5),
                square(stack, 5, 4.5, 8.5),
            ]
        },
        stack,
    )
    assert found.nodule.sum(axis=(1, 2))[3:6].tolist() == [32, 16, 16]
    assert found.nodule[4, 5:9, 5:9].all()


def test_the_pixels_to_fill_count_as_work(drawn_rtstruct, monkeypatch):
    stack = stack_of()
    monkeypatch.setattr(planes, "_MAX_STEPS", 150)
    # Two edges cross the 30 rows of each; the rest is area: 31 * 31 // 16 = 60.
    assert drawn_rtstruct({"GTV": [square(stack, 3, 4.5, 34.5)]}, stack).nodule.sum() == 900
    with pytest.raises(CaseError, match="takes more than 150 steps"):
        drawn_rtstruct({"GTV": [square(stack, k, 4.5, 34.5) for k in (3, 9)]}, stack)


def test_of_planes_finer_than_the_slices_the_nearest_counts(drawn_rtstruct):
    stack = stack_of()
    planes = [square(stack, 4.6, 4.5, 6.5), square(stack, 5.1, 4.5, 9.5)]
    found = drawn_rtstruct({"GTV": [*planes, square(stack, 5.4, 4.5, 20.5)]}, stack)
    assert found.nodule[5].sum() == 25
    assert found.nodule.sum() == 25


def test_outlines_beside_their_slices_are_drawn_with_a_note_of_how_far(drawn_rtstruct):
    stack = stack_of()
    beside = [np.add(points, (0.0, 0.0, 0.9)) for points in circles(stack, 18.0)]
    found = drawn_rtstruct({"GTV": beside}, stack)
    num = len(np.flatnonzero(found.nodule.any(axis=(1, 2))))
    assert found.notes == (
        f"RTSTRUCT: contours of {num} of {num} planes lie up to 0.9 mm from the slice that they are "
        "drawn on",
    )


def test_the_outlines_that_lie_between_slices_alone_are_counted(drawn_rtstruct):
    stack = stack_of()
    found = drawn_rtstruct({"GTV": [square(stack, k, 4.5, 8.5) for k in (3, 4.05, 5.4)]}, stack)
    assert found.notes == (
        "RTSTRUCT: contours of 1 of 3 planes lie up to 1.2 mm from the slice that they are drawn on",
    )


def test_outlines_on_their_slices_and_finer_ones_between_have_no_note(drawn_rtstruct):
    stack = stack_of()
    finer = [square(stack, k / 2, 4.5, 8.5) for k in range(8, 17)]
    assert drawn_rtstruct({"GTV": finer}, stack).notes == ()
