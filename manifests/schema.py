"""The columns of a manifest, of a plan and of a quarantine table, with their meaning.

Types are those that DuckDB, Polars, Spark and Arrow read alike: signed integers, doubles,
strings, plain lists and structs. Each field carries its meaning in its metadata, under
`DESCRIPTION`; the docs are made from it.
"""

from collections.abc import Iterator

import pyarrow as pa

SCHEMA_VERSION = 3
"""Raised by every change of a column; a reader refuses other versions."""

KINDS = ("real", "synthetic")
SPLITS = ("train", "val", "test")
LAYOUT_ORIGINS = ("annotated", "placed", "rule", "edited", "none")
"""By a reader of the scan, by `generate`, by `layouts`, by `layouts` and then a reader, or none."""

QC_VERDICTS = ("accept", "review", "reject")

DESCRIPTION = b"description"
"""Key of a field's meaning in its metadata."""


def _field(name: str, kind: pa.DataType, meaning: str, *, null: bool = False) -> pa.Field:
    return pa.field(name, kind, nullable=null, metadata={DESCRIPTION: meaning.encode()})


def _list(kind: pa.DataType) -> pa.DataType:
    # "element" is what Parquet calls it, so a schema is the same before and after a file.
    return pa.list_(pa.field("element", kind, nullable=False))


_TEXT, _INT, _LONG, _REAL, _BOOL = pa.string(), pa.int32(), pa.int64(), pa.float64(), pa.bool_()
_INTS, _REALS, _TEXTS = _list(_INT), _list(_REAL), _list(_TEXT)
_TIME = pa.timestamp("us", tz="UTC")

NODULE = pa.struct(
    [
        pa.field("label", _INT, nullable=False),
        pa.field("center_ras_mm", _REALS, nullable=False),
        pa.field("diameter_mm", _REAL, nullable=False),
        pa.field("volume_mm3", _REAL, nullable=False),
        pa.field("num_voxels", _INT, nullable=False),
        pa.field("num_readers", _INT),
        pa.field("malignancy", _REAL),
        pa.field("texture", _REAL),
        pa.field("malignancy_scores", _INTS),
        pa.field("texture_scores", _INTS),
    ]
)
"""One nodule of a layout; the centre is (x, y, z) in RAS millimetres.

What readers thought of it comes last, and is null where nobody was asked: how many marked it, the
medians of their scores, and each score by itself. LIDC-IDRI's malignancy runs from 1 (highly unlikely)
to 5 (highly suspicious), its texture from 1 (ground glass) to 5 (solid).
"""

REDRAW = pa.struct(
    [
        pa.field("seed", _LONG, nullable=False),
        pa.field("verdict", _TEXT, nullable=False),
        pa.field("reasons", _TEXTS, nullable=False),
    ]
)
"""A draw that quality control sent back, and why."""

