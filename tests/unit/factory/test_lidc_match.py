from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from factory.lidc.draw import DrawnRead
from factory.lidc.match import match_reads
from factory.lidc.reads import Ratings

PROFILE = settings(deadline=None, derandomize=True, max_examples=80)
SPACING_MM = (2.5, 0.8, 0.8)
REACH_MM = 2.5
A, B, C, D = range(4)


def read(reader, slices, rows, columns, **ratings):
    """Return a read that is a box: each of its ranges from the first to before the last voxel."""
    low, high = zip(slices, rows, columns, strict=True)
    return DrawnRead(
        reader=reader,
        ratings=Ratings(**ratings),
        corner=low,
        mask=np.ones(np.subtract(high, low), bool),
    )


def voxels(reads):
    """Return the voxels of some reads of one reader."""
    return {
        tuple(int(at) for at in np.add(index, read.corner))
        for read in reads
        for index in np.argwhere(read.mask)
    }


def matched(*reads, reach_mm=REACH_MM):
    """Return the nodules as sets of (reader, voxels), largest read first."""
    matches = match_reads(reads, SPACING_MM, reach_mm)
    for match in matches:
        assert len({read.reader for read in match}) == len(match)
        sizes = [read.num_voxels for read in match]
        assert sizes == sorted(sizes, reverse=True)
    return [{read.reader: frozenset(voxels([read])) for read in match} for match in matches]


def nodules_of(*groups):
    return [{r.reader: frozenset(voxels([r])) for r in group} for group in groups]


def test_reads_that_overlap_are_one_nodule_and_others_are_not():
    near = [read(reader, (4, 8), (10 + reader, 20), (10, 20)) for reader in (A, B, C)]
    far = [read(A, (4, 8), (30, 36), (10, 20)), read(D, (4, 7), (31, 36), (10, 20))]
    assert matched(*near, *far) == nodules_of(near, far)


def test_a_reader_alone_has_a_nodule_for_each_read():
    reads = [read(A, (4, 8), (10, 20), (10, 20)), read(A, (4, 8), (20, 25), (10, 20))]
    assert matched(*reads) == nodules_of(reads[:1], reads[1:])


@pytest.mark.parametrize(("gap", "one"), [(0, True), (2, True), (3, False)])
def test_reads_that_come_as_close_as_one_slice_to_the_next_are_one_nodule(gap, one):
    a, b = read(A, (4, 6), (10, 15), (10, 15)), read(B, (4, 6), (10, 14), (15 + gap, 20 + gap))
    assert matched(a, b) == (nodules_of([a, b]) if one else nodules_of([a], [b]))


@pytest.mark.parametrize(("gap", "one"), [(0, True), (1, False)])
def test_reads_on_slices_that_follow_each_other_are_one_nodule(gap, one):
    a, b = read(A, (4, 6), (10, 15), (10, 15)), read(B, (6 + gap, 8 + gap), (10, 15), (10, 14))
    assert matched(a, b) == (nodules_of([a, b]) if one else nodules_of([a], [b]))


def test_nearness_is_measured_between_the_nearest_voxels_and_not_between_boxes():
    corner = np.zeros((1, 10, 10), bool)
    corner[0, 0, :] = corner[0, :, 0] = True
    a = DrawnRead(reader=A, ratings=Ratings(), corner=(4, 10, 10), mask=corner)
    b = read(B, (4, 5), (16, 20), (16, 20))
    assert matched(a, b) == nodules_of([a], [b])
    assert matched(a, b, reach_mm=5.0) == nodules_of([a, b])


def test_two_nodules_that_touch_stay_two_where_their_readers_drew_two():
    left = [read(reader, (4, 8), (10, 20), (10, 20 + reader)) for reader in (A, B, C)]
    right = [read(reader, (4, 8), (10, 20), (20 + reader, 27)) for reader in (A, B, C)]
    crossing = read(D, (4, 8), (10, 20), (10, 24))
    assert matched(*left, *right) == nodules_of(left[::-1], right)
    assert matched(*left, *right, crossing) == nodules_of([crossing, *left[::-1]], right)


def test_a_read_goes_with_the_one_that_it_overlaps_best_and_not_with_the_largest():
    left = read(B, (4, 8), (10, 20), (10, 40))
    right, mine = read(B, (4, 8), (10, 20), (41, 51)), read(A, (4, 8), (10, 20), (39, 50))
    assert matched(left, right, mine) == nodules_of([left], [mine, right])


def test_pieces_of_one_reader_inside_anothers_nodule_are_united_and_rated_as_the_largest():
    whole = read(A, (4, 8), (10, 20), (10, 30), malignancy=5)
    pieces = [
        read(B, (4, 8), (10, 20), (10, 18), malignancy=2),
        read(B, (4, 8), (10, 20), (22, 28), malignancy=1),
        read(B, (5, 7), (12, 16), (29, 31), malignancy=4),
    ]
    (nodule,) = match_reads([pieces[1], whole, pieces[2], pieces[0]], SPACING_MM, REACH_MM)
    assert [r.reader for r in nodule] == [A, B]
    assert voxels([nodule[1]]) == voxels(pieces)
    assert [r.ratings.malignancy for r in nodule] == [5, 2]


