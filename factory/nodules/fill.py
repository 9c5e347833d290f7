"""The nodules of a layout filled with the tissue of real ones.

each nodule of the layout --nearest in size--> a crop --its axes laid on the nodule's--> HU in it

`factory.nodules.graft` brings shape and tissue of a crop; here the shape is given, and only the tissue
is the crop's.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from factory.axes import Triple
from factory.intensity import HU_MAX, HU_MIN
from factory.layouts import LUNG, NODULE
from factory.nodules.crops import SOFT_TISSUE_HU, CropTissue, NoduleCrops
from factory.nodules.graft import lung_level
from factory.nodules.measure import TOUCHING, sphere_diameter_mm

NUM_CANDIDATES = 16
"""Of the crops nearest in size one is drawn: always the nearest would fill a layout alike each time."""

_SHELL_VOXELS = 2
_MAX_SAMPLES_PER_VOXEL_EDGE = 4
_VOXEL_VARIANCE = 1.0 / 12.0
"""Of a point that lies anywhere in a voxel, in squared voxels along each axis."""


def fill_nodules(
    ct: NDArray[np.int16],
    layout: NDArray[np.uint8],
    spacing_mm: Triple,
    crops: NoduleCrops,
    rng: np.random.Generator,
) -> tuple[NDArray[np.int16], tuple[str, ...]]:
    """Fill every nodule of a layout with the tissue of a real one of about its size.

    A crop's nodule is turned, mirrored and stretched until its principal axes are the given
    nodule's, and its tissue is sampled there; where the given shape reaches beyond it, the nearest
    tissue goes on. The lung that shows through partly filled voxels is the host's own.

    Args:
        ct: (z, y, x) int16 HU. It is not changed.
        layout: (z, y, x) labels of the same grid.
        spacing_mm: Voxel size (z, y, x) of both.
        crops: Nodules to take the tissue of.
        rng: Says which crop, and how it is mirrored; its state fixes every voxel.

    Returns:
        The CT, new in every voxel of a nodule and nowhere else; and the names of the crops, in the
        order of the nodules' first voxels.

    Raises:
        ValueError: The CT is not int16 on the layout's grid.
    """
    if ct.shape != layout.shape or ct.dtype != np.int16:
        raise ValueError(
            f"the CT is {ct.dtype} {ct.shape}, expected int16 {layout.shape} like the layout"
        )
    spacing = np.asarray(spacing_mm, dtype=np.float64)
    pieces, _ = ndimage.label(layout == NODULE, structure=TOUCHING)
    filled, names = ct.copy(), []
    for piece, box in enumerate(ndimage.find_objects(pieces), start=1):
        nodule = pieces[box] == piece
        name = _draw_crop(crops, float(np.count_nonzero(nodule) * spacing.prod()), rng)
        fraction = _tissue_in(nodule, spacing, crops.tissue(name), crops.spacing_mm, rng)
        lung_hu = _lung_around(ct, layout, pieces, piece, box)
        hu = np.rint(lung_hu + fraction * (SOFT_TISSUE_HU - lung_hu))
        filled[box][nodule] = np.clip(hu, HU_MIN, HU_MAX).astype(np.int16)
        names.append(name)
    return filled, tuple(names)


def _draw_crop(crops: NoduleCrops, volume_mm3: float, rng: np.random.Generator) -> str:
    """Return the name of one of the crops nearest in size."""
    apart = np.abs(np.log(crops.bank.diameters_mm / sphere_diameter_mm(volume_mm3)))
    nearest = np.argsort(apart, kind="stable")[:NUM_CANDIDATES]
    return crops.bank.names[int(nearest[rng.integers(len(nearest))])]


def _tissue_in(
    nodule: NDArray[np.bool_],
    spacing: NDArray[np.float64],
    tissue: CropTissue,
    crop_mm: float,
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """Return the soft tissue (n,) of the voxels of a nodule, in the order of the mask."""
    inside = tissue.opacity >= 1.0
    solid = _continued(tissue.fraction, inside)
    points = np.argwhere(nodule)
    crop_points = np.argwhere(inside)
    to_crop = _axes_on_axes(
        _covariance(points * spacing, spacing),
        _covariance(crop_points * crop_mm, np.full(3, crop_mm)),
        rng,
    )
    # From voxels of the layout to voxels of the crop.
    step = to_crop * spacing / crop_mm
    centre = crop_points.mean(axis=0)
    offsets = _offsets_within_a_voxel(step)
    places = (points - points.mean(axis=0)) @ step.T + centre
    total = np.zeros(len(points))
    for offset in offsets @ step.T:
        total += ndimage.map_coordinates(solid, (places + offset).T, order=1, mode="nearest")
    return total / len(offsets)


def _continued(fraction: NDArray[np.float32], inside: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return a tissue that goes on beyond its nodule as it is at the nearest voxel inside."""
    nearest = ndimage.distance_transform_edt(~inside, return_distances=False, return_indices=True)
    return np.asarray(fraction[tuple(nearest)], dtype=np.float32)


