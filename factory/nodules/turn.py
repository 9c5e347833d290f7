"""A nodule shape turned at random and brought onto the grid of a layout.

Rotations are ratios of integers instead of sines, so that one seed gives one shape
whatever the machine.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from factory.nodules.bank import NoduleBank, box_of, largest_piece
from factory.nodules.measure import TOUCHING

_MAX_SAMPLES_PER_VOXEL_EDGE = 8
_QUATERNION_RANGE = 1000
_AXIS_ORDERS = tuple(permutations(range(3)))

Index = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class TurnedShape:
    """A shape turned onto the grid of a layout."""

    name: str
    diameter_mm: float
    """As the bank has it."""

    rotation: NDArray[np.float64]
    voxels: NDArray[np.bool_]
    """Its bounding box on the layout's grid."""

    offset: Index
    """From the voxel of its centre to the first voxel of the box."""

    depth_mm: float
    """From its centre to the nearest voxel that it leaves out."""

    def corner(self, center: Index) -> Index:
        """Return the first voxel (z, y, x) of the box when the shape's centre lies at a voxel."""
        z, y, x = (c + o for c, o in zip(center, self.offset, strict=True))
        return z, y, x


def draw_rotation(rng: np.random.Generator) -> NDArray[np.float64]:
    """Return a random turn with a random exchange and flip of axes, 3x3 orthogonal.

    The turn is a unit quaternion's, each direction as likely as the others (Shoemake,
    Graphics Gems III, 1992); here a ratio of whole numbers.
    """
    length = 0
    # Points of a ball, not of its cube: only those make every direction as likely.
    while not 0 < length <= _QUATERNION_RANGE**2:
        w, x, y, z = (int(part) for part in rng.integers(-_QUATERNION_RANGE, _QUATERNION_RANGE, 4))
        length = w * w + x * x + y * y + z * z
    turn = np.array(
        [
            [w * w + x * x - y * y - z * z, 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), w * w - x * x + y * y - z * z, 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), w * w - x * x - y * y + z * z],
        ]
    )
    axes = _AXIS_ORDERS[int(rng.integers(len(_AXIS_ORDERS)))]
    signs = 2 * rng.integers(0, 2, size=3) - 1
    return np.asarray(turn[:, axes] * signs / length, dtype=np.float64)


def turn_shape(
    bank: NoduleBank, shape: int, rotation: NDArray[np.float64], spacing: NDArray[np.float64]
) -> TurnedShape:
    """Turn a shape and resample it to the layout's spacing, keeping its volume.

    Each voxel is sampled at about the bank's spacing; those that the shape covers most
    become nodule, as many as its volume asks for. A threshold on the coverage would lose
    shapes of the size of a voxel.

    Args:
        bank: Where the shape is from.
        shape: Its index in the bank.
        rotation: 3x3 orthogonal, from (z, y, x) of the bank to (z, y, x) of the layout.
        spacing: (3,) voxel size (z, y, x) of the layout in mm.
    """
    mask = bank.masks[shape]
    points = np.argwhere(mask)
    centroid = points.mean(axis=0)
    half = half_width(points, centroid, bank.spacing_mm, spacing)
    coverage = turned_mean(
        mask.astype(np.float32), centroid, bank.spacing_mm, rotation, spacing, half
    )
    num_voxels = max(1, round(len(points) * bank.spacing_mm**3 / float(spacing.prod())))
    voxels = np.zeros(coverage.shape, dtype=bool)
    # Whole steps of coverage and a stable sort: equal voxels go by their index everywhere.
    ranked = np.argsort(-np.rint(coverage * 4096).astype(np.int32), axis=None, kind="stable")
    voxels.ravel()[ranked[:num_voxels]] = True
    voxels = largest_piece(voxels)
    box = box_of(voxels)
    z, y, x = (int(along.start - h) for along, h in zip(box, half, strict=True))
    outside = np.argwhere(~np.pad(voxels[box], 1)) - 1 + (z, y, x)
    depth_mm = float(np.sqrt(((outside * spacing) ** 2).sum(axis=1).min()))
    diameter_mm = float(bank.diameters_mm[shape])
    return TurnedShape(bank.names[shape], diameter_mm, rotation, voxels[box], (z, y, x), depth_mm)


