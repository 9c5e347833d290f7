"""From a scan's own grid to the cubic grid of a model, and how to get back.

The grid is cut along the scan's own axes, so an oblique scan stays oblique:
the new affine is the scan's affine times a scale and a shift.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from factory.axes import Triple, affine_from_zyx, spacing_zyx

VOXEL_MM = (0.05, 50.0)
"""A voxel of a chest CT is no smaller and no larger; metres or microns are another unit."""

MAX_VOXELS = 2**30
"""1024 slices of 1024 x 1024; full chests at half a millimetre have fewer."""


@dataclass(frozen=True, slots=True)
class ModelGrid:
    """A cube of voxels laid over part of a scan, in the scan's voxel units.

    Index 0 of the scan covers [0, 1) along each axis, so `start` and `step` count
    from voxel edges.
    """

    size: int
    """Voxels along each edge of the cube."""

    start: Triple
    """Lower edge (z, y, x) of the cube, in scan voxels."""

    step: Triple
    """Edge (z, y, x) of one grid voxel, in scan voxels."""

    def centres(self, axis: int) -> NDArray[np.float64]:
        """Return the scan index, fractional, of each grid voxel's centre along an axis."""
        index = np.arange(self.size, dtype=np.float64)
        return self.start[axis] + (index + 0.5) * self.step[axis] - 0.5

    def affine(self, scan_affine: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the 4x4 affine, grid voxel (i, j, k) to RAS mm."""
        first = _triple([float(self.centres(axis)[0]) for axis in range(3)])
        return np.asarray(scan_affine, np.float64) @ affine_from_zyx(self.step, first)


def grid_over_box(
    mask: NDArray[np.bool_], spacing_mm: Triple, *, size: int, margin_mm: float
) -> ModelGrid:
    """Return the grid over the bounding box of `mask` plus a margin, inside the scan.

    Args:
        mask: (z, y, x) bool, not empty.
        spacing_mm: Voxel size (z, y, x) of the mask.
        size: Voxels along each edge of the cube.
        margin_mm: Added on each side where the scan reaches that far.
    """
    start, step = [], []
    for axis in range(3):
        hit = np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis)))
        margin = margin_mm / spacing_mm[axis]
        low = max(0.0, hit[0] - margin)
        high = min(float(mask.shape[axis]), hit[-1] + 1 + margin)
        start.append(low)
        step.append((high - low) / size)
    return ModelGrid(size, _triple(start), _triple(step))


def grid_over_scan(shape: Sequence[int], *, size: int) -> ModelGrid:
    """Return the grid over the whole field of view of a (z, y, x) scan."""
    return ModelGrid(size, (0.0, 0.0, 0.0), _triple([n / size for n in shape]))


def grid_at_spacing(
    mask: NDArray[np.bool_], spacing_mm: Triple, *, size: int, target_mm: float
) -> ModelGrid:
    """Return the isotropic grid of `target_mm` centred on the bounding box of `mask`.

    It may reach beyond the scan; `resample_hu` fills that with air.
    """
    start, step = [], []
    for axis in range(3):
        hit = np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis)))
        voxel = target_mm / spacing_mm[axis]
        start.append((hit[0] + hit[-1] + 1) / 2 - voxel * size / 2)
        step.append(voxel)
    return ModelGrid(size, _triple(start), _triple(step))


def resample_hu(ct: NDArray[np.int16], grid: ModelGrid, *, air_hu: int) -> NDArray[np.int16]:
    """Resample a (z, y, x) int16 CT linearly, once; beyond the scan it is `air_hu`."""
    offset = [float(grid.centres(axis)[0]) for axis in range(3)]
    sampled = ndimage.affine_transform(
        ct.astype(np.float32),
        np.array(grid.step),
        offset=offset,
        output_shape=(grid.size,) * 3,
        order=1,
        mode="nearest",
    )
    resampled = np.rint(sampled).astype(np.int16)
    resampled[_beyond(ct.shape, grid)] = air_hu
    return resampled


def resample_labels(labels: NDArray[Any], grid: ModelGrid) -> NDArray[Any]:
    """Resample (z, y, x) labels to the nearest voxel; beyond the scan they are 0."""
    # Halves go up, all of them: np.rint would send 0.5, 1.5, 2.5 to 0, 2, 2 and lose a slice.
    picks = [
        np.clip(np.floor(grid.centres(axis) + 0.5).astype(int), 0, labels.shape[axis] - 1)
        for axis in range(3)
    ]
    resampled = labels[np.ix_(*picks)]
    resampled[_beyond(labels.shape, grid)] = 0
    return resampled


def voxel_volume_mm3(affine: NDArray[np.float64]) -> float:
    """Return the volume of one voxel in mm^3."""
    return float(abs(np.linalg.det(np.asarray(affine)[:3, :3])))


def describe_spacing(affine: NDArray[np.float64]) -> str:
    """Return "(z, y, x) mm" text for messages."""
    return "({:.2f}, {:.2f}, {:.2f}) mm".format(*spacing_zyx(affine))


def _beyond(shape: Sequence[int], grid: ModelGrid) -> NDArray[np.bool_]:
    outside = []
    for axis, length in enumerate(shape):
        centres = grid.centres(axis)
        outside.append((centres < -0.5) | (centres > length - 0.5))
    z, y, x = outside
    return z[:, None, None] | y[None, :, None] | x[None, None, :]


def _triple(values: Sequence[float]) -> Triple:
    z, y, x = (float(v) for v in values)
    return z, y, x