def _covariance(
    points_mm: NDArray[np.floating[Any]], spacing: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the 3x3 covariance of a body in mm2; that of a single voxel is not flat."""
    centred = points_mm - points_mm.mean(axis=0)
    spread = centred.T @ centred / len(points_mm)
    # Rounded, so that the last bit of a machine's sums cannot turn the axes of a ball.
    return np.asarray(np.round(spread + np.diag(_VOXEL_VARIANCE * spacing**2), 6))


def _axes_on_axes(
    host: NDArray[np.float64], crop: NDArray[np.float64], rng: np.random.Generator
) -> NDArray[np.float64]:
    """Return a 3x3 map from mm of the host to mm of the crop that lays axis on axis, mirrored at random."""
    (host_spread, host_axes), (crop_spread, crop_axes) = _axes(host), _axes(crop)
    signs = 2 * rng.integers(0, 2, size=3) - 1
    stretch = np.diag(signs * np.sqrt(crop_spread / host_spread))
    return np.asarray(crop_axes @ stretch @ host_axes.T)


def _axes(covariance: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return variances (3,) in mm2, ascending, and the axes as columns, each with its sign fixed."""
    spread, axes = np.linalg.eigh(covariance)
    longest = np.abs(np.round(axes, 6)).argmax(axis=0)
    return spread, axes * np.sign(axes[longest, range(3)])


def _offsets_within_a_voxel(step: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return points (n, 3) of a voxel, as many as it covers voxels of the crop along each axis."""
    covered = np.ceil(np.sqrt((step**2).sum(axis=0)) - 1e-6)
    numbers = np.clip(covered, 1, _MAX_SAMPLES_PER_VOXEL_EDGE).astype(int)
    edges: Sequence[NDArray[np.float64]] = [(np.arange(n) + 0.5) / n - 0.5 for n in numbers]
    return np.stack(np.meshgrid(*edges, indexing="ij"), axis=-1).reshape(-1, 3)


def _lung_around(
    ct: NDArray[np.int16],
    layout: NDArray[np.uint8],
    pieces: NDArray[np.integer[Any]],
    piece: int,
    box: tuple[slice, ...],
) -> float:
    """Return the level of the lung around a nodule; of all lungs where it touches none."""
    near = tuple(
        slice(max(along.start - _SHELL_VOXELS, 0), along.stop + _SHELL_VOXELS) for along in box
    )
    lung = layout[near] == LUNG
    reach = ndimage.binary_dilation(pieces[near] == piece, TOUCHING, iterations=_SHELL_VOXELS)
    if (lung & reach).any():
        return lung_level(ct[near], lung & reach)
    everywhere = layout == LUNG
    return lung_level(ct, everywhere) if everywhere.any() else SOFT_TISSUE_HU
