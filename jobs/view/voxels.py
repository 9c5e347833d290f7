"""A volume as a browser takes it: its grid, and bytes of HU and labels."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from factory.axes import (
    CANONICAL,
    affine_from_orientation,
    from_orientation,
    orientation_of,
    spacing_zyx,
)
from factory.errors import FactoryError, StoreError
from factory.layouts import BACKGROUND, NODULE
from factory.pictures import slice_index
from factory.storage import Storage
from factory.volumes import Volume
from jobs.lakes import read_uri
from jobs.view.grounds import check_ground

UNREADABLE = (
    FactoryError,
    OSError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    MemoryError,
    RuntimeError,
)
"""What a volume comes to that is torn, or was made to be."""

MOST_VOXELS = 512 * 512 * 1024
"""Of a volume; a browser holds three bytes of each."""

_NO_RECORD = (FileNotFoundError, ValueError, TypeError, LookupError, RecursionError)
_ARRAYS = ("0", "labels/layout/0")


@dataclass(frozen=True, slots=True)
class Served:
    """A volume on its way to a browser."""

    grid: dict[str, Any]
    """Plain JSON: `shape` and `spacing` in (z, y, x), `affine` of voxel (x, y, z) to RAS mm and its
    `inverse`, row by row, and `first`, the voxel to show first."""
    content: bytes
    """int16 HU, little endian, then uint8 labels; C order, z to superior, y to anterior, x to right."""


def serve_volume(row: Mapping[str, Any], folder: str) -> Served:
    """Read the volume of a row.

    Args:
        row: Of a manifest, with an absolute `image_uri`.
        folder: Of that manifest.

    Raises:
        StoreError: It is torn, is not what the row says, or lies elsewhere.
    """
    uri = str(row["image_uri"])
    check_ground(uri, folder)
    _check_declared(uri, row)
    volume = _turned(read_uri(uri))
    affine = volume.affine
    grid = {
        "shape": list(volume.ct.shape),
        "spacing": list(spacing_zyx(affine)),
        "affine": affine.ravel().tolist(),
        "inverse": np.linalg.inv(affine).ravel().tolist(),
        "first": first_voxel(volume.layout),
    }
    return Served(grid, volume.ct.astype("<i2").tobytes() + volume.layout.tobytes())


def first_voxel(layout: NDArray[np.uint8]) -> list[int]:
    """Return the (z, y, x) to show first: in the largest nodule, else in the middle of the lungs."""
    z = slice_index(layout)
    pieces, num_pieces = ndimage.label(layout[z] == NODULE)
    if num_pieces:
        inside = pieces == 1 + int(np.bincount(pieces.ravel())[1:].argmax())
    else:
        inside = layout[z] != BACKGROUND
    voxels = np.argwhere(inside)
    if not len(voxels):
        return [z, *(size // 2 for size in layout.shape[1:])]
    middle = voxels.mean(axis=0)
    # Of a lung the middle lies between the two; of a nodule it may lie outside a bent one.
    if num_pieces:
        middle = voxels[((voxels - middle) ** 2).sum(axis=1).argmin()]
    return [z, *(round(float(one)) for one in middle)]


def _check_declared(uri: str, row: Mapping[str, Any]) -> None:
    """Refuse sizes before an array of them is made."""
    folder, _, group = uri.rpartition("/")
    storage, expected = Storage(folder), [int(size) for size in row["shape"]]
    if len(expected) != 3 or min(expected) < 1 or math.prod(expected) > MOST_VOXELS:
        raise StoreError(
            f"volume {uri}: its row says {expected} voxels; expected three numbers, and at most "
            f"{MOST_VOXELS:,} voxels in all. Make it again."
        )
    for name in _ARRAYS:
        try:
            told = storage.read_json(f"{group}/{name}/zarr.json")
            shape, shard = told["shape"], told["chunk_grid"]["configuration"]["chunk_shape"]
        except _NO_RECORD as error:
            raise StoreError(
                f"volume {uri}: found no record of {name} ({type(error).__name__}); expected a whole OME-Zarr "
                "group. Make it again."
            ) from error
        if not shape == shard == expected:
            raise StoreError(
                f"volume {uri}: found {shape} voxels in shards of {shard} in {name}; expected {expected} in one, "
                "as its row says. Make it again."
            )


def _turned(volume: Volume) -> Volume:
    """Return a volume whose z, y and x grow to superior, anterior and right."""
    codes = orientation_of(volume.affine)
    if codes == CANONICAL:
        return volume
    return Volume(
        ct=from_orientation(volume.ct, codes),
        layout=from_orientation(volume.layout, codes),
        affine=affine_from_orientation(volume.affine, volume.ct.shape, codes),
    )
