"""Every column of a manifest."""

import pyarrow as pa

from manifests.schema import DESCRIPTION, MANIFEST_SCHEMA, NODULE, REDRAW, SCHEMA_VERSION

_HEAD = f"""# Manifest

Made from the code by `make fmt`; do not edit.
`manifest.parquet` of a lake, a case store and a mix has a row a volume, real or synthetic, and always these columns, version
{SCHEMA_VERSION} of them (`ct_factory.schema_version` in the file's metadata). Arrays are (z, y, x), affines go from voxels
(i, j, k) along (x, y, z) to RAS millimetres, digests are SHA-256 of decoded voxels.
[How to read one](mixing.md).

| column | type | may be null | |
|---|---|---|---|"""

_NODULE = """
## A nodule

An element of `nodules`. What readers thought of it is null where nobody was asked.

| field | type | may be null |
|---|---|---|"""

_REDRAW = """
## A draw that was sent back

An element of `redraws`.

| field | type | may be null |
|---|---|---|"""


def manifest_page() -> str:
    """Return every column with its type and meaning, as Markdown."""
    return "\n".join(
        [
            _HEAD,
            *(f"{_row(field)} {_meaning(field)} |" for field in MANIFEST_SCHEMA),
            _NODULE,
            *map(_row, NODULE.fields),
            _REDRAW,
            *map(_row, REDRAW.fields),
            "",
        ]
    )


def _row(field: pa.Field) -> str:
    return f"| `{field.name}` | {_type(field.type)} | {'yes' if field.nullable else 'no'} |"


def _meaning(field: pa.Field) -> str:
    return str(field.metadata[DESCRIPTION].decode()).replace("|", "\\|")


def _type(kind: pa.DataType) -> str:
    if pa.types.is_list(kind):
        inner = kind.value_type
        named = {NODULE: "nodule", REDRAW: "redraw"}.get(inner, str(inner))
        return f"list of {named}"
    return str(kind)
