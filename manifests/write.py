"""Writing a manifest: rows of any source become one sorted, checked Parquet file.

rows -> typed columns -> mix counted -> sorted -> validated -> digest -> one file, atomically
"""

import hashlib
import json
import os
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from itertools import chain
from numbers import Real
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from manifests.errors import ManifestError
from manifests.read import VERSION_KEY, folder_of, is_url, mix_of, open_filesystem
from manifests.schema import (
    LOCATION_COLUMNS,
    MANIFEST_SCHEMA,
    MIX_COLUMNS,
    RUN_COLUMNS,
    SCHEMA_VERSION,
)
from manifests.validate import null_problems, validate

_KNOWN = frozenset(MANIFEST_SCHEMA.names)
_NEEDED = frozenset(f.name for f in MANIFEST_SCHEMA if not f.nullable) - frozenset(MIX_COLUMNS)
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
    real, synthetic = _by_kind(table)
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


def _by_kind(table: pa.Table) -> tuple[pa.Table, pa.Table]:
    """Return the real rows and the others, without a copy where they are apart already."""
    is_real = pc.fill_null(pc.equal(table["kind"], "real"), False)
    num_real = pc.sum(is_real, min_count=0).as_py()
    if pc.all(is_real.slice(0, num_real)).as_py():
        return table.slice(0, num_real), table.slice(num_real)
    return table.filter(is_real), table.filter(pc.invert(is_real))


def _sorted(table: pa.Table, *names: str) -> pa.Table:
    # Sorting holds three copies; a driver's rows come in the order of its plan.
    first = table[names[0]]
    ascends = pc.less(first.slice(0, max(0, len(first) - 1)), first.slice(1))
    if not first.null_count and pc.all(ascends).as_py():
        return table
    return table.sort_by([(name, "ascending") for name in names])


def _typed_table(table: pa.Table) -> pa.Table:
    if not _NEEDED <= set(table.column_names) <= _KNOWN:
        raise _wrong_names(table.column_names, "the table")
    columns = []
    for field in MANIFEST_SCHEMA:
        given = field.name in table.column_names
        column = table[field.name] if given else pa.nulls(table.num_rows, field.type)
        try:
            # A cast of lists copies them, even to their own type.
            same = column.type.equals(field.type)
            columns.append(column if same else column.cast(field.type))
        except (pa.ArrowException, ValueError) as error:
            raise ManifestError(
                f"the table: {field.name} is {column.type}, expected {field.type} ({error}). "
                "Cast the column."
            ) from error
    return pa.table(columns, schema=MANIFEST_SCHEMA)


def _typed_rows(rows: list[Mapping[str, object]]) -> pa.Table:
    for index, row in enumerate(rows):
        if not _NEEDED <= row.keys() <= _KNOWN:
            raise _wrong_names(row, _row_name(index, row))
    return pa.table([_column(field, rows) for field in MANIFEST_SCHEMA], schema=MANIFEST_SCHEMA)


def _wrong_names(names: Iterable[str], where: str) -> ManifestError:
    found = set(names)
    if unknown := found - _KNOWN:
        known = ", ".join(MANIFEST_SCHEMA.names)
        return ManifestError(
            f"{where}: unknown {_keys(unknown)}, expected some of {known}. Rename or drop it."
        )
    return ManifestError(f"{where}: no {_keys(_NEEDED - found)}, which every row needs. Add it.")


def _column(field: pa.Field, rows: list[Mapping[str, object]]) -> pa.Array:
    values = [row.get(field.name) for row in rows]
    if (array := _array(values, field.type)) is not None:
        return array
    index = next(i for i, value in enumerate(values) if _array([value], field.type) is None)
    raise ManifestError(
        f"{_row_name(index, rows[index])}: {field.name} is {values[index]!r}, "
        f"expected {field.type}. Mend the row."
    )


def _array(values: list[object], kind: pa.DataType) -> pa.Array | None:
    """Return `values` as an array, or None if one of them is not of this kind."""
    try:
        return None if _would_lose(values, kind) else pa.array(values, kind)
    except (pa.ArrowException, ValueError, TypeError, OverflowError):
        return None


def _would_lose(values: Iterable[Any], kind: pa.DataType) -> bool:
    """Tell whether Arrow would drop a fraction or a key, or cut a text into letters, silently."""
    if pa.types.is_integer(kind):
        return any(isinstance(v, Real) and v % 1 != 0 for v in values if type(v) is not int)
    if pa.types.is_list(kind):
        given = [v for v in values if v is not None]
        cut = any(isinstance(v, str) for v in given)
        # Nothing is lost in plain doubles, and there are many of them.
        plain = pa.types.is_floating(kind.value_type)
        return cut or (not plain and _would_lose(chain.from_iterable(given), kind.value_type))
    if pa.types.is_struct(kind):
        known = {field.name: field.type for field in kind}
        given = [v for v in values if isinstance(v, Mapping)]
        return any(not v.keys() <= known.keys() for v in given) or any(
            _would_lose((v.get(name) for v in given), inner) for name, inner in known.items()
        )
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


def _row_name(index: int, row: Mapping[str, object]) -> str:
    who = row.get("work_id") or row.get("case_id")
    return f"row {index} ({who})" if who else f"row {index}"


def _keys(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in sorted(names))


def _listed(problems: list[str]) -> str:
    shown = "; ".join(problems[:5])
    return shown if len(problems) <= 5 else f"{shown}; and {len(problems) - 5} more problems"