_REDRAWS = (
    "Draws of this item that quality control rejected before this one, in order; null for real"
)
_IDENTITY = [
    _field("kind", _TEXT, "real or synthetic"),
    _field("work_id", _TEXT, "Id of a synthetic volume, 32 hex digits; null for real", null=True),
    _field("split", _TEXT, "train, val or test; a synthetic volume has its donor's"),
    _field("patient_id", _TEXT, "Patient; the donor's for a synthetic volume"),
    _field("case_id", _TEXT, "Case; the donor's for a synthetic volume"),
    _field("layout_id", _TEXT, "Layout that was drawn after; null where there is none", null=True),
    _field(
        "layout_origin",
        _TEXT,
        "annotated (by a reader, as outlines or points), placed, rule, edited or none",
    ),
    _field("image_uri", _TEXT, "Volume, relative to the manifest's folder, or absolute"),
    _field("layout_uri", _TEXT, "Layout, like image_uri; null where there is none", null=True),
]
_GRID = [
    _field("shape", _INTS, "Voxels along (z, y, x)"),
    _field("spacing_mm", _REALS, "Voxel size along (z, y, x), mm"),
    _field("affine", _REALS, "4x4 voxel (i, j, k) to RAS mm, row by row; i is the x axis"),
    _field("image_sha256", _TEXT, "Of the decoded int16 HU, C order, little endian"),
    _field("layout_sha256", _TEXT, "Of the decoded uint8 labels; null without layout", null=True),
]
_SOURCE = [
    _field("source_uri", _TEXT, "Scan that the case was ingested from", null=True),
    _field("source_sha256", _TEXT, "Of the scan's files", null=True),
    _field("source_shape", _INTS, "Voxels of the scan along (z, y, x)", null=True),
    _field("source_affine", _REALS, "Like affine, of the scan: the way back to it", null=True),
    _field("reference_sha256", _TEXT, "The donor's image_sha256; null for real", null=True),
]
_MAKING = [
    _field("plan_index", _LONG, "Place in the plan; null for real", null=True),
    _field("seed_index", _INT, "Which draw from this donor and layout; null for real", null=True),
    _field("seed", _LONG, "Seed of all noise in the volume; null for real", null=True),
    _field("redraws", _list(REDRAW), _REDRAWS, null=True),
    _field("model_digest", _TEXT, "Of the checkpoint's weights and settings", null=True),
    _field("sampler", _TEXT, "Sampler and variant; null for real", null=True),
    _field("steps", _INT, "Denoising steps; null for real", null=True),
    _field("hu_window", _REALS, "Model's (low, high) in HU; null for real", null=True),
]
_ANNOTATED = "The same voxels in the donor, HU; null where it has no nodules of its own"
_QUALITY = [
    _field("nodules", _list(NODULE), "Nodules of the layout; null if not measured", null=True),
    _field("qc_background_equal", _BOOL, "What was not drawn has the donor's HU", null=True),
    _field("qc_background_changed", _LONG, "Voxels of it that have not", null=True),
    _field("qc_changed_fraction", _REAL, "Share of drawn voxels unlike the donor's", null=True),
    _field("qc_saturated_fraction", _REAL, "Share of drawn voxels at the scale's ends", null=True),
    _field("qc_lung_median_hu", _REAL, "Median of the lungs, HU", null=True),
    _field("qc_reference_lung_median_hu", _REAL, "Median of the donor's lungs, HU", null=True),
    _field("qc_lung_iqr_hu", _REAL, "Interquartile range of the lungs, HU", null=True),
    _field("qc_reference_lung_iqr_hu", _REAL, "The same of the donor's lungs, HU", null=True),
    _field("qc_nodule_contrast_hu", _REAL, "Nodules beyond the lung around, HU", null=True),
    _field("qc_reference_nodule_contrast_hu", _REAL, _ANNOTATED, null=True),
    _field("qc_seam_score", _REAL, "Jump at the border of the drawn over the donor's", null=True),
    _field("qc_bone_median_hu", _REAL, "Median of bone, HU; null without a mask of it", null=True),
    _field("qc_verdict", _TEXT, "accept, review or reject; null if not judged", null=True),
    _field("qc_reasons", _TEXTS, "Why not accept, a sentence a limit; null for real", null=True),
    _field("notes", _TEXTS, "What a reader of this row should know", null=True),
]
_MIX = [
    _field("num_real", _LONG, "Real volumes in the training split of this manifest"),
    _field("num_synthetic", _LONG, "Synthetic volumes in the training split of this manifest"),
    _field("synthetic_fraction", _REAL, "S/(R+S) of the training split; null if empty", null=True),
    _field("synthetic_per_real", _REAL, "S/R of the training split; null without real", null=True),
]
_RUN = [
    _field("run_id", _TEXT, "Run that wrote the volume", null=True),
    _field("attempt", _TEXT, "Attempt that was committed", null=True),
    _field("device", _TEXT, "Device that drew the volume", null=True),
    _field("seconds", _REAL, "Time taken, s", null=True),
    _field("env_fingerprint", _TEXT, "Versions and numeric settings of that process", null=True),
    _field("created_at", _TIME, "When the volume was committed", null=True),
]

MANIFEST_SCHEMA = pa.schema(_IDENTITY + _GRID + _SOURCE + _MAKING + _QUALITY + _MIX + _RUN)
"""One row per volume, real or synthetic."""

