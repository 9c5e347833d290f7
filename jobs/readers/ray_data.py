"""A manifest as a Ray dataset.

manifest --from_arrow--> rows, one a block --map, on any node--> rows with ct and layout

Ray's own `read_zarr` refuses Zarr 3.
"""

from functools import partial
from typing import TYPE_CHECKING, Any

from jobs.readers.rows import Place, Words, load_volume, select_rows

if TYPE_CHECKING:
    from ray.data import Dataset

COLUMNS = (
    "kind",
    "work_id",
    "split",
    "patient_id",
    "case_id",
    "layout_id",
    "image_uri",
    "spacing_mm",
    "affine",
    "image_sha256",
    "layout_sha256",
    "qc_verdict",
)
"""Of the manifest, beside the arrays."""


def ray_dataset(
    manifest: Place,
    *,
    kinds: Words = None,
    splits: Words = None,
    verdicts: Words = None,
    verify: bool = False,
) -> "Dataset":
    """Return a dataset of one volume a row, read lazily on the nodes of the cluster.

    It runs on the cluster that this process has joined, or starts one as Ray does. The nodes
    must see the volumes, and have this package.

    Args:
        manifest: Path or URL; read here.
        kinds: real, synthetic; None is both.
        splits: train, val, test; None is all.
        verdicts: Of synthetic volumes: accept, review, reject; None is all. Real ones stay.
        verify: Compare each volume with its digests.

    Returns:
        Rows with `ct` (z, y, x) int16 HU, `layout` (z, y, x) uint8, and `COLUMNS`, with an absolute
        `image_uri`. Their order is Ray's.

    Raises:
        ManifestError: There is no manifest, or it is torn.
        UsageError: A word is none of these.
    """
    import ray

    table = select_rows(manifest, kinds=kinds, splits=splits, verdicts=verdicts)
    # A block is what a task reads and what is lost with it: one volume.
    rows = ray.data.from_arrow(table.select(COLUMNS)).repartition(target_num_rows_per_block=1)
    return rows.map(partial(_with_arrays, manifest=str(manifest), verify=verify))


def _with_arrays(row: dict[str, Any], *, manifest: str, verify: bool) -> dict[str, Any]:
    volume = load_volume(manifest, row, verify=verify)
    return {**row, "ct": volume.ct, "layout": volume.layout}
