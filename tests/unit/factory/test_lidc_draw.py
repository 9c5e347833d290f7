import numpy as np
import pytest
from lidc_xml import SERIES_UID, box_read, make_stack, on_slice, read_of, reads_of, ring, sop_uid

from factory.errors import CaseError
from factory.lidc import draw
from factory.lidc.draw import draw_reads
from factory.lidc.reads import Ratings


def voxels(read, shape=(12, 40, 44)):
    volume = np.zeros(shape, bool)
    volume[tuple(slice(at, at + n) for at, n in zip(read.corner, read.mask.shape, strict=True))] = (
        read.mask
    )
    return volume


def drawn(*contours, stack=None):
    """Return the voxels of one read, and the notes."""
    stack = stack or make_stack()
    reads, notes = draw_reads(reads_of([read_of(*contours)]), stack)
    return voxels(*reads, shape=stack.ct_hu.shape), notes


def box(slices, row, column, height, width, shape=(12, 40, 44)):
    volume = np.zeros(shape, bool)
    volume[slices, row : row + height, column : column + width] = True
    return volume


def test_a_read_is_what_its_outlines_enclose_on_their_slices():
    contours = [on_slice(k, ring(10, 20, 3, 6)) for k in (4, 5, 7)]
    volume, notes = drawn(*contours)
    np.testing.assert_array_equal(volume, box([4, 5, 7], 10, 20, 3, 6))
    assert notes == []


def test_a_read_keeps_its_reader_its_ratings_and_no_more_than_its_box():
    reads, _ = draw_reads(
        reads_of([], [box_read([4, 5], 10, 20, 3, 6, malignancy=4, texture=2)]), make_stack()
    )
    (read,) = reads
    assert (read.reader, read.ratings) == (1, Ratings(malignancy=4, texture=2))
    assert (read.corner, read.mask.shape, read.num_voxels) == ((4, 10, 20), (2, 3, 6), 36)


@pytest.mark.parametrize("hole_first", [False, True])
def test_an_exclusion_is_taken_out_with_the_pixels_that_were_drawn(hole_first):
    contours = [on_slice(4, ring(10, 20, 9, 9)), on_slice(4, ring(13, 23, 3, 3), inclusion=False)]
    volume, _ = drawn(*contours[:: -1 if hole_first else 1])
    np.testing.assert_array_equal(volume, box([4], 10, 20, 9, 9) & ~box([4], 12, 22, 5, 5))


def test_an_exclusion_of_one_pixel_takes_that_pixel_out_of_its_slice_alone():
    contours = [on_slice(k, ring(10, 20, 3, 3)) for k in (4, 5)]
    volume, _ = drawn(*contours, on_slice(5, [(11, 21)], inclusion=False))
    np.testing.assert_array_equal(volume, box([4, 5], 10, 20, 3, 3) & ~box([5], 11, 21, 1, 1))


def test_two_outlines_on_one_slice_are_both_filled_where_they_overlap_too():
    volume, _ = drawn(on_slice(4, ring(10, 20, 5, 5)), on_slice(4, ring(12, 22, 5, 5)))
    np.testing.assert_array_equal(volume, box([4], 10, 20, 5, 5) | box([4], 12, 22, 5, 5))


def test_an_outline_may_run_along_the_rim_of_the_image():
    volume, _ = drawn(on_slice(0, ring(1, 1, 38, 42)))
    np.testing.assert_array_equal(volume, box([0], 1, 1, 38, 42))


@pytest.mark.parametrize(
    ("pixel", "said"),
    [
        ((10, 44), r"to \(\d+, 44\)"),
        ((40, 10), r"to \(40, \d+\)"),
        ((-1, 10), r"from \(-1, \d+\)"),
        ((10, -1), r"from \(\d+, -1\)"),
    ],
)
def test_an_outline_that_leaves_the_image_is_refused(pixel, said):
    with pytest.raises(CaseError, match=rf"LIDC reader 1, outlined nodule 1 .*{said}.* 40 x 44 im"):
        drawn(on_slice(4, [(10, 10), pixel, (12, 12)]))


def test_the_uid_of_a_slice_goes_before_its_height():
    volume, notes = drawn(on_slice(4, ring(10, 20, 3, 3), uid=sop_uid(9)))
    np.testing.assert_array_equal(volume, box([9], 10, 20, 3, 3))
    assert notes == []


@pytest.mark.parametrize("step_mm", [2.5, -2.5])
def test_contours_of_a_ct_with_new_uids_are_placed_by_their_height(step_mm):
    stack = make_stack(
        spacing_mm=(step_mm, 0.8, 0.8),
        first_z_mm=-100.0 if step_mm > 0 else -72.5,
        sop_uids=[f"9.9.{k}" for k in range(12)],
    )
    volume, notes = drawn(
        on_slice(4, ring(10, 20, 3, 3)), on_slice(5, ring(10, 20, 3, 3)), stack=stack
    )
    slices = [4, 5] if step_mm > 0 else [7, 6]
    np.testing.assert_array_equal(volume, box(slices, 10, 20, 3, 3))
    assert notes == ["2 contours placed by height: no slice has the UID"]


