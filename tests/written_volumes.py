"""Volumes that are written, and what a manifest says of them."""

from pathlib import Path
from typing import Any

from factory.axes import spacing_zyx
from factory.digests import sha256_of_voxels
from factory.lake import Lake
from factory.volumes import Volume, write_volume


def written(folder: Path, name: str, volume: Volume) -> dict[str, Any]:
    """Write a volume to a lake; return the columns of its row that follow from it."""
    uri = f"volumes/{name}.ome.zarr"
    write_volume(Lake(folder).storage, uri, volume)
    return {
        "layout_origin": "annotated",
        "image_uri": uri,
        "layout_uri": f"{uri}/labels/layout",
        "shape": list(volume.ct.shape),
        "spacing_mm": list(spacing_zyx(volume.affine)),
        "affine": volume.affine.ravel().tolist(),
        "image_sha256": sha256_of_voxels(volume.ct),
        "layout_sha256": sha256_of_voxels(volume.layout),
    }
