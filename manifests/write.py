"""Writing a manifest: rows of any source become one sorted, checked Parquet file.

rows -> typed columns -> mix counted -> sorted -> validated -> digest -> one file, atomically
"""

import hashlib
import os
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from numbers import Real

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from manifests.errors import ManifestError
from manifests.read import VERSION_KEY, folder_of, is_url, mix_of
from manifests.schema import (
    LOCATION_COLUMNS,
    MANIFEST_SCHEMA,
    MIX_COLUMNS,
    RUN_COLUMNS,
    SCHEMA_VERSION,
)
from manifests.validate import null_problems, validate

_ROW_GROUP = 122_880
"""Rows that DuckDB scans in one thread at a time; Parquet's own default is too coarse for it."""


def write_manifest(
    rows: Iterable[Mapping[str, object]] | pa.Table, path: str | os.PathLike[str]
) -> str:
    """Write one manifest, whole or not at all, and return its content digest.

    The mix, the schema version and the digest are also in the file's metadata, under
    ``ct_factory.*``.

    Args:
        rows: One mapping per volume, keyed by column, or a table. Nullable keys may be left
            out; mix columns may be too, and are counted anew.
        path: Parquet file to write or replace: a path, or a URL that pyarrow opens.

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
    _write(table, path, {"content_digest": digest, **{m: getattr(mix, m) for m in MIX_COLUMNS}})
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
    typed = _typed_table(rows) if isinstance(rows, pa.Table) else _typed_rows(list(rows))
    return with_mix(in_manifest_order(typed))


def with_mix(table: pa.Table) -> pa.Table:
    """Return `table` with its mix columns counted anew, over its training split."""
    mix = mix_of(table)
    table = table.replace_schema_metadata(None)
    for name in MIX_COLUMNS:
        field = MANIFEST_SCHEMA.field(name)
        values = pa.repeat(pa.scalar(getattr(mix, name), field.type), table.num_rows)
        table = table.set_column(table.schema.get_field_index(name), field, values)
    return table


def in_manifest_order(table: pa.Table) -> pa.Table:
    """Sort real volumes by case, then synthetic ones by (plan_index, work_id)."""
    is_real = pc.fill_null(pc.equal(table["kind"], "real"), False)
    real, synthetic = table.filter(is_real), table.filter(pc.invert(is_real))
    return pa.concat_tables(
        [
            _sorted(real, "case_id", "image_sha256"),
            _sorted(synthetic, "plan_index", "work_id", "image_sha256"),
        ]
    )


def content_digest(table: pa.Table) -> str:
    """Return the sha256 of what a manifest says, as 64 hex digits.

    Two runs of one plan have equal digests. Left out are `RUN_COLUMNS` and
    `LOCATION_COLUMNS` (an `image_uri` has the attempt in its name); the voxels count through
    their sha256 columns. Row order, chunks and the file's encoding do not matter.

    Args:
        table: Table of `MANIFEST_SCHEMA`.
    """
    digest = hashlib.sha256(f"ct_factory manifest {SCHEMA_VERSION}".encode())
    ordered = in_manifest_order(table)
    for name in MANIFEST_SCHEMA.names:
        if name not in RUN_COLUMNS + LOCATION_COLUMNS:
            digest.update(f"\0{name}\0".encode())
            for part in _canonical(ordered[name].combine_chunks()):
                digest.update(part)
    return digest.hexdigest()


def _canonical(array: pa.Array) -> Iterator[bytes | pa.Buffer]:
    """Yield the validity, then the lengths and values, of an array; what lies under a null is 0."""
    yield _fixed_width(array.is_valid())
    if pa.types.is_list(array.type):
        yield _fixed_width(pc.list_value_length(array))
        yield from _canonical(pc.list_flatten(array))
    elif pa.types.is_struct(array.type):
        for child in range(array.type.num_fields):
            yield from _canonical(pc.struct_field(array, [child]))
    elif pa.types.is_string(array.type):
        yield _fixed_width(pc.binary_length(array))
        yield "".join(array.drop_null().to_pylist()).encode()
    else:
        yield _fixed_width(array)


def _fixed_width(array: pa.Array) -> pa.Buffer:
    whole = array.cast(pa.uint8()) if pa.types.is_boolean(array.type) else array
    filled = pc.fill_null(whole, 0)
    width = filled.type.bit_width // 8
    return filled.buffers()[1].slice(filled.offset * width, len(filled) * width)


def _sorted(table: pa.Table, *names: str) -> pa.Table:
    return table.sort_by([(name, "ascending") for name in names])


def _typed_table(table: pa.Table) -> pa.Table:
    _check_names(table.column_names, "the table")
    columns = []
    for field in MANIFEST_SCHEMA:
        given = field.name in table.column_names
        column = table[field.name] if given else pa.nulls(table.num_rows, field.type)
        try:
            columns.append(column.cast(field.type))
        except (pa.ArrowException, ValueError) as error:
            raise ManifestError(
                f"the table: {field.name} is {column.type}, expected {field.type} ({error}). "
                "Cast the column."
            ) from error
    return pa.table(columns, schema=MANIFEST_SCHEMA)


def _typed_rows(rows: list[Mapping[str, object]]) -> pa.Table:
    for index, row in enumerate(rows):
        _check_names(row, _row_name(index, row))
    columns = [_column(field, rows) for field in MANIFEST_SCHEMA]
    return pa.table(columns, schema=MANIFEST_SCHEMA)


def _check_names(names: Iterable[str], where: str) -> None:
    found = set(names)
    if unknown := found.difference(MANIFEST_SCHEMA.names):
        raise ManifestError(
            f"{where}: unknown {_keys(unknown)}, expected some of {', '.join(MANIFEST_SCHEMA.names)}. "
            "Rename or drop it."
        )
    needed = {field.name for field in MANIFEST_SCHEMA if not field.nullable} - set(MIX_COLUMNS)
    if missing := needed - found:
        raise ManifestError(f"{where}: no {_keys(missing)}, which every row needs. Add it.")


def _column(field: pa.Field, rows: list[Mapping[str, object]]) -> pa.Array:
    values = [row.get(field.name) for row in rows]
    try:
        if not any(_would_lose(value, field.type) for value in values):
            return pa.array(values, field.type)
    except (pa.ArrowException, ValueError, TypeError, OverflowError):
        pass
    raise _misfit(field, rows)


def _misfit(field: pa.Field, rows: list[Mapping[str, object]]) -> ManifestError:
    index = next(i for i, row in enumerate(rows) if not _fits(row.get(field.name), field.type))
    return ManifestError(
        f"{_row_name(index, rows[index])}: {field.name} is {rows[index].get(field.name)!r}, "
        f"expected {field.type}. Mend the row."
    )


def _fits(value: object, kind: pa.DataType) -> bool:
    try:
        pa.array([value], kind)
        return not _would_lose(value, kind)
    except (pa.ArrowException, ValueError, TypeError, OverflowError):
        return False


def _would_lose(value: object, kind: pa.DataType) -> bool:
    """Tell whether Arrow would drop a fraction or a key, or cut a text into letters, silently."""
    if pa.types.is_integer(kind):
        return isinstance(value, Real) and bool(value % 1 != 0)
    if pa.types.is_list(kind) and isinstance(value, str):
        return True
    if pa.types.is_list(kind) and not pa.types.is_floating(kind.value_type):
        return isinstance(value, Iterable) and any(_would_lose(v, kind.value_type) for v in value)
    if pa.types.is_struct(kind) and isinstance(value, Mapping):
        known = {field.name: field.type for field in kind}
        return any(key not in known or _would_lose(value[key], known[key]) for key in value)
    return False


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
        filesystem, place = pafs.FileSystem.from_uri(path)
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


def _row_name(index: int, row: Mapping[str, object]) -> str:
    who = row.get("work_id") or row.get("case_id")
    return f"row {index} ({who})" if who else f"row {index}"


def _keys(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in sorted(names))


def _listed(problems: list[str]) -> str:
    shown = "; ".join(problems[:5])
    return shown if len(problems) <= 5 else f"{shown}; and {len(problems) - 5} more problems"