@pytest.mark.parametrize(("off_mm", "placed"), [(0.4, True), (0.6, False), (-0.4, True)])
def test_a_height_may_miss_its_slice_by_a_fifth_of_the_way_to_the_next(off_mm, placed):
    stack = make_stack(first_z_mm=-100.0 + off_mm, sop_uids=[""] * 12)
    contours = [on_slice(4, ring(10, 20, 3, 3)), on_slice(5, ring(10, 20, 3, 3))]
    reads, notes = draw_reads(reads_of([read_of(*contours)]), stack)
    assert len(reads) == placed
    assert ("placed by height" in notes[0]) == placed


def test_a_filled_slice_takes_the_contours_of_its_height():
    uids = [sop_uid(k) if k != 5 else "" for k in range(12)]
    contours = [on_slice(k, ring(10, 20, 3, 3)) for k in (4, 5)]
    volume, notes = drawn(*contours, stack=make_stack(sop_uids=uids, filled=(5,)))
    np.testing.assert_array_equal(volume, box([4, 5], 10, 20, 3, 3))
    assert notes == ["1 contour placed by height: no slice has the UID"]


def test_a_contour_without_a_uid_is_placed_by_its_height_and_never_on_a_slice_without_one():
    stack = make_stack(sop_uids=["" if k == 9 else sop_uid(k) for k in range(12)], filled=(9,))
    volume, _ = drawn(on_slice(4, ring(10, 20, 3, 3), uid=""), stack=stack)
    np.testing.assert_array_equal(volume, box([4], 10, 20, 3, 3))


def test_contours_and_nodules_on_slices_that_the_ct_lacks_are_told():
    contours = [on_slice(k, ring(10, 20, 3, 3)) for k in (10, 11, 12, 13)]
    beyond = read_of(*contours[2:])
    reads, notes = draw_reads(reads_of([read_of(*contours), beyond]), make_stack())
    np.testing.assert_array_equal(voxels(*reads), box([10, 11], 10, 20, 3, 3))
    assert notes == [
        "4 contours on slices that the CT lacks: left out",
        "1 outlined nodule wholly on slices that the CT lacks: left out",
    ]


def test_a_nodule_whose_outlines_enclose_nothing_is_told():
    reads, notes = draw_reads(
        reads_of([read_of(on_slice(4, [(5, 5), (5, 6)])), box_read([5], 8, 8, 2, 2)]), make_stack()
    )
    assert [read.corner for read in reads] == [(5, 8, 8)]
    assert notes == ["1 outlined nodule without a voxel inside: left out"]


def test_reads_of_another_series_are_refused_even_where_the_heights_agree():
    stack = make_stack(series_uid="7.7", sop_uids=[f"7.7.{k}" for k in range(12)])
    with pytest.raises(CaseError, match=r"case c1: the LIDC reads are of another series") as caught:
        drawn(on_slice(4, ring(10, 20, 3, 3)), stack=stack)
    assert SERIES_UID not in str(caught.value)


def test_slices_of_the_same_uids_are_enough_to_know_the_ct():
    volume, _ = drawn(on_slice(4, ring(10, 20, 3, 3)), stack=make_stack(series_uid="7.7"))
    np.testing.assert_array_equal(volume, box([4], 10, 20, 3, 3))


def test_reads_that_take_more_room_than_nodules_do_are_refused_before_it_is_taken(monkeypatch):
    monkeypatch.setattr(draw, "_VOXELS_AT_MOST", 5000)
    reads = [read_of(on_slice(0, [(0, 0)]), on_slice(11, [(39, 43), (38, 42)]))]
    with pytest.raises(CaseError, match=r"outlined nodule 1: the boxes .* more than 5000 voxels"):
        draw_reads(reads_of(reads), make_stack())


def test_many_outlines_of_the_whole_image_are_refused(monkeypatch):
    monkeypatch.setattr(draw, "_VOXELS_AT_MOST", 20_000)
    whole = on_slice(3, ring(1, 1, 38, 42))
    assert len(draw_reads(reads_of([read_of(whole)]), make_stack())[0]) == 1
    with pytest.raises(CaseError, match=r"nodule 1: the boxes around all contours have more than"):
        draw_reads(reads_of([read_of(*[whole] * 20)]), make_stack())


def test_an_outline_that_jumps_about_is_refused():
    there_and_back = [(0, 0), (39, 43)] * 2000
    with pytest.raises(
        CaseError, match=r"an outline of 172000 pixels' length; expected one that g"
    ):
        drawn(on_slice(3, there_and_back))
