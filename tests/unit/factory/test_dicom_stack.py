"""Slices in order, in HU, on an even grid, and turned to our orientation."""

import pickle

import nibabel as nib
import numpy as np
import pytest
from dicom_files import IDENTIFIERS, write_series
from nibabel.affines import apply_affine

from factory.axes import ras_from_zyx, spacing_zyx
from factory.dicom.find import find_series
from factory.dicom.read import read_stack
from factory.dicom.stack import Stack
from factory.errors import CaseError

SPACING = (2.0, 0.7, 0.8)
ROWS, COLUMNS = 10, 12


def hu(num=6, *, seed=0, rows=ROWS, columns=COLUMNS):
    return np.random.default_rng(seed).integers(-1000, 1500, (num, rows, columns)).astype(np.int16)


def smooth(num=6, rows=ROWS, columns=COLUMNS):
    """HU that change linearly along each axis, so that interpolation is exact."""
    z, y, x = np.meshgrid(*map(np.arange, (num, rows, columns)), indexing="ij")
    return (-1000 + 20 * z + 7 * y + 11 * x).astype(np.int16)


def rotated(*, degrees=(0.0, 0.0), sheared_mm=(0.0, 0.0)):
    """An affine turned about the patient's long axis, then about left-right."""
    a, b = np.radians(degrees)
    about_z = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    about_x = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    affine = np.eye(4)
    affine[:3, :3] = about_z @ about_x @ np.diag([-0.8, -0.7, 2.0])
    affine[:3, 2] += affine[:3, 0] / 0.8 * sheared_mm[0] + affine[:3, 1] / 0.7 * sheared_mm[1]
    affine[:3, 3] = (100, 80, -200)
    return affine


@pytest.fixture
def stack_of(tmp_path):
    """Write a series, find it and read it."""

    def write_and_read(ct, affine=SPACING, **changes):
        write_series(tmp_path, ct, affine, **changes)
        (series,) = find_series(tmp_path).series
        return read_stack("a", series)

    return write_and_read


def problem(stack_of, *given, **changes):
    with pytest.raises(CaseError) as caught:
        stack_of(*given, **changes)
    return str(caught.value)


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
    assert stack.notes == ("3 slices that were there twice are taken once",)


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
    assert stack.notes == ("1 single missing slices are interpolated (at z -162.00 to -158.00 mm)",)


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
            "2 of 51 slices are missing, in gaps of up to 6.00 mm (at z -162.00 to -156.00 mm)",
        ),
        (
            51,
            [20, 40],
            "2 of 51 slices are missing, in gaps of up to 4.00 mm (at z -162.00 to -158.00 mm, ",
        ),
        (40, [20], "1 of 40 slices are missing, in gaps of up to 4.00 mm"),
        (51, range(10, 24, 2), "-166.00 to -162.00 mm and 2 more) where slices lie 2.00 mm apart"),
    ],
)
def test_more_missing_slices_are_refused_with_their_places(stack_of, num, missing, said):
    assert said in problem(stack_of, hu(num), missing=missing)