def test_pieces_whose_boxes_overlap_keep_all_their_voxels_when_they_are_united():
    whole = read(A, (4, 5), (10, 20), (10, 20))
    upper = np.triu(np.ones((1, 10, 10), bool)[0], 3)[None]
    lower = np.tril(np.ones((1, 10, 10), bool)[0], -1)[None]
    pieces = [
        DrawnRead(reader=B, ratings=Ratings(), corner=(4, 10, 10), mask=mask)
        for mask in (upper, lower)
    ]
    (nodule,) = match_reads([whole, *pieces], SPACING_MM, REACH_MM)
    assert voxels([nodule[1]]) == voxels(pieces)


def test_a_nodule_that_one_reader_marked_twice_is_one():
    once = [read(reader, (4, 8), (10, 20), (10, 20)) for reader in (A, C)]
    twice = [read(B, (4, 8), (10, 20), (10, 18)), read(B, (5, 8), (11, 20), (12, 19))]
    (nodule,) = match_reads([*once, *twice], SPACING_MM, REACH_MM)
    assert sorted(r.reader for r in nodule) == [A, B, C]
    assert voxels([r for r in nodule if r.reader == B]) == voxels(twice)


def test_where_more_readers_drew_pieces_than_a_whole_there_are_as_many_nodules_as_pieces():
    whole = read(A, (4, 8), (10, 20), (10, 30))
    left = [read(reader, (4, 8), (10, 20), (10, 19)) for reader in (B, C)]
    right = [read(reader, (4, 8), (10, 20), (21, 29)) for reader in (B, C)]
    assert matched(whole, *left, *right) == nodules_of([whole, *left], right)


def test_where_as_many_readers_drew_a_whole_as_pieces_there_is_one_nodule():
    wholes = [read(reader, (4, 8), (10, 20), (10, 30)) for reader in (A, D)]
    left = [read(reader, (4, 8), (10, 20), (10, 19)) for reader in (B, C)]
    right = [read(reader, (4, 8), (10, 20), (21, 29)) for reader in (B, C)]
    (nodule,) = matched(*wholes, *left, *right)
    assert {reader: len(held) for reader, held in nodule.items()} == {
        A: 800,
        D: 800,
        B: 680,
        C: 680,
    }


def test_a_read_that_covers_less_than_half_of_a_piece_is_no_whole():
    mine = read(A, (4, 8), (10, 20), (10, 23))
    left, right = read(B, (4, 8), (10, 20), (10, 20)), read(B, (4, 8), (10, 20), (20, 28))
    assert matched(mine, left, right) == nodules_of([mine, left], [right])
    more = read(A, (4, 8), (10, 20), (10, 24))
    assert matched(more, left, right)[0].keys() == {A, B}
    assert len(matched(more, left, right)) == 1


def test_a_whole_may_be_smaller_than_one_of_its_pieces():
    whole = read(A, (4, 5), (10, 20), (15, 28))
    pieces = [read(B, (4, 5), (10, 20), (8, 22)), read(B, (4, 5), (10, 20), (22, 29))]
    assert len(matched(whole, *pieces)) == 1


def test_a_reader_who_drew_pieces_does_not_count_as_one_who_drew_a_whole():
    first = [read(A, (4, 8), (10, 20), (10, 20)), read(B, (4, 8), (10, 20), (8, 16))]
    second = [read(A, (4, 8), (10, 19), (16, 24)), read(C, (4, 8), (10, 19), (15, 22))]
    assert matched(*first, *second) == nodules_of(first, second)


def test_nodules_of_one_size_are_in_the_order_of_their_place_whoever_drew_them():
    left, right = ((4, 5), (10, 14), (10, 14)), ((4, 5), (10, 14), (30, 34))
    for readers in ((A, B), (B, A)):
        reads = [read(reader, *place) for reader, place in zip(readers, (left, right), strict=True)]
        assert matched(*reads) == matched(*reads[::-1]) == nodules_of(reads[:1], reads[1:])


def test_no_reads_are_no_nodules():
    assert matched() == []


boxes = st.builds(
    lambda reader, z, y, x, depth, height, width, malignancy: read(
        reader, (z, z + depth), (y, y + height), (x, x + width), malignancy=malignancy
    ),
    st.integers(0, 3),
    st.integers(0, 4),
    *[st.integers(0, 9)] * 2,
    st.integers(1, 3),
    *[st.integers(1, 5)] * 2,
    st.integers(1, 5),
)


def described(matches):
    """Return what matches hold, without whose it is."""
    return [
        [(r.corner, r.mask.shape, r.mask.tobytes(), r.ratings.malignancy) for r in match]
        for match in matches
    ]


@PROFILE
@given(st.lists(boxes, max_size=9), st.permutations(range(4)), st.randoms(use_true_random=False))
def test_neither_the_order_of_readers_nor_that_of_their_reads_matters(reads, order, random):
    contents = {(r.reader, r.corner, r.mask.shape): r for r in reads}
    reads = list(contents.values())
    other = [replace(r, reader=order[r.reader]) for r in reads]
    random.shuffle(other)
    expected = described(match_reads(reads, SPACING_MM, REACH_MM))
    assert described(match_reads(other, SPACING_MM, REACH_MM)) == expected


@PROFILE
@given(st.lists(boxes, max_size=9))
def test_every_read_is_in_one_nodule_and_each_reader_at_most_once_in_each(reads):
    matches = match_reads(reads, SPACING_MM, REACH_MM)
    for reader in range(4):
        mine = [[r for r in match if r.reader == reader] for match in matches]
        assert all(len(held) <= 1 for held in mine)
        assert voxels([r for held in mine for r in held]) == voxels(
            [r for r in reads if r.reader == reader]
        )
