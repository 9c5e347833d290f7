"""Banks of nodule shapes: one that is drawn by code, and those read from files."""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from factory.errors import StoreError
from factory.nodules.archive import isotropic_mm, names_of, read_arrays
from factory.nodules.measure import TOUCHING, sphere_diameter_mm

_PACKED_SHAPE = (50, 50, 50)
_KEYS = ("packed", "names", "masks", "spacing_mm")
_EXPECTED = (
    "expected `packed` (n, 15625) uint8, the np.packbits of 50x50x50 masks at 1 mm, with `names`; "
    "or `masks` (n, z, y, x) bool, with `spacing_mm` where it is not 1"
)
_ADVICE = "Check the path, or leave it out to use the embedded bank."
_EMBEDDED_DIAMETERS_MM = (5.0, 7.0, 10.0, 14.0, 20.0, 29.0)


@dataclass(frozen=True, eq=False)
class NoduleBank:
    """Nodule shapes on one isotropic grid, to be turned and placed into lungs."""

    masks: tuple[NDArray[np.bool_], ...]
    """Shapes (z, y, x), each in one piece, cut to its bounding box and read-only."""

    names: tuple[str, ...]
    """One per shape; `Placement.bank_name` refers to it."""

    spacing_mm: float = 1.0
    """Edge of a voxel of every shape."""

    num_empty: int = 0
    """Masks of the source that held no voxel and were left out."""

    def __len__(self) -> int:
        return len(self.masks)

    @cached_property
    def diameters_mm(self) -> NDArray[np.float64]:
        """Diameter of the sphere of the same volume, (n,) float64."""
        voxel_mm3 = self.spacing_mm**3
        volumes = [int(np.count_nonzero(mask)) * voxel_mm3 for mask in self.masks]
        return np.array([sphere_diameter_mm(volume) for volume in volumes], dtype=np.float64)

    @cached_property
    def digest(self) -> str:
        """SHA-256 over the spacing and the shapes in their order; names do not count."""
        content = hashlib.sha256(np.array(self.spacing_mm, dtype="<f8").tobytes())
        for mask in self.masks:
            content.update(np.array(mask.shape, dtype="<i4").tobytes())
            content.update(np.packbits(mask).tobytes())
        return content.hexdigest()


