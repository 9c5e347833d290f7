"""What a manifest says, in one order and as one digest."""

import hashlib
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc

from manifests.schema import LOCATION_COLUMNS, MANIFEST_SCHEMA, RUN_COLUMNS, SCHEMA_VERSION


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
