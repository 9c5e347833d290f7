"""Real nodules cut out of CTs: their HU, their masks, and what of them can be put elsewhere."""

import hashlib
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from factory.errors import StoreError
from factory.nodules.archive import isotropic_mm, names_of, read_arrays
from factory.nodules.bank import NoduleBank, bank_of, box_of, largest_piece
from factory.nodules.measure import TOUCHING

SOFT_TISSUE_HU = 40.0
"""A voxel full of soft tissue, as muscle has it."""

_AERATED_HU = -500
"""Below it a voxel is mostly air: lung, not wall or vessel."""
_LUNG_HU = -850.0
"""Taken where a crop shows no lung at all."""
_SHELL_VOXELS = 3
_KEYS = ("ct_hu", "mask_percent", "names", "spacing_mm")
_EXPECTED = (
    "expected `ct_hu` (n, z, y, x) int16, `mask_percent` of the same shape, uint8 from 0 to 100, "
    "`names` (n,) and one `spacing_mm` for all axes"
)


@dataclass(frozen=True, slots=True, eq=False)
class CropTissue:
    """What a crop brings to another lung, cut to the voxels that its nodule reaches."""

    fraction: NDArray[np.float32]
    """(z, y, x) soft tissue in place of lung: 0 lung, 1 soft tissue, more where calcified."""

    opacity: NDArray[np.float32]
    """(z, y, x) how much of what was there it replaces: 1 inside the mask, 0 beyond."""

    center: NDArray[np.float64]
    """(3,) centre of mass of the mask, in voxels of `fraction`."""

    points: NDArray[np.intp]
    """(n, 3) voxels that the mask reaches."""


@dataclass(frozen=True, eq=False)
class NoduleCrops:
    """Small CTs around one real nodule each, with its mask, on one isotropic grid."""

    ct_hu: NDArray[np.int16]
    """(n, z, y, x) HU, read-only."""

    mask_percent: NDArray[np.uint8]
    """(n, z, y, x) share of each voxel that the nodule covers, 0 to 100, read-only."""

    names: tuple[str, ...]
    """One per crop, each another."""

    spacing_mm: float
    """Edge of a voxel of every crop."""

    def __len__(self) -> int:
        return len(self.names)

    @cached_property
    def digest(self) -> str:
        """SHA-256 over the spacing, the HU and the masks in their order; names do not count."""
        content = hashlib.sha256(np.array(self.spacing_mm, dtype="<f8").tobytes())
        content.update(np.array(self.ct_hu.shape, dtype="<i4").tobytes())
        content.update(np.ascontiguousarray(self.ct_hu, dtype="<i2").tobytes())
        content.update(np.ascontiguousarray(self.mask_percent).tobytes())
        return content.hexdigest()

    @cached_property
    def bank(self) -> NoduleBank:
        """The shapes at a coverage of half or more, under the names of their crops.

        Crops without one are left out, and those whose edge cuts theirs; `num_empty` counts both.
        """
        whole = (_whole(percent >= 50) for percent in self.mask_percent)
        return bank_of(whole, self.names, spacing_mm=self.spacing_mm)

    @cached_property
    def _index_of(self) -> dict[str, int]:
        return {name: index for index, name in enumerate(self.names)}

    def tissue(self, name: str) -> CropTissue:
        """Return what the crop of a name brings to another lung; it is kept for the next call."""
        return _tissue(self, self._index_of[name])


def load_crops(path: str | Path) -> NoduleCrops:
    """Read crops from an `.npz`.

    Args:
        path: File with `ct_hu` (n, z, y, x) int16, `mask_percent` (n, z, y, x) uint8 coverage
            from 0 to 100, `names` (n,) and an isotropic `spacing_mm`.

    Raises:
        StoreError: The file is missing, torn, or holds something else.
    """
    where = f"nodule crops {path}"
    arrays, found = read_arrays(
        path, _KEYS, where=where, expected=_EXPECTED, advice="Check the path."
    )
    if set(_KEYS) - arrays.keys():
        raise StoreError(
            f"{where}: found keys {found}, {_EXPECTED}. Save all four with np.savez under these keys."
        )
    ct_hu, mask_percent = _checked(arrays["ct_hu"], arrays["mask_percent"], where)
    names = names_of(arrays["names"], len(ct_hu), where)
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise StoreError(
            f"{where}: `names` has {twice!r} more than once, expected each crop to have its own. "
            "Number the nodules of a scan."
        )
    return NoduleCrops(ct_hu, mask_percent, tuple(names), isotropic_mm(arrays["spacing_mm"], where))


