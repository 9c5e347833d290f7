"""A folder of layouts: what `layouts` writes, and what `generate` and radiologists read.

dataset.json                  identity: by which rules, from which bank
CASE_ID/LAYOUT_ID.nii.gz      labels 0, 1, 2 on the case's grid; to be edited in place
CASE_ID/ct.nii.gz             HU, on the same grid
preview/CASE_ID.png           a slice through each new nodule
commits/CASE_ID.json          rows of a case that is done
layouts.parquet               one row a layout, as it was made
quarantine.parquet            cases and layouts that were given up, and why
"""

from pathlib import Path
from typing import Any

import pyarrow as pa

from factory.errors import StoreError
from factory.lake import Lake
from manifests.read import read_table
from manifests.schema import NODULE

TABLE = "layouts.parquet"
KIND = "layouts"
CT_FILE = "ct.nii.gz"
PREVIEWS = "preview"

RESERVED = frozenset({PREVIEWS, "commits", "quarantine", "attempts", "volumes"})
"""Names that no case's folder can have."""

_TEXT, _INT, _LONG, _REAL = pa.string(), pa.int32(), pa.int64(), pa.float64()


def _list(kind: pa.DataType) -> pa.DataType:
    return pa.list_(pa.field("element", kind, nullable=False))


def _struct(**fields: pa.DataType) -> pa.DataType:
    return pa.struct([pa.field(name, kind, nullable=False) for name, kind in fields.items()])


_WISH = {"attachment": _TEXT, "zone": _TEXT, "wanted_diameter_mm": _REAL}

PLACEMENT = _struct(
    bank_name=_TEXT,
    **_WISH,
    diameter_mm=_REAL,
    scale=_REAL,
    rotation=_list(_REAL),
    center_zyx=_list(_INT),
    center_ras_mm=_list(_REAL),
    volume_mm3=_REAL,
    pleura_mm=_REAL,
    vessel_mm=_REAL,
    cut_share=_REAL,
)
"""A `NewNodule`."""

LAYOUTS_SCHEMA = pa.schema(
    [
        pa.field("case_id", _TEXT, nullable=False),
        pa.field("patient_id", _TEXT, nullable=False),
        pa.field("layout_id", _TEXT, nullable=False),
        pa.field("layout_index", _INT, nullable=False),
        pa.field("seed", _LONG, nullable=False),
        pa.field("origin", _TEXT, nullable=False),
        pa.field("file", _TEXT, nullable=False),
        pa.field("file_sha256", _TEXT, nullable=False),
        pa.field("layout_sha256", _TEXT, nullable=False),
        pa.field("case_digest", _TEXT, nullable=False),
        pa.field("shape", _list(_INT), nullable=False),
        pa.field("spacing_mm", _list(_REAL), nullable=False),
        pa.field("affine", _list(_REAL), nullable=False),
        pa.field("zones", _TEXT, nullable=False),
        pa.field("nodules", _list(NODULE), nullable=False),
        pa.field("placements", _list(PLACEMENT), nullable=False),
        pa.field("missing", _list(_struct(**_WISH)), nullable=False),
    ]
)
"""One row a layout, as it was made; what has become of its file since is not in it.

`file` is relative to the folder, `file_sha256` of its bytes (empty where it was there before its
row, with other voxels), `layout_sha256` of its voxels,
`case_digest` of the case it was made for; `zones` says whether `placements` name thirds or lobes;
`nodules` are all of the layout's, `placements` the new ones, `missing` those without room.
"""


def open_layouts(folder: Path) -> list[dict[str, Any]]:
    """Return the rows of a folder that `factory layouts` made.

    Raises:
        StoreError: There is none, or it is not finished.
        ManifestError: Its table is torn.
    """
    lake = Lake(folder)
    identity = lake.identity()
    if identity is None or identity.get("kind") != KIND:
        raise StoreError(
            f"layouts {folder}: found none; expected a folder that `factory layouts` made. Make them "
            "first, or correct --layouts."
        )
    if not lake.storage.exists(TABLE):
        raise StoreError(
            f"layouts {folder}: found no {TABLE}; expected a finished run. Run the same `factory "
            "layouts` again: it does what is missing."
        )
    rows: list[dict[str, Any]] = read_table(lake.storage.child(TABLE), LAYOUTS_SCHEMA).to_pylist()
    return rows


def layout_id(index: int, layout_sha256: str) -> str:
    """Return the name of a layout as it was made, which its file has too."""
    return f"rule-{index:02d}-{layout_sha256[:16]}"
