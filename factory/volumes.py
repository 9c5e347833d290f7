"""One volume, real or synthetic, as an OME-Zarr 0.5 group.

    NAME.ome.zarr/            axes z, y, x in millimetres
    ├── 0                     int16 HU, one shard
    └── labels/layout/0       uint8 labels, one shard

A shard holds the whole volume, so one writer owns each object; every chunk carries
a CRC-32C, because a flipped bit in a compressed chunk is otherwise read silently.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import BloscCodec, Crc32cCodec
from zarr.core.array_spec import ArrayConfig
from zarr.core.buffer import Buffer, cpu
from zarr.core.metadata import ArrayV3Metadata
from zarr.storage import MemoryStore, StorePath

from factory.axes import ras_from_zyx, spacing_zyx
from factory.counted import counted
from factory.errors import StoreError
from factory.layouts import LUNG, NODULE
from factory.storage import Storage

ATTRIBUTES = "ct_factory"
"""Key of this project's attributes on a volume's group."""

_UNWRITTEN_HU, _UNWRITTEN_LABEL = -32768, 255
_INNER_CHUNK = 64
_LEAST_VOXEL_MM3 = 1e-9
_NOT_WHOLE = (
    AttributeError,
    FileNotFoundError,
    KeyError,
    OverflowError,
    TypeError,
    ValueError,
    RuntimeError,
)
_FILES = (
    "zarr.json",
    "0/zarr.json",
    "0/c/0/0/0",
    "labels/layout/0/zarr.json",
    "labels/layout/0/c/0/0/0",
)
"""Of a group, all that is read of a volume."""

_LABEL_COLOURS = {LUNG: [86, 180, 233, 128], NODULE: [213, 94, 0, 255]}
_IMAGE_LABEL = {
    "colors": [{"label-value": label, "rgba": rgba} for label, rgba in _LABEL_COLOURS.items()],
    "properties": [
        {"label-value": LUNG, "name": "lung"},
        {"label-value": NODULE, "name": "nodule"},
    ],
    "source": {"image": "../../"},
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Volume:
    """What a volume's group holds."""

    ct: NDArray[np.int16]
    """(z, y, x) HU."""

    layout: NDArray[np.uint8]
    """(z, y, x) labels of `factory.layouts`."""

    affine: NDArray[np.float64]
    """4x4, voxel (i, j, k) to RAS mm."""


def write_volume(storage: Storage, relative: str, volume: Volume, **attributes: Any) -> None:
    """Write a volume to a new group.

    Args:
        storage: Where.
        relative: Path of the group; nothing else may write there.
        volume: What; `ct` and `layout` share one shape.
        **attributes: Plain JSON kept beside the affine under `ct_factory`.

    Raises:
        StoreError: There is a group of this name.
    """
    storage.write_tree(relative, _encode(volume, attributes))


def read_volume(storage: Storage, relative: str) -> Volume:
    """Read a volume's group.

    Raises:
        StoreError: The group is absent, a chunk is missing or torn, or the affine leads nowhere.
    """
    files, name = storage.read_tree(relative, _FILES), storage.child(relative)
    store = MemoryStore({path: cpu.Buffer.from_bytes(data) for path, data in files.items()})
    try:
        ours = json.loads(files["zarr.json"])["attributes"][ATTRIBUTES]
        affine = np.array(ours["affine_ras"], np.float64)
        ct = np.asarray(zarr.open_array(store, path="0", mode="r")[:], dtype=np.int16)
        labels = zarr.open_array(store, path="labels/layout/0", mode="r")
        layout = np.asarray(labels[:], dtype=np.uint8)
    except _NOT_WHOLE as error:
        raise StoreError(
            f"volume {name}: found {error}; expected a whole OME-Zarr group with a CT, a layout "
            f"and a `{ATTRIBUTES}` attribute. Make the volume again."
        ) from error
    unwritten = int((ct == _UNWRITTEN_HU).sum() + (layout == _UNWRITTEN_LABEL).sum())
    if unwritten:
        raise StoreError(
            f"volume {name}: found {counted(unwritten, 'voxel')} never written (a chunk is missing); "
            "expected none. Make the volume again."
        )
    if not _is_affine(affine):
        raise StoreError(
            f"volume {name}: found an affine of {affine.ravel().tolist()}; expected 4 x 4 finite numbers that "
            "can be inverted. Make the volume again."
        )
    return Volume(ct=ct, layout=layout, affine=affine)


