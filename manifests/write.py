"""Writing a manifest: rows of any source become one sorted, checked Parquet file.

rows -> typed columns -> mix counted -> sorted -> validated -> digest -> one file, atomically
"""

import json
import os
import uuid
from collections.abc import Iterable, Mapping
from contextlib import suppress

import pyarrow as pa
import pyarrow.parquet as pq

from manifests.digest import content_digest, in_manifest_order
from manifests.errors import ManifestError
from manifests.read import VERSION_KEY, folder_of, is_url, mix_of, open_filesystem
from manifests.schema import (
    MANIFEST_SCHEMA,
    MIX_COLUMNS,
    SCHEMA_VERSION,
)
from manifests.typed import typed_table
from manifests.validate import null_problems, validate

_ROW_GROUP = 122_880
"""Rows that DuckDB scans in one thread at a time; Parquet's own default is too coarse for it."""


def write_manifest(
    rows: Iterable[Mapping[str, object]] | pa.Table,
    path: str | os.PathLike[str],
    *,
    made_from: Mapping[str, object] | None = None,
) -> str:
    """Write one manifest, whole or not at all, and return its content digest.

    The mix, the schema version and the digest are also in the file's metadata, under
    ``ct_factory.*``.

    Args:
        rows: One mapping per volume, keyed by column, or a table. Nullable keys may be left
            out; mix columns may be too, and are counted anew.
        path: Parquet file to write or replace: a path, or a URL that pyarrow opens.
        made_from: What the rows were chosen from and how, as plain JSON; in the metadata alone,
            under ``ct_factory.made_from``.

    Raises:
        ManifestError: A row has an unknown key, lacks one, or has a value of the wrong type;
            or `validate` finds a problem. Nothing is written then.
    """
    table = manifest_table(rows)
    if problems := validate(table):
        raise ManifestError(
            f"{os.fspath(path)}: not written, as {_listed(problems)}. Mend the rows and write again."
        )
    digest = content_digest(table)
    mix = mix_of(table)
    about = {"content_digest": digest, **{m: getattr(mix, m) for m in MIX_COLUMNS}}
    if made_from is not None:
        about["made_from"] = json.dumps(made_from, sort_keys=True)
    _write(table, path, about)
    return digest


def write_table(table: pa.Table, path: str | os.PathLike[str]) -> None:
    """Write a plan or a quarantine table, whole or not at all.

    Raises:
        ManifestError: There is a null where the table's schema allows none.
    """
    if problems := null_problems(table):
        raise ManifestError(
            f"{os.fspath(path)}: not written, as {_listed(problems)}. Mend the rows and write again."
        )
    _write(table, path, {})


def manifest_table(rows: Iterable[Mapping[str, object]] | pa.Table) -> pa.Table:
    """Return rows as a table of `MANIFEST_SCHEMA`, in manifest order, with the mix counted.

    Raises:
        ManifestError: A row has an unknown key, lacks one, or has a value of the wrong type.
    """
    return with_mix(in_manifest_order(typed_table(rows)))


def with_mix(table: pa.Table) -> pa.Table:
    """Return `table` with its mix columns counted anew, over its training split."""
    mix = mix_of(table)
    table = table.replace_schema_metadata(None)
    for name in MIX_COLUMNS:
        field = MANIFEST_SCHEMA.field(name)
        values = pa.repeat(pa.scalar(getattr(mix, name), field.type), table.num_rows)
        table = table.set_column(table.schema.get_field_index(name), field, values)
    return table


def _write(table: pa.Table, path: str | os.PathLike[str], about: Mapping[str, object]) -> None:
    metadata = {VERSION_KEY: str(SCHEMA_VERSION).encode()}
    for key, value in about.items():
        metadata[f"ct_factory.{key}".encode()] = ("" if value is None else str(value)).encode()
    sink = pa.BufferOutputStream()
    pq.write_table(
        table.replace_schema_metadata(metadata),
        sink,
        row_group_size=_ROW_GROUP,
        compression="zstd",
        write_page_checksum=True,
    )
    _put(os.fspath(path), sink.getvalue())


def _put(path: str, content: pa.Buffer) -> None:
    path = path.removeprefix("file://")
    if is_url(path):
        # An object store shows an object only once it is whole, so it needs no rename.
        filesystem, place = open_filesystem(path)
        with filesystem.open_output_stream(place) as stream:
            stream.write(content)
        return
    folder, name = folder_of(path), os.path.basename(path)
    os.makedirs(folder, exist_ok=True)
    draft = os.path.join(folder, f".{name}.{uuid.uuid4().hex}.tmp")
    try:
        with open(draft, "xb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(draft, os.path.join(folder, name))
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(draft)
        raise


def _listed(problems: list[str]) -> str:
    shown = "; ".join(problems[:5])
    return shown if len(problems) <= 5 else f"{shown}; and {len(problems) - 5} more problems"
