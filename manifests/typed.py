"""Rows of any source as columns of the schema's types, without a loss."""

from collections.abc import Iterable, Mapping
from itertools import chain
from numbers import Real
from typing import Any

import pyarrow as pa

from manifests.errors import ManifestError
from manifests.schema import MANIFEST_SCHEMA, MIX_COLUMNS

_KNOWN = frozenset(MANIFEST_SCHEMA.names)
_NEEDED = frozenset(f.name for f in MANIFEST_SCHEMA if not f.nullable) - frozenset(MIX_COLUMNS)


def typed_table(rows: Iterable[Mapping[str, object]] | pa.Table) -> pa.Table:
    """Return rows as a table of `MANIFEST_SCHEMA`, in their order; what may be left out is null.

    Raises:
        ManifestError: A row has an unknown key, lacks one, or has a value of the wrong type.
    """
    return _of_table(rows) if isinstance(rows, pa.Table) else _of_rows(list(rows))


def _of_table(table: pa.Table) -> pa.Table:
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


def _of_rows(rows: list[Mapping[str, object]]) -> pa.Table:
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


def _row_name(index: int, row: Mapping[str, object]) -> str:
    who = row.get("work_id") or row.get("case_id")
    return f"row {index} ({who})" if who else f"row {index}"


def _keys(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in sorted(names))