def _checked(
    ct_hu: NDArray[Any], mask_percent: NDArray[Any], where: str
) -> tuple[NDArray[np.int16], NDArray[np.uint8]]:
    """Return both arrays, read-only, if they are what crops consist of."""
    for key, array, dtype in (
        ("ct_hu", ct_hu, np.int16),
        ("mask_percent", mask_percent, np.uint8),
    ):
        if array.dtype != dtype or array.ndim != 4 or array.shape != ct_hu.shape:
            raise StoreError(
                f"{where}: `{key}` is {array.dtype} {array.shape}, {_EXPECTED}. "
                "Cut crops of one size, and save HU as int16 and coverage as uint8."
            )
        array.setflags(write=False)
    if mask_percent.max(initial=0) > 100:
        raise StoreError(
            f"{where}: `mask_percent` reaches {mask_percent.max()}, expected 0 to 100. "
            "Save the coverage in percent, not as 0 to 255."
        )
    if not any(_whole(percent >= 50).any() for percent in mask_percent):
        raise StoreError(
            f"{where}: none of {len(ct_hu)} crops has voxels that are covered by half, away from its "
            "edge, expected one with a whole nodule. Save the coverage in percent, not as 0 and 1."
        )
    return ct_hu, mask_percent


def _whole(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return a mask, or an empty one where the edge of its crop cuts it: a flat face is no shape."""
    inner = np.count_nonzero(mask[1:-1, 1:-1, 1:-1])
    return mask if inner == np.count_nonzero(mask) else np.zeros_like(mask)


@lru_cache(maxsize=4096)
def _tissue(crops: NoduleCrops, index: int) -> CropTissue:
    """Return how much soft tissue a crop holds in place of lung, and where it replaces the host.

    A voxel of HU c holds (c - lung) / (soft tissue - lung). One that the mask covers only in
    part already averages nodule and lung, so it counts as it is, not times its coverage; but
    it counts for no more than its share of the nodule's core: the rest is wall or vessel that
    the nodule grew on, and stays behind.
    """
    percent = crops.mask_percent[index]
    mask = largest_piece(percent >= 50)
    reached = (percent > 0) & ndimage.binary_dilation(mask, structure=TOUCHING)
    box = box_of(reached)
    ct, covered = crops.ct_hu[index].astype(np.float32), percent / np.float32(100.0)
    lung_hu = _lung_level(crops.ct_hu[index], percent, mask)
    fraction = (ct - lung_hu) / np.float32(SOFT_TISSUE_HU - lung_hu)
    core = np.percentile(fraction[mask], 95)
    fraction = np.where(percent < 100, np.minimum(fraction, covered * core), fraction)
    return CropTissue(
        fraction=np.where(reached, fraction, 0.0).astype(np.float32)[box],
        opacity=np.where(reached, np.minimum(2.0 * covered, 1.0), 0.0).astype(np.float32)[box],
        center=np.argwhere(mask).mean(axis=0) - [along.start for along in box],
        points=np.argwhere(reached[box]),
    )


def _lung_level(
    ct: NDArray[np.int16], percent: NDArray[np.uint8], mask: NDArray[np.bool_]
) -> float:
    """Return the median HU of the aerated voxels around a nodule."""
    near = ndimage.binary_dilation(mask, structure=TOUCHING, iterations=_SHELL_VOXELS)
    lung = near & (percent == 0) & (ct < _AERATED_HU)
    return float(np.median(ct[lung])) if lung.any() else _LUNG_HU
