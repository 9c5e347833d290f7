"""Slices that lie askew: turned to the patient, and a tilted gantry made upright."""

import pickle

import nibabel as nib
import numpy as np
import pytest
from dicom_stacks import COLUMNS, ROWS, hu, problem, smooth
from nibabel.affines import apply_affine

from factory.axes import ras_from_zyx, spacing_zyx
from factory.dicom.find import find_series
from factory.dicom.read import read_stack
from factory.dicom.stack import Stack


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
