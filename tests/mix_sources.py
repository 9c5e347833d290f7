"""Small lakes and case stores that hold what a test says, and volumes that can be read."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from manifest_rows import real, sha

from factory.axes import affine_from_zyx
from factory.digests import sha256_of_voxels
from factory.lake import MANIFEST, Lake
from factory.volumes import Volume, write_volume
from manifests.write import write_manifest

AFFINE = affine_from_zyx((2.5, 2.0, 1.5), (-300.0, 80.0, 90.0))
SHAPE = (4, 6, 8)


def volume_of(name: str) -> Volume:
    """Return voxels that only this name has."""
    noise = np.random.default_rng(int(sha(name)[:8], 16))
    ct = noise.integers(-1000, 600, SHAPE, np.int16)
    return Volume(ct=ct, layout=noise.integers(0, 3, SHAPE, np.uint8), affine=AFFINE)


def digest_of(name: str) -> str:
    """Return the digest of the CT that only this name has."""
    return sha256_of_voxels(volume_of(name).ct)


def case(case_id: str, **changes: object) -> dict[str, object]:
    """Return a real row whose voxels are those of its name."""
    return _row(real(case_id), case_id) | changes


def drawn(donor: str, plan_index: int, *, lake: str = "", **changes: object) -> dict[str, object]:
    """Return a synthetic row of a donor; another `lake` is another model."""
    work_id = sha(f"{lake} {donor} {plan_index}")[:32]
    row = _row(real(donor), work_id) | {"reference_sha256": digest_of(donor)}
    made = {"kind": "synthetic", "work_id": work_id, "plan_index": plan_index}
    return row | made | changes


def nodules(*diameters_mm: float) -> list[dict[str, object]]:
    """Return a table of nodules of these diameters."""
    one = {"label": 1, "center_ras_mm": [0.0, 0.0, 0.0], "volume_mm3": 1.0, "num_voxels": 1}
    return [one | {"diameter_mm": diameter} for diameter in diameters_mm]


def make_source(url: Path | str, kind: str, rows: Iterable[dict[str, object]]) -> str:
    """Make a lake or a case store of these rows, volumes and all; return its URL."""
    lake = Lake(url)
    lake.claim({"kind": kind})
    rows = list(rows)
    for row in rows:
        if not str(row["image_uri"]).startswith("/"):
            write_volume(lake.storage, str(row["image_uri"]), volume_of(_name(row)))
    write_manifest(rows, lake.storage.child(MANIFEST))
    return lake.url


def _name(row: dict[str, object]) -> str:
    return str(row["work_id"] if "work_id" in row else row["case_id"])


def _row(row: dict[str, object], name: str) -> dict[str, object]:
    voxels = volume_of(name)
    path = f"volumes/{name}.ome.zarr"
    return row | {
        "image_uri": path,
        "layout_uri": f"{path}/labels/layout",
        "shape": SHAPE,
        "spacing_mm": [2.5, 2.0, 1.5],
        "affine": AFFINE.ravel().tolist(),
        "image_sha256": sha256_of_voxels(voxels.ct),
        "layout_sha256": sha256_of_voxels(voxels.layout),
    }
