"""One volume, real or synthetic, as an OME-Zarr 0.5 group.

    NAME.ome.zarr/            axes z, y, x in millimetres
    ├── 0                     int16 HU, one shard
    └── labels/layout/0       uint8 labels, one shard

A shard holds the whole volume, so one writer owns each object; every chunk carries
a CRC-32C, because a flipped bit in a compressed chunk is otherwise read silently.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.abc.store import Store
from zarr.codecs import BloscCodec, Crc32cCodec
from zarr.core.buffer import Buffer, cpu
from zarr.errors import GroupNotFoundError
from zarr.storage import MemoryStore

from factory.axes import ras_from_zyx, spacing_zyx
from factory.errors import StoreError
from factory.layouts import LUNG, NODULE
from factory.storage import Storage

ATTRIBUTES = "ct_factory"
"""Key of this project's attributes on a volume's group."""

_UNWRITTEN_HU, _UNWRITTEN_LABEL = -32768, 255
_INNER_CHUNK = 64
_NOT_WHOLE = (
    GroupNotFoundError,
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
        StoreError: The group is absent, or a chunk is missing or torn.
    """
    files = storage.read_tree(relative, _FILES)
    store = MemoryStore({name: cpu.Buffer.from_bytes(data) for name, data in files.items()})
    return _decode(store, name=storage.child(relative))


def _encode(volume: Volume, attributes: Mapping[str, Any]) -> dict[str, bytes]:
    """Return the group's files: made in memory, for on a disk each costs a turn of Zarr's thread."""
    files: dict[str, Buffer] = {}
    store = MemoryStore(files)
    scale = list(spacing_zyx(volume.affine))
    root = zarr.create_group(
        store,
        attributes={
            "ome": {"version": "0.5", "multiscales": [_multiscale("ct", volume.affine, scale)]},
            ATTRIBUTES: {
                "affine_ras": volume.affine.tolist(),
                "orientation": "RAS",
                "units": "HU",
                **attributes,
            },
        },
    )
    _write_array(root, volume.ct, fill_value=_UNWRITTEN_HU)
    root.create_group("labels", attributes={"ome": {"version": "0.5", "labels": ["layout"]}})
    layout = root.create_group(
        "labels/layout",
        attributes={
            "ome": {
                "version": "0.5",
                "multiscales": [_multiscale("layout", volume.affine, scale)],
                "image-label": {
                    "colors": [
                        {"label-value": label, "rgba": rgba}
                        for label, rgba in _LABEL_COLOURS.items()
                    ],
                    "properties": [
                        {"label-value": LUNG, "name": "lung"},
                        {"label-value": NODULE, "name": "nodule"},
                    ],
                    "source": {"image": "../../"},
                },
            }
        },
    )
    _write_array(layout, volume.layout, fill_value=_UNWRITTEN_LABEL)
    return {name: buffer.to_bytes() for name, buffer in files.items()}


def _decode(store: Store, *, name: str) -> Volume:
    try:
        root = zarr.open_group(store, mode="r")
        ct = np.asarray(_array(root, "0")[:], dtype=np.int16)
        layout = np.asarray(_array(root, "labels/layout/0")[:], dtype=np.uint8)
        affine = np.array(root.attrs[ATTRIBUTES]["affine_ras"], np.float64)  # type: ignore[index,call-overload]
    except _NOT_WHOLE as error:
        raise StoreError(
            f"volume {name}: found {error}; expected a whole OME-Zarr group with a CT, a layout "
            f"and a `{ATTRIBUTES}` attribute. Make the volume again."
        ) from error
    unwritten = int((ct == _UNWRITTEN_HU).sum() + (layout == _UNWRITTEN_LABEL).sum())
    if unwritten:
        raise StoreError(
            f"volume {name}: found {unwritten} voxels that were never written (a chunk is missing); "
            "expected none. Make the volume again."
        )
    return Volume(ct=ct, layout=layout, affine=affine)


def inner_chunk(size: int) -> int:
    """Return the largest divisor of `size` that is at most 64: shards hold whole chunks."""
    return next(n for n in range(min(size, _INNER_CHUNK), 0, -1) if size % n == 0)


def _write_array(group: zarr.Group, data: NDArray[Any], *, fill_value: int) -> None:
    array = group.create_array(
        "0",
        shape=data.shape,
        dtype=data.dtype,
        chunks=tuple(inner_chunk(n) for n in data.shape),
        shards=data.shape,
        compressors=(BloscCodec(cname="zstd", clevel=3, shuffle="bitshuffle"), Crc32cCodec()),
        fill_value=fill_value,
        dimension_names=("z", "y", "x"),
        # Without it a chunk of fill values leaves no object, and neither does a lost one.
        config={"write_empty_chunks": True},
    )
    array[...] = data


def _array(group: zarr.Group, path: str) -> zarr.Array[Any]:
    found = group[path]
    if not isinstance(found, zarr.Array):
        raise KeyError(f"no array at {path}")
    return found


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