MIX_COLUMNS = tuple(field.name for field in _MIX)
"""The mix, the same in each row; `write_manifest` counts it."""

RUN_COLUMNS = tuple(field.name for field in _RUN)
"""Columns that differ between two runs of one plan; the content digest leaves them out."""

LOCATION_COLUMNS = ("image_uri", "layout_uri", "source_uri")
"""Where files lie; the content digest leaves them out, as their sha256 columns are in it."""

PLAN_SCHEMA = pa.schema(
    [
        _field("plan_index", _LONG, "Place in the plan, from 0"),
        _field("work_id", _TEXT, "Id of the volume to draw, 32 hex digits"),
        _field("case_id", _TEXT, "Donor case"),
        _field("patient_id", _TEXT, "Donor patient"),
        _field("seed_index", _INT, "Which draw from this donor and layout, from 0"),
        _field("seed", _LONG, "Seed of all noise in the volume"),
        _field("layout_id", _TEXT, "Layout to draw after; null where there is none", null=True),
        _field(
            "layout_origin",
            _TEXT,
            "annotated (by a reader, as outlines or points), placed, rule, edited or none",
        ),
    ]
)
"""One row per volume that a run is to draw."""

QUARANTINE_SCHEMA = pa.schema(
    [
        _field("item_id", _TEXT, "work_id, or what stands for it before there is one"),
        _field("case_id", _TEXT, "Case, where it is known", null=True),
        _field("file", _TEXT, "Its file or folder; the tag of a DICOM input", null=True),
        _field("stage", _TEXT, "Step that failed"),
        _field("error_class", _TEXT, "Class of the error"),
        _field("message", _TEXT, "The error's message"),
        _field("traceback_tail", _TEXT, "Last lines of the traceback", null=True),
        _field("attempts", _INT, "Times the item was tried"),
        _field("retriable", _BOOL, "Whether another try can help"),
        _field("run_id", _TEXT, "Run that gave the item up", null=True),
        _field("seen_at", _TIME, "When it was given up", null=True),
    ]
)
"""One row per item that a run gave up."""

LEFT_OUT_SCHEMA = pa.schema(
    [
        _field("file", _TEXT, "File, folder or series; the tag of a DICOM input"),
        _field("case_id", _TEXT, "Case that it would have been, or belongs to", null=True),
        _field("reason", _TEXT, "Why it was left out, in a word or two"),
        _field("message", _TEXT, "What was found, and what it would take to have it"),
        _field("run_id", _TEXT, "Run that left it out", null=True),
        _field("seen_at", _TIME, "When it was left out", null=True),
    ]
)
"""One row per input that is sound, or no scan, and was left out by rule."""


def schema_problems(found: pa.Schema, expected: pa.Schema) -> list[str]:
    """Say how `found` differs from `expected` in columns, types, nullability or order."""
    return list(_differences(found, expected))


def schema_text(schema: pa.Schema) -> str:
    """Return one line per column: name, type, whether it may be null, and meaning."""
    return "".join(f"{_line(field)}\n" for field in schema)


def _differences(found: pa.Schema, expected: pa.Schema) -> Iterator[str]:
    missing = [name for name in expected.names if name not in found.names]
    unknown = [name for name in found.names if name not in expected.names]
    if missing:
        yield f"columns are missing: {', '.join(missing)}"
    if unknown:
        yield f"columns are unknown: {', '.join(unknown)}"
    if missing or unknown:
        return
    if found.names != expected.names:
        yield f"columns are out of order: expected {', '.join(expected.names)}"
        return
    for field in expected:
        if not found.field(field.name).equals(field):
            yield f"column {_typed(found.field(field.name))}, expected {_typed(field)}"


def _typed(field: pa.Field) -> str:
    return f"{field.name} is {field.type}{' or null' if field.nullable else ''}"


def _line(field: pa.Field) -> str:
    meaning = (field.metadata or {}).get(DESCRIPTION, b"").decode()
    null = " or null" if field.nullable else ""
    return f"{field.name}: {field.type}{null}. {meaning}."
