"""Slices in order, in HU and on an even grid; what is missing, twice or uneven is mended or refused."""

import pickle

import numpy as np
import pytest
from dicom_files import IDENTIFIERS, write_series
from dicom_stacks import SPACING, hu, problem, smooth

from factory.axes import spacing_zyx
from factory.dicom.find import find_series
from factory.dicom.read import read_stack


def test_uids_follow_the_slices(tmp_path):
    files = write_series(tmp_path, hu(), SPACING)
    stack = read_stack("a", find_series(tmp_path).series[0])
    assert stack.sop_uids == files.sop_uids
    assert (stack.series_uid, stack.study_uid, stack.frame_uid) == (
        files.series_uid,
        files.study_uid,
        files.frame_uid,
    )


def test_a_slice_that_is_there_twice_counts_once(stack_of):
    ct = hu()
    stack = stack_of(ct, twice=[1, 1, 4])
    np.testing.assert_array_equal(stack.ct_hu, ct)
    assert stack.notes == ("taken once: 3 slices that the series has twice",)


def test_different_slices_at_one_place_are_refused(stack_of):
    def other(k, data, seen=[]):  # noqa: B006
        if k in seen:
            data.PixelData = bytes(len(data.PixelData))
        seen.append(k)

    said = problem(stack_of, hu(), twice=[2], edit=other)
    assert said == (
        "case a: 2 different slices lie at one place (slice at z -196.00 mm); expected one, and no header "
        "tells them apart. Export each scan as a series of its own."
    )


@pytest.mark.parametrize("keyword", ["AcquisitionNumber", "TemporalPositionIdentifier"])
def test_phases_in_one_series_are_refused_by_what_tells_them_apart(stack_of, keyword):
    def phase(k, data, seen=[]):  # noqa: B006
        if k in seen:
            data.PixelData = bytes(len(data.PixelData))
        setattr(data, keyword, 1 + seen.count(k))
        seen.append(k)

    assert f"Their {keyword} tells them apart: these are phases or repeated scans" in problem(
        stack_of, hu(), twice=range(6), edit=phase
    )


def test_a_single_missing_slice_is_interpolated_and_told(stack_of):
    ct = smooth(51)
    stack = stack_of(ct, missing=[20])
    np.testing.assert_array_equal(stack.ct_hu, ct)
    assert stack.filled == (20,)
    assert stack.sop_uids[20] == ""
    assert "" not in stack.sop_uids[:20] + stack.sop_uids[21:]
    assert stack.notes == ("interpolated: 1 single missing slice (at z -162.00 to -158.00 mm)",)


def test_a_mask_on_a_missing_slice_is_what_its_neighbours_agree_on(stack_of):
    stack = stack_of(smooth(51), missing=[20])
    mask = np.zeros(stack.ct_hu.shape, np.uint8)
    mask[19, 2:6, 3], mask[21, 4:9, 3] = 2, 2
    kept = mask.copy()
    canonical = stack.canonical(mask)
    np.testing.assert_array_equal(np.flatnonzero(canonical[20].any(axis=1)), [4, 5])
    np.testing.assert_array_equal(np.unique(canonical[20]), [0, 2])
    np.testing.assert_array_equal(mask, kept)
    mask[20, 0, 0] = 1
    assert stack.canonical(mask)[20].sum() == 1


@pytest.mark.parametrize(
    ("num", "missing", "said"),
    [
        (
            51,
            [20, 21],
            "found 2 of 51 slices missing, in gaps of up to 6.00 mm (at z -162.00 to -156.00 mm)",
        ),
        (
            51,
            [20, 40],
            "found 2 of 51 slices missing, in gaps of up to 4.00 mm (at z -162.00 to -158.00 mm, ",
        ),
        (40, [20], "found 1 of 40 slices missing, in gaps of up to 4.00 mm"),
        (51, range(10, 24, 2), "-166.00 to -162.00 mm and 2 more) where slices lie 2.00 mm apart"),
    ],
)
def test_more_missing_slices_are_refused_with_their_places(stack_of, num, missing, said):
    assert said in problem(stack_of, hu(num), missing=missing)


def test_a_gap_of_two_slices_is_refused_however_long_the_series(stack_of):
    assert "found 2 of 101 slices missing, in gaps of up to 6.00 mm" in problem(
        stack_of, hu(101, rows=2, columns=2), missing=[50, 51]
    )


def place(offsets):
    """Move each slice along the normal by so many mm."""

    def edit(k, data):
        x, y, z = data.ImagePositionPatient
        data.ImagePositionPatient = [x, y, round(float(z) + offsets[k], 4)]

    return edit


@pytest.mark.parametrize(
    ("offset", "note"),
    [
        (0.0, ()),
        (0.015, ()),
        (0.15, ("slices that lie up to 0.15 mm beside an even 2.00 mm are taken as even",)),
    ],
)
def test_slices_a_little_beside_an_even_grid_are_taken_as_even(stack_of, offset, note):
    ct = hu()
    stack = stack_of(ct, edit=place([0, 0, offset, 0, 0, 0]))
    np.testing.assert_array_equal(stack.ct_hu, ct)
    assert stack.notes == note
    assert spacing_zyx(stack.affine) == pytest.approx(SPACING)


def test_positions_that_a_header_rounds_are_even(stack_of):
    """0.625 mm slices written to a tenth: gaps of 0.6 and 0.7 mm."""
    even = np.arange(40) * 0.625
    stack = stack_of(hu(40), (0.625, 0.7, 0.8), edit=place(np.floor(even * 10 + 0.5) / 10 - even))
    assert spacing_zyx(stack.affine)[0] == pytest.approx(0.625, abs=0.003)
    assert stack.notes == (
        "slices that lie up to 0.05 mm beside an even 0.63 mm are taken as even",
    )


@pytest.mark.parametrize(
    ("offsets", "said"),
    [
        (
            [0, 0, 0.5, 0, 0, 0],
            "slices lie 1.50 to 2.50 mm apart; expected even slices, to a tenth",
        ),
        ([0, 0, 0, 0.8, 0.8, 0.8], "slices lie 2.00 to 2.80 mm apart; expected even slices"),
        ([0, 1, 3, 6, 10, 15], "slices lie 3.00 to 7.00 mm apart; expected even slices"),
    ],
)
def test_uneven_slices_are_refused(stack_of, offsets, said):
    assert said in problem(stack_of, hu(), edit=place(offsets))


def test_a_series_of_two_distances_is_refused(stack_of):
    offsets = [0.0] * 30 + [3.0 * (k + 1) for k in range(10)]
    assert "10 of" not in (said := problem(stack_of, hu(40), edit=place(offsets)))
    assert "slices lie 2.00 to 5.00 mm apart" in said


def test_parts_that_leap_sideways_are_refused(stack_of):
    def leap(k, data):
        x, y, z = data.ImagePositionPatient
        data.ImagePositionPatient = [float(x) + 30 * (k > 2), y, z]

    assert "slices leap sideways by up to 15.0 pixels; expected a straight stack" in problem(
        stack_of, hu(), edit=leap
    )


def test_no_identifier_leaves_with_a_stack(stack_of):
    stack = stack_of(hu(51), patient_id="MRN-4711", missing=[20], twice=[1])
    said = "\n".join(map(str, (stack.notes, stack.sop_uids, stack.series_uid, stack.study_uid)))
    said += str(pickle.dumps(stack))
    for text in (*IDENTIFIERS, "MRN-4711"):
        assert text not in said
