import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from factory.axes import ras_from_zyx, spacing_zyx
from factory.geometry import (
    ModelGrid,
    grid_at_spacing,
    grid_over_box,
    grid_over_scan,
    resample_hu,
    resample_labels,
    voxel_volume_mm3,
)
from factory.intensity import HuWindow

PROFILE = settings(deadline=None, derandomize=True, max_examples=60)

shapes = st.tuples(*[st.integers(2, 14)] * 3)
spacings = st.tuples(*[st.floats(0.4, 6.0)] * 3)
angles = st.floats(-np.pi, np.pi)


@st.composite
def affines(draw):
    """An affine of any orientation and place, right-handed or mirrored."""
    a, b = draw(angles), draw(angles)
    about_z = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    about_x = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    signs = draw(st.tuples(*[st.sampled_from([-1.0, 1.0])] * 3))
    affine = np.eye(4)
    affine[:3, :3] = about_z @ about_x @ np.diag(np.multiply(draw(spacings), signs))
    affine[:3, 3] = draw(st.tuples(*[st.floats(-500, 500)] * 3))
    return affine


@st.composite
def masks(draw):
    """A box of voxels within a scan."""
    mask = np.zeros(draw(shapes), dtype=bool)
    low = [draw(st.integers(0, n - 1)) for n in mask.shape]
    high = [draw(st.integers(a + 1, n)) for a, n in zip(low, mask.shape, strict=True)]
    mask[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] = True
    return mask


@st.composite
def windows(draw):
    low = draw(st.integers(-2000, 0))
    return HuWindow(float(low), float(low + draw(st.integers(1, 4095))))


@PROFILE
@given(masks(), affines(), st.sampled_from([4, 16]), st.floats(0.0, 40.0))
def test_the_centre_of_every_grid_voxel_lies_where_the_scan_was_sampled(mask, affine, size, margin):
    grid = grid_over_box(mask, spacing_zyx(affine), size=size, margin_mm=margin)
    for index in ((0, 0, 0), (size - 1, 0, 1), (1, size - 1, 0), (2, 1, size - 1)):
        z, y, x = (float(grid.centres(axis)[i]) for axis, i in enumerate(index))
        of_grid = ras_from_zyx(grid.affine(affine), index)
        # A micrometre.
        np.testing.assert_allclose(of_grid, ras_from_zyx(affine, (z, y, x)), atol=1e-3)


@PROFILE
@given(masks(), spacings, st.sampled_from([4, 16]), st.floats(0.0, 40.0))
def test_a_grid_over_the_lungs_holds_them_and_stays_within_the_scan(mask, spacing, size, margin):
    grid = grid_over_box(mask, spacing, size=size, margin_mm=margin)
    for axis, hit in enumerate(np.nonzero(mask)):
        low, high = grid.start[axis], grid.start[axis] + size * grid.step[axis]
        assert -1e-9 <= low <= hit.min()
        assert hit.max() + 1 <= high + 1e-9
        assert high <= mask.shape[axis] + 1e-9
        assert (hit.min() - low) * spacing[axis] <= margin + 1e-6


@PROFILE
@given(masks(), affines(), st.floats(0.5, 5.0))
def test_a_grid_of_fixed_spacing_is_isotropic_in_every_orientation(mask, affine, target_mm):
    grid = grid_at_spacing(mask, spacing_zyx(affine), size=16, target_mm=target_mm)
    np.testing.assert_allclose(spacing_zyx(grid.affine(affine)), target_mm)
    np.testing.assert_allclose(voxel_volume_mm3(grid.affine(affine)), target_mm**3)


@PROFILE
@given(shapes, st.tuples(*[st.integers(-40, 40)] * 3), st.integers(1, 16))
def test_a_linear_ramp_stays_linear_along_every_axis(shape, slopes, size):
    z, y, x = np.indices(shape)
    ct = (slopes[0] * z + slopes[1] * y + slopes[2] * x).astype(np.int16)
    grid = ModelGrid(size, (0.5, 0.5, 0.5), tuple((n - 1) / size for n in shape))
    at_z, at_y, at_x = np.meshgrid(*[grid.centres(axis) for axis in range(3)], indexing="ij")
    expected = slopes[0] * at_z + slopes[1] * at_y + slopes[2] * at_x
    # Half a HU from rounding, and the last bits of float32.
    np.testing.assert_allclose(resample_hu(ct, grid, air_hu=-1024), expected, atol=0.501)


@PROFILE
@given(masks(), spacings, st.floats(0.3, 9.0), st.integers(0, 2**32 - 1))
def test_labels_are_those_of_the_voxel_that_a_grid_voxels_centre_lies_in(
    mask, spacing, target_mm, seed
):
    labels = np.random.default_rng(seed).integers(1, 3, mask.shape, np.uint8)
    grid = grid_at_spacing(mask, spacing, size=8, target_mm=target_mm)
    resampled = resample_labels(labels, grid)
    for index in np.random.default_rng(seed).integers(0, 8, (20, 3)):
        # From voxel edges: index n of the scan covers [n, n + 1).
        edges = [grid.centres(axis)[i] + 0.5 for axis, i in enumerate(index)]
        if any(np.isclose(edge, round(edge)) for edge in edges):
            continue
        inside = all(0 < edge < n for edge, n in zip(edges, labels.shape, strict=True))
        expected = labels[tuple(int(edge) for edge in edges)] if inside else 0
        assert resampled[tuple(index)] == expected


@PROFILE
@given(st.integers(1, 12), st.integers(0, 12), st.sampled_from([0.0, 0.25, 0.5, 0.75]))
def test_a_grid_of_the_scans_own_spacing_takes_each_slice_once(size, first, off):
    num_slices = first + size + 1
    slices = np.arange(1, num_slices + 1, dtype=np.uint8)[:, None, None]
    labels = np.broadcast_to(slices, (num_slices, size, size))
    grid = ModelGrid(size, (first + off, 0.0, 0.0), (1.0, 1.0, 1.0))
    assert (np.diff(resample_labels(labels, grid)[:, 0, 0].astype(int)) == 1).all()


@PROFILE
@given(shapes, st.integers(1, 20), st.integers(0, 2**32 - 1))
def test_resampling_never_leaves_the_range_of_the_scan(shape, size, seed):
    ct = np.random.default_rng(seed).integers(-1024, 3071, shape, np.int16, endpoint=True)
    resampled = resample_hu(ct, grid_over_scan(shape, size=size), air_hu=-1024)
    assert ct.min() <= resampled.min()
    assert resampled.max() <= ct.max()


@PROFILE
@given(windows())
def test_every_hu_of_a_window_comes_back_exactly_and_others_as_its_nearest_end(window):
    hu = np.arange(-3024, 3072, dtype=np.int16)
    decoded = window.decode(window.encode(hu))
    np.testing.assert_array_equal(decoded, np.clip(hu, window.low_hu, window.high_hu))


@PROFILE
@given(windows(), st.lists(st.floats(-1.0, 1.0, width=32), min_size=1))
def test_what_a_sampler_draws_is_stored_to_half_a_hu(window, drawn):
    units = np.array(drawn, np.float32)
    hu = (units.astype(np.float64) + 1) / 2 * (window.high_hu - window.low_hu) + window.low_hu
    np.testing.assert_allclose(window.decode(units), hu, atol=0.5 + 1e-9)
