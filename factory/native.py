"""A synthetic volume back in the grid of its scan: what was drawn changes, and nothing else.

drawn volume, layout --through the inverse of the model grid--> the scan's voxels
the scan's own HU    --------------------------------------------> everywhere else
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from factory.axes import Triple
from factory.geometry import ModelGrid
from factory.layouts import BACKGROUND, LABELS

_SLAB = 16
"""Slices that are interpolated at once: a full chest as float32 would be three times its size."""

_OFF_AXIS = 1e-4
"""Of a scan voxel, that a model grid may lie askew by: what float64 loses on the way is far less."""


_DECIMALS = 9
"""Of a scan voxel, that the place of the grid is known to."""


@dataclass(frozen=True, slots=True, eq=False)
class NativeVolume:
    """A volume on the grid of its scan."""

    ct: NDArray[np.int16]
    """(z, y, x) HU."""
    layout: NDArray[np.uint8]
    """(z, y, x) labels of `factory.layouts`; 0 beyond the model grid."""


def grid_in_scan(
    affine: NDArray[np.float64], source_affine: NDArray[np.float64], shape: Sequence[int]
) -> ModelGrid:
    """Return where a volume lies in its scan: the inverse of `ModelGrid.affine`.

    Args:
        affine: 4x4 of the volume, voxel (i, j, k) to RAS mm.
        source_affine: 4x4 of the scan, likewise.
        shape: (z, y, x) of the volume.

    Raises:
        ValueError: The volume is no cube, or was not cut along the scan's axes.
    """
    if len(set(shape)) != 1 or len(shape) != 3:
        raise ValueError(f"its grid is {tuple(shape)} voxels; expected a cube, as ingest makes")
    between = np.linalg.inv(source_affine) @ affine
    step, first = np.diag(between)[:3], between[:3, 3]
    askew = np.abs(between[:3, :3] - np.diag(step)).max() * shape[0]
    if not (np.isfinite(between).all() and askew < _OFF_AXIS and step.min() > 0):
        raise ValueError("its grid is not cut along the axes of the scan; expected one that is")
    # `ModelGrid` counts from voxel edges, affines from centres. Rounded, because a scan voxel in the
    # middle between two of the grid would else be given to either by the last bit of an inverse.
    step, start = step.round(_DECIMALS), (first + 0.5 - 0.5 * step).round(_DECIMALS)
    return ModelGrid(shape[0], _reversed(start), _reversed(step))


def drawn_labels(
    ct: NDArray[np.int16], donor: NDArray[np.int16], layout: NDArray[np.uint8]
) -> tuple[int, ...]:
    """Return the labels whose voxels were drawn: those of which at least one differs from the donor.

    Args:
        ct: (z, y, x) HU of a synthetic volume.
        donor: (z, y, x) HU of the case that it was drawn into.
        layout: (z, y, x) labels that it was drawn after.
    """
    changed = np.bincount(layout[ct != donor], minlength=max(LABELS.values()) + 1)
    return tuple(label for label in (BACKGROUND, *LABELS.values()) if changed[label])


def put_back(
    scan: NDArray[np.int16],
    ct: NDArray[np.int16],
    layout: NDArray[np.uint8],
    labels: Sequence[int],
    grid: ModelGrid,
) -> NativeVolume:
    """Put what was drawn into the scan, interpolated linearly; every other voxel stays as it is.

    Args:
        scan: (z, y, x) HU of the scan; not changed.
        ct: (z, y, x) HU of a synthetic volume on the model grid.
        layout: (z, y, x) labels of that volume.
        labels: Those that were drawn.
        grid: Where the volume lies in the scan.
    """
    native, out = layout_on_scan(layout, scan.shape, grid), scan.copy()
    drawn = np.isin(native, labels)
    # The grid need not reach as far as the scan: beyond it nothing was drawn, background or not.
    drawn &= _within(scan.shape, grid)
    # Between all voxels of the grid, drawn or not. Between drawn ones alone was tried: the lungs then end
    # in the grid's steps, and a real case put back differs from its scan by 140 to 184 HU within two
    # voxels of their border, instead of 129 to 155.
    values = ct.astype(np.float32)
    for low, high in _slabs(drawn):
        hu = np.rint(_interpolated(values, grid, scan.shape, low, high)).astype(np.int16)
        part = drawn[low:high]
        out[low:high][part] = hu[part]
    return NativeVolume(out, native)


def layout_on_scan(
    layout: NDArray[np.uint8], shape: Sequence[int], grid: ModelGrid
) -> NDArray[np.uint8]:
    """Return labels on a scan of this (z, y, x) shape: of the grid voxel that each centre lies in."""
    picks = [
        np.clip(_cells(axis, shape[axis], grid), 0, grid.size - 1).astype(np.intp)
        for axis in range(3)
    ]
    native: NDArray[np.uint8] = layout[np.ix_(*picks)]
    native[~_within(shape, grid)] = BACKGROUND
    return native


def _interpolated(
    values: NDArray[np.float32], grid: ModelGrid, shape: Sequence[int], low: int, high: int
) -> NDArray[np.float32]:
    """Return slices `low` to `high` of the scan out of a volume on the model grid."""
    first = (float(low), 0.0, 0.0)
    offset = [(first[axis] + 0.5 - grid.start[axis]) / grid.step[axis] - 0.5 for axis in range(3)]
    sampled: NDArray[np.float32] = ndimage.affine_transform(
        values,
        1.0 / np.array(grid.step),
        offset=offset,
        output_shape=(high - low, *shape[1:]),
        order=1,
        mode="nearest",
    )
    return sampled


def _slabs(drawn: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Return the ranges of slices that have something to draw."""
    hit = np.flatnonzero(drawn.any(axis=(1, 2)))
    if not hit.size:
        return []
    end = int(hit[-1]) + 1
    return [(low, min(low + _SLAB, end)) for low in range(int(hit[0]), end, _SLAB)]


def _within(shape: Sequence[int], grid: ModelGrid) -> NDArray[np.bool_]:
    """Return which voxels of a scan have their centres in the grid, to be combined by `&`."""
    inside = []
    for axis in range(3):
        cells = _cells(axis, shape[axis], grid)
        inside.append((cells >= 0) & (cells < grid.size))
    z, y, x = inside
    return z[:, None, None] & y[None, :, None] & x[None, None, :]


def _cells(axis: int, length: int, grid: ModelGrid) -> NDArray[np.float64]:
    """Return the grid voxel, by its number, that each scan voxel's centre lies in."""
    centres = np.arange(length, dtype=np.float64) + 0.5
    return np.floor((centres - grid.start[axis]) / grid.step[axis])


def _reversed(values: NDArray[np.float64]) -> Triple:
    """Return (x, y, z) of an affine as (z, y, x)."""
    x, y, z = (float(value) for value in values)
    return z, y, x