def largest_piece(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the largest connected piece (26 neighbours) of a (z, y, x) mask that is not empty."""
    pieces, num_pieces = ndimage.label(mask, structure=TOUCHING)
    if num_pieces == 1:
        return mask
    return np.equal(pieces, np.bincount(pieces.ravel())[1:].argmax() + 1)


def box_of(mask: NDArray[np.bool_]) -> tuple[slice, ...]:
    """Return the bounding box of a (z, y, x) mask that is not empty."""
    return ndimage.find_objects(mask.view(np.uint8))[0]


@cache
def embedded_bank() -> NoduleBank:
    """Return the 24 shapes that come with the project, 5 to 30 mm, drawn and not measured.

    Four families (ellipsoid, lobulated, spiculated, irregular) in six sizes. The digest
    is the same on every machine.
    """
    rng = np.random.Generator(np.random.PCG64(20250601))
    families: dict[str, Callable[[NDArray[np.float64], np.random.Generator], Any]] = {
        "ellipsoid": _ellipsoid,
        "lobulated": _lobulated,
        "spiculated": _spiculated,
        "irregular": _irregular,
    }
    named = [
        (f"{family}-{diameter_mm:02.0f}mm", _draw_shape(draw, diameter_mm, rng))
        for family, draw in families.items()
        for diameter_mm in _EMBEDDED_DIAMETERS_MM
    ]
    return bank_of([mask for _, mask in named], [name for name, _ in named], spacing_mm=1.0)


def load_bank(path: str | Path) -> NoduleBank:
    """Read a bank from an `.npz`.

    Empty masks are left out and counted in `NoduleBank.num_empty`; of a mask in several
    pieces the largest is kept.

    Args:
        path: File with `packed` (n, 15625) uint8, the `np.packbits` of 50x50x50 masks at
            1 mm, and `names` (n,); or with `masks` (n, z, y, x) bool or whole numbers and,
            if wanted, `names` and an isotropic `spacing_mm`.

    Raises:
        StoreError: The file is missing, torn, or holds something else.
    """
    where = f"nodule bank {path}"
    arrays, found = read_arrays(path, _KEYS, where=where, expected=_EXPECTED, advice=_ADVICE)
    if {"packed", "names"} <= arrays.keys():
        masks = _unpacked(arrays["packed"], path)
        spacing_mm = 1.0
    elif "masks" in arrays:
        masks = _plain(arrays["masks"], path)
        spacing_mm = isotropic_mm(arrays.get("spacing_mm", np.array(1.0)), where)
    else:
        raise StoreError(
            f"nodule bank {path}: found keys {found}, {_EXPECTED}. "
            "Save the masks with np.savez under one of these sets of keys."
        )
    names = _names(arrays.get("names"), len(masks), where)
    bank = bank_of(masks, names, spacing_mm=spacing_mm)
    if not len(bank):
        raise StoreError(
            f"nodule bank {path}: all {bank.num_empty} masks are empty, expected at least one "
            "with a voxel set. Check the threshold that the masks were made with."
        )
    return bank


def bank_of(
    masks: Iterable[NDArray[np.bool_]], names: Sequence[str], *, spacing_mm: float
) -> NoduleBank:
    """Return the bank of (z, y, x) masks: of each the largest piece; empty ones only counted."""
    shapes, kept = [], []
    for mask, name in zip(masks, names, strict=True):
        if not mask.any():
            continue
        piece = largest_piece(mask[box_of(mask)])
        shape = piece[box_of(piece)].copy()
        shape.setflags(write=False)
        shapes.append(shape)
        kept.append(name)
    return NoduleBank(tuple(shapes), tuple(kept), spacing_mm, len(names) - len(kept))


def _unpacked(packed: NDArray[Any], path: str | Path) -> list[NDArray[np.bool_]]:
    num_bytes = int(np.prod(_PACKED_SHAPE)) // 8
    if packed.dtype != np.uint8 or packed.ndim != 2 or packed.shape[1] != num_bytes:
        raise StoreError(
            f"nodule bank {path}: `packed` is {packed.dtype} {packed.shape}, expected uint8 "
            f"(n, {num_bytes}). Pack masks of 50x50x50 at 1 mm, or save them as `masks`."
        )
    return [np.unpackbits(row).reshape(_PACKED_SHAPE).astype(bool) for row in packed]


def _plain(masks: NDArray[Any], path: str | Path) -> list[NDArray[np.bool_]]:
    if masks.ndim != 4 or masks.dtype.kind not in "bui":
        raise StoreError(
            f"nodule bank {path}: `masks` is {masks.dtype} {masks.shape}, expected bool or whole "
            "numbers (n, z, y, x). Cut probabilities at a threshold first; stack masks of "
            "unequal shape after padding them."
        )
    return [mask != 0 for mask in masks]


def _names(names: NDArray[Any] | None, num_masks: int, where: str) -> list[str]:
    if names is None:
        return [f"mask-{index:04d}" for index in range(num_masks)]
    return names_of(names, num_masks, where)


def _draw_shape(
    draw: Callable[[NDArray[np.float64], np.random.Generator], NDArray[np.float64]],
    diameter_mm: float,
    rng: np.random.Generator,
) -> NDArray[np.bool_]:
    """Return the voxels of lowest field whose volume is that of a sphere of the diameter."""
    edge = np.arange(-np.ceil(diameter_mm), np.ceil(diameter_mm) + 1)
    points = np.stack(np.meshgrid(edge, edge, edge, indexing="ij")) / (diameter_mm / 2)
    # Rounded, so that the last bit of a machine's exp or sqrt cannot move a voxel.
    field = np.round(draw(points, rng), 6)
    num_voxels = round(np.pi / 6 * diameter_mm**3)
    level = np.partition(field, num_voxels - 1, axis=None)[num_voxels - 1]
    return np.asarray(ndimage.binary_fill_holes(largest_piece(field <= level)), dtype=bool)


def _ellipsoid(points: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    axes = rng.uniform(0.65, 1.35, size=(3, 1, 1, 1))
    return np.asarray(((points / axes) ** 2).sum(axis=0))


def _lobulated(points: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Return the distance to the nearest of several overlapping balls, in radii of each."""
    field = _length(points)
    for direction in _directions(rng, count=5):
        radius = rng.uniform(0.45, 0.7)
        field = np.minimum(field, _length(points - 0.75 * direction) / radius)
    return field


def _spiculated(points: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Return the distance to the centre, shortened along thin cones."""
    distance = _length(points)
    reach = np.zeros_like(distance)
    for direction in _directions(rng, count=12):
        cosine = (points * direction).sum(axis=0) / np.maximum(distance, 1e-9)
        cone = np.clip(cosine, 0.0, 1.0) ** 32
        reach = np.maximum(reach, rng.uniform(0.3, 0.9) * cone)
    return np.asarray(distance / (1.0 + reach))


def _irregular(points: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Return the distance to the centre plus noise as smooth as a third of the radius."""
    voxel = points[0, 1, 0, 0] - points[0, 0, 0, 0]
    noise = ndimage.gaussian_filter(rng.uniform(-1.0, 1.0, points.shape[1:]), sigma=0.33 / voxel)
    return np.asarray(_length(points) + 0.2 * noise / noise.std())


def _directions(rng: np.random.Generator, *, count: int) -> NDArray[np.float64]:
    vectors = rng.uniform(-1.0, 1.0, size=(count, 3, 1, 1, 1))
    return np.asarray(vectors / _length(vectors.swapaxes(0, 1))[:, None])


def _length(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.sqrt((vectors**2).sum(axis=0)))
