"""A manifest as MONAI's dictionaries; MONAI itself is not needed.

MONAI reads NIfTI as (channel, i, j, k) with an affine from voxel (i, j, k) to RAS mm, so that is
what `load_item` makes of a volume: the same transforms serve both.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from factory.axes import ijk_from_zyx
from jobs.readers.rows import Place, Words, load_volume, select_rows

_COPIED = ("case_id", "patient_id", "kind", "split", "image_sha256")


def monai_datalist(
    manifest: Place, *, split: Words = None, kinds: Words = None, verdicts: Words = None
) -> list[dict[str, Any]]:
    """Return one dictionary a volume, as `monai.data.Dataset` takes them.

    Args:
        manifest: Path or URL.
        split: train, val, test, or several; None is all.
        kinds: real, synthetic; None is both.
        verdicts: Of synthetic volumes: accept, review, reject; None is all. Real ones stay.

    Returns:
        Plain JSON without nulls. `image` and `label` are absolute paths or URLs of OME-Zarr
        groups; `work_id` is empty for a real volume; `affine` is 4x4, voxel (i, j, k) to RAS mm.

    Raises:
        ManifestError: There is no manifest, or it is torn.
        UsageError: A word is none of these.
    """
    rows = select_rows(manifest, kinds=kinds, splits=split, verdicts=verdicts).to_pylist()
    return [_item(row) for row in rows]


def load_item(item: Mapping[str, Any]) -> dict[str, Any]:
    """Read an item of a datalist: the transform that stands first.

    Args:
        item: Of `monai_datalist`.

    Returns:
        The item with `image` float32 (1, i, j, k) in HU, `label` uint8 (1, i, j, k), `affine` as
        an array, and `image_uri`, where it was read.

    Raises:
        StoreError: It cannot be read; item and file are named.
    """
    row = {**item, "image_uri": item["image"]}
    volume = load_volume("datalist", row, verify=False)
    return {
        **row,
        "image": np.ascontiguousarray(ijk_from_zyx(volume.ct), np.float32)[None],
        "label": np.ascontiguousarray(ijk_from_zyx(volume.layout))[None],
        "affine": np.array(item["affine"], np.float64),
    }


def _item(row: Mapping[str, Any]) -> dict[str, Any]:
    uri, affine = row["image_uri"], row["affine"]
    return {
        "image": uri,
        "label": row["layout_uri"] or f"{uri}/labels/layout",
        "affine": [affine[start : start + 4] for start in range(0, 16, 4)],
        "work_id": row["work_id"] or "",
        **{name: row[name] for name in _COPIED},
    }