def test_a_gap_of_two_slices_is_refused_however_long_the_series(stack_of):
    assert "2 of 101 slices are missing, in gaps of up to 6.00 mm" in problem(
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


@pytest.mark.parametrize("degrees", [(0, 0), (13, 0), (0, 20), (-20, 12), (175, -8)])
@pytest.mark.parametrize("upwards", [True, False])
def test_every_voxel_lies_in_the_patient_where_its_header_says(stack_of, degrees, upwards):
    """Oblique stacks, from the head down too; corner by corner against nibabel."""
    affine = rotated(degrees=degrees)
    if not upwards:
        affine = affine @ np.array([[1, 0, 0, 0], [0, -1, 0, 9], [0, 0, -1, 5], [0, 0, 0, 1.0]])
    ct = hu()
    stack = stack_of(ct, affine)
    np.testing.assert_array_equal(stack.ct_hu, ct)
    np.testing.assert_allclose(stack.affine, affine, atol=1e-4)

    image = nib.as_closest_canonical(nib.Nifti1Image(ct.transpose(2, 1, 0), affine))
    np.testing.assert_array_equal(
        stack.canonical(stack.ct_hu), image.get_fdata().transpose(2, 1, 0)
    )
    np.testing.assert_allclose(stack.canonical_affine, image.affine, atol=1e-4)
    assert nib.aff2axcodes(stack.canonical_affine) == ("R", "A", "S")


@pytest.mark.parametrize("shear", [(0.0, 0.6), (0.0, -0.6), (0.5, 0.3), (-0.4, 0.0)])
def test_a_tilted_gantry_is_made_upright_and_nothing_of_it_is_cut_off(stack_of, shear):
    affine = rotated(degrees=(0, 16), sheared_mm=shear)
    ct = np.full((9, ROWS, COLUMNS), -1000, np.int16)
    corners = [(0, 0, 0), (8, 0, 0), (8, 9, 11), (0, 9, 11), (4, 5, 6), (8, 0, 11), (0, 9, 0)]
    for corner in corners:
        ct[corner] = 1000
    stack = stack_of(ct, affine)
    mask = ct > 0
    turned = stack.canonical(mask)
    np.testing.assert_allclose(stack.affine, affine, atol=1e-4)
    assert turned.sum() == len(corners)
    assert turned.dtype == bool
    steps = stack.canonical_affine[:3, :3] / np.linalg.norm(stack.canonical_affine[:3, :3], axis=0)
    np.testing.assert_allclose(steps.T @ steps, np.eye(3), atol=1e-6)

    there = np.array([ras_from_zyx(stack.canonical_affine, point) for point in np.argwhere(turned)])
    wanted = np.array([apply_affine(affine, point[::-1]) for point in corners])
    nearest = np.linalg.norm(there[:, None] - wanted[None], axis=2).min(axis=0)
    # A mask moves by whole pixels.
    assert nearest.max() < np.hypot(0.4, 0.35) + 1e-3


def test_a_tilted_ct_is_interpolated_and_air_stands_at_its_sides(stack_of):
    affine = rotated(degrees=(0, 16), sheared_mm=(0, 0.53))
    ct = smooth(9)
    stack = stack_of(ct, affine)
    angle = np.degrees(np.arctan2(0.53, 2.0))
    assert stack.notes == (
        f"slices that lean by {angle:.1f} degrees (gantry tilt) are shifted to stand upright",
    )
    turned = stack.canonical(stack.ct_hu)
    assert turned.dtype == np.int16
    assert turned.shape == (9, ROWS + 7, COLUMNS)
    assert turned.min() == -1024
    # HU are linear in space, so each inner voxel has the HU of its own place.
    there = np.argwhere(turned > -1000)
    to_stack = np.linalg.inv(affine) @ stack.canonical_affine
    x, y, z = apply_affine(to_stack, there[:, ::-1]).T
    inner = (y >= 0) & (y <= ROWS - 1)
    assert inner.sum() > 0.85 * ct.size
    expected = -1000 + 20 * z + 7 * y + 11 * x
    np.testing.assert_allclose(turned[tuple(there[inner].T)], expected[inner], atol=0.51)


def test_a_mask_and_its_ct_are_shifted_alike(stack_of):
    affine = rotated(sheared_mm=(0, 0.9))
    ct = np.full((12, 20, 24), -1000, np.int16)
    ct[3:9, 6:14, 8:16] = 500
    stack = stack_of(ct, affine)
    from_ct = stack.canonical(stack.ct_hu) > -250
    from_mask = stack.canonical((ct > 0).astype(np.uint8)) == 1
    assert 2 * (from_ct & from_mask).sum() / (from_ct.sum() + from_mask.sum()) > 0.97


def test_a_header_that_rounds_is_no_tilt(stack_of):
    stack = stack_of(hu(), rotated(sheared_mm=(0.0, 0.01)))
    assert stack.notes == ()
    assert stack.canonical(stack.ct_hu).shape == stack.ct_hu.shape
    np.testing.assert_allclose(stack.affine[:3, 2], [0, 0, 2.0], atol=1e-6)


def test_slices_that_lean_further_than_a_gantry_are_refused(stack_of):
    assert "slices lean by 45 degrees against the way they are stacked" in problem(
        stack_of, hu(), rotated(sheared_mm=(0, 2.0))
    )


def test_no_identifier_leaves_with_a_stack(stack_of):
    stack = stack_of(hu(51), patient_id="MRN-4711", missing=[20], twice=[1])
    said = "\n".join(map(str, (stack.notes, stack.sop_uids, stack.series_uid, stack.study_uid)))
    said += str(pickle.dumps(stack))
    for text in (*IDENTIFIERS, "MRN-4711"):
        assert text not in said


def test_a_stack_crosses_processes(stack_of):
    stack = stack_of(hu(), rotated(degrees=(13, 5)))
    copy = pickle.loads(pickle.dumps(stack))
    assert isinstance(copy, Stack)
    np.testing.assert_array_equal(copy.canonical(copy.ct_hu), stack.canonical(stack.ct_hu))


def test_native_lidc_slices_have_the_hu_the_place_and_the_direction_of_the_patient(ct_dir):
    (series,) = find_series(ct_dir / "lidc_dicom" / "LIDC-IDRI-0001").series
    assert series.shape == (16, 512, 512)
    stack = read_stack("0001", series)
    assert stack.notes == ()
    np.testing.assert_allclose(
        stack.affine,
        [
            [-0.703125, 0, 0, 166.0],
            [0, -0.703125, 0, 171.699997],
            [0, 0, 2.5, -132.5],
            [0, 0, 0, 1],
        ],
        atol=1e-6,
    )
    ct, affine = stack.canonical(stack.ct_hu), stack.canonical_affine
    assert spacing_zyx(affine) == pytest.approx((2.5, 0.703125, 0.703125))
    # Outside the scan circle GE stores -2000, which is no HU.
    assert ct[:, 0, 0].tolist() == [-1024] * 16
    assert -950 < np.median(ct[8, 220:260, 340:400]) < -800
    # In front of the patient is air; behind, the couch.
    assert ct[8, 450:, 256].max() < -850
    assert ct[8, :90, 256].max() > -500
    # The aorta, bright with contrast, lies before the spine and to its left; x grows to the right.
    aorta, spine = ct[8, 193, 245], ct[8, 155, 272]
    assert 150 < aorta < 450
    assert spine > 100
    assert ct[8, 193, 300] < -300
    first, last = (ras_from_zyx(affine, (z, 0, 0))[2] for z in (0, 15))
    assert (first, last) == (-132.5, -95.0)