def half_width(
    points: NDArray[np.intp],
    center: NDArray[np.float64],
    source_mm: float,
    spacing: NDArray[np.float64],
) -> NDArray[np.intp]:
    """Return the voxels (3,) of a layout on each side of a centre that points may reach, turned.

    Args:
        points: (n, 3) voxels (z, y, x) of a volume of `source_mm`.
        center: (3,) in the same voxels.
        source_mm: Edge of a voxel of the volume.
        spacing: (3,) voxel size (z, y, x) of the layout in mm.
    """
    radius = np.sqrt(((points - center) ** 2).sum(axis=1).max()) + 1.0
    return np.asarray(np.ceil(radius * source_mm / spacing).astype(int))


def turned_mean(
    volume: NDArray[np.float32],
    center: NDArray[np.float64],
    source_mm: float,
    rotation: NDArray[np.float64],
    spacing: NDArray[np.float64],
    half: NDArray[np.intp],
) -> NDArray[np.float32]:
    """Return the mean of a turned volume over each voxel of a layout around its centre.

    The mean of a mask is how much of each voxel it covers. A voxel is sampled at about the
    volume's spacing.

    Args:
        volume: (z, y, x) on an isotropic grid; 0 beyond it.
        center: (3,) point of the volume, in its voxels, that is put on a voxel's centre.
        source_mm: Edge of a voxel of the volume.
        rotation: 3x3 orthogonal, from (z, y, x) of the volume to (z, y, x) of the layout.
        spacing: (3,) voxel size (z, y, x) of the layout in mm.
        half: (3,) voxels on each side of the centre's.
    """
    samples = np.clip(np.ceil(spacing / source_mm), 1, _MAX_SAMPLES_PER_VOXEL_EDGE).astype(int)
    source_from_mm = rotation.T / source_mm
    num = 2 * half + 1
    first_mm = ((0.5 / samples - 0.5) - half) * spacing
    fine = ndimage.affine_transform(
        volume,
        source_from_mm * (spacing / samples),
        offset=(source_from_mm * first_mm).sum(axis=1) + center,
        output_shape=tuple(num * samples),
        order=1,
        mode="grid-constant",
    )
    blocks = fine.reshape(num[0], samples[0], num[1], samples[1], num[2], samples[2])
    return np.asarray(blocks.mean(axis=(1, 3, 5)))


def overlap(
    corner: NDArray[np.intp], shape: Sequence[int], grid: Sequence[int]
) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Return where a box overlaps a grid: in the grid, and in the box.

    Args:
        corner: (3,) first voxel of the box on the grid; it may lie before the grid's first.
        shape: Of the box.
        grid: Shape of the grid.
    """
    start, stop = np.maximum(corner, 0), np.minimum(corner + shape, grid)
    window = tuple(slice(a, b) for a, b in zip(start, stop, strict=True))
    inner = tuple(slice(a, b) for a, b in zip(start - corner, stop - corner, strict=True))
    return window, inner


def surroundings(
    voxels: NDArray[np.bool_], spacing: NDArray[np.float64], margin_mm: float
) -> tuple[NDArray[np.bool_], NDArray[np.intp]]:
    """Return a nodule with its neighbours and the margin around it.

    Args:
        voxels: (z, y, x) of the nodule's box.
        spacing: (3,) voxel size (z, y, x) in mm.
        margin_mm: Voxels up to this far, from centre to centre, count.

    Returns:
        (z, y, x) bool of a larger box, and by how many voxels (3,) it is larger on each side.
    """
    reach = np.maximum(1, np.floor(margin_mm / spacing)).astype(int)
    padded = np.pad(voxels, [(r, r) for r in reach])
    near = ndimage.distance_transform_edt(~padded, sampling=spacing) <= margin_mm
    return near | ndimage.binary_dilation(padded, structure=TOUCHING), reach