def _is_affine(affine: NDArray[np.float64]) -> bool:
    return (
        affine.shape == (4, 4)
        and bool(np.isfinite(affine).all())
        and abs(float(np.linalg.det(affine[:3, :3]))) > _LEAST_VOXEL_MM3
    )


def _encode(volume: Volume, attributes: Mapping[str, Any]) -> dict[str, bytes]:
    """Return the group's files, made in memory: on a disk each costs a turn of Zarr's thread."""
    scale = list(spacing_zyx(volume.affine))
    ours = {
        "affine_ras": volume.affine.tolist(),
        "orientation": "RAS",
        "units": "HU",
        **attributes,
    }
    image = {"multiscales": [_multiscale("ct", volume.affine, scale)]}
    label = {
        "multiscales": [_multiscale("layout", volume.affine, scale)],
        "image-label": _IMAGE_LABEL,
    }
    return {
        "zarr.json": _group(image, **{ATTRIBUTES: ours}),
        **_array_files("0", volume.ct, fill_value=_UNWRITTEN_HU),
        "labels/zarr.json": _group({"labels": ["layout"]}),
        "labels/layout/zarr.json": _group(label),
        **_array_files("labels/layout/0", volume.layout, fill_value=_UNWRITTEN_LABEL),
    }


def inner_chunk(size: int) -> int:
    """Return the largest divisor of `size` that is at most 64: shards hold whole chunks."""
    return next(n for n in range(min(size, _INNER_CHUNK), 0, -1) if size % n == 0)


def _group(ome: Mapping[str, Any], **attributes: Any) -> bytes:
    """Return the `zarr.json` of a group of OME-Zarr 0.5."""
    content = {
        "zarr_format": 3,
        "node_type": "group",
        "attributes": {"ome": {"version": "0.5", **ome}, **attributes},
    }
    return json.dumps(content).encode()


def _array_files(path: str, data: NDArray[Any], *, fill_value: int) -> dict[str, bytes]:
    """Return the files of an array, `zarr.json` and its shard."""
    metadata, told = _array_like(data.shape, data.dtype.str, fill_value)
    shard: dict[str, Buffer] = {}
    # Without it a chunk of fill values leaves no object, and neither does a lost one.
    config = ArrayConfig(order="C", write_empty_chunks=True)
    array = zarr.Array(zarr.AsyncArray(metadata, StorePath(MemoryStore(shard)), config))
    array[...] = data
    files = {name: buffer.to_bytes() for name, buffer in shard.items()}
    return {f"{path}/{name}": content for name, content in ({"zarr.json": told} | files).items()}


@cache
def _array_like(
    shape: tuple[int, ...], dtype: str, fill_value: int
) -> tuple[ArrayV3Metadata, bytes]:
    """Return the metadata of an array, and its `zarr.json`.

    Kept, for they are the same for all volumes of a lake, and to make them takes longer than to
    compress one.
    """
    files: dict[str, Buffer] = {}
    array = zarr.create_array(
        MemoryStore(files),
        shape=shape,
        dtype=dtype,
        chunks=tuple(inner_chunk(n) for n in shape),
        shards=shape,
        compressors=(BloscCodec(cname="zstd", clevel=3, shuffle="bitshuffle"), Crc32cCodec()),
        fill_value=fill_value,
        dimension_names=("z", "y", "x"),
    )
    metadata = array.metadata
    assert isinstance(metadata, ArrayV3Metadata)
    return metadata, files["zarr.json"].to_bytes()


def _multiscale(name: str, affine: NDArray[np.float64], scale: list[float]) -> dict[str, Any]:
    right, anterior, superior = ras_from_zyx(affine, (0.0, 0.0, 0.0))
    return {
        "name": name,
        "axes": [{"name": axis, "type": "space", "unit": "millimeter"} for axis in "zyx"],
        "datasets": [
            {
                "path": "0",
                "coordinateTransformations": [
                    {"type": "scale", "scale": scale},
                    {"type": "translation", "translation": [superior, anterior, right]},
                ],
            }
        ],
    }
