"""What can be wrong with a manifest, found column by column."""

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc

from manifests.read import mix_of
from manifests.schema import (
    KINDS,
    LAYOUT_ORIGINS,
    MANIFEST_SCHEMA,
    QC_VERDICTS,
    SPLITS,
    schema_problems,
)

_WORDS = {
    "kind": KINDS,
    "split": SPLITS,
    "layout_origin": LAYOUT_ORIGINS,
    "qc_verdict": QC_VERDICTS,
}
_VERDICTS = f"{', '.join(QC_VERDICTS[:-1])} or {QC_VERDICTS[-1]}"
_LENGTHS = {
    "shape": 3,
    "spacing_mm": 3,
    "affine": 16,
    "source_shape": 3,
    "source_affine": 16,
    "hu_window": 2,
}
_HEX_DIGITS = {
    "work_id": 32,
    "image_sha256": 64,
    "layout_sha256": 64,
    "source_sha256": 64,
    "reference_sha256": 64,
}

_OF_A_KIND = [
    "work_id",
    "case_id",
    "patient_id",
    "split",
    "image_sha256",
    "reference_sha256",
    "redraws",
]
"""Columns that are checked of real rows alone, or of synthetic ones."""


def validate(table: pa.Table) -> list[str]:
    """List what is wrong with a manifest; an empty list means nothing is.

    Each problem names the first volume that has it, how many more have it, what was found
    and what was expected. Checked are the schema, words, lengths and digests, ids that must
    be there and be unique, patients in two splits, synthetic volumes that do not fit their
    donor (a donor in val or test with a child in train is a leak), verdicts that do not fit
    their reasons, and the mix.

    Args:
        table: Any table; one that has not the columns of `MANIFEST_SCHEMA` gets no other check.
    """
    if problems := schema_problems(table.schema, MANIFEST_SCHEMA):
        return problems
    checks = (_nulls, _values, _ids, _patients, _donors, _quality, _mix)
    return [problem for check in checks for problem in check(table)]


def null_problems(table: pa.Table) -> list[str]:
    """List the columns that hold a null, at any depth, where their schema allows none."""
    return list(_nulls(table))


def _nulls(table: pa.Table) -> Iterator[str]:
    for field in table.schema:
        column = table[field.name]
        if not field.nullable and column.null_count:
            yield from _flag(table, pc.is_null(column), field.name, "a value")
        if _has_holes(column):
            row = next(i for i in range(table.num_rows) if _has_holes(column.slice(i, 1)))
            one = table.slice(row, 1)
            yield f"{_name(one)}: {field.name} is {_cell(one, field.name)}, expected no null in it"


def _has_holes(column: pa.ChunkedArray) -> bool:
    """Tell whether a list, or a struct in a list, has a null inside where its type allows none."""
    if pa.types.is_list(column.type):
        flat = pc.list_flatten(column)
        return bool(flat.null_count) or _has_holes(flat)
    if pa.types.is_struct(column.type):
        fields = [column.type.field(i) for i in range(column.type.num_fields)]
        children = [(field, pc.struct_field(column, [i])) for i, field in enumerate(fields)]
        return any(
            (child.null_count and not field.nullable) or _has_holes(child)
            for field, child in children
        )
    return False


def _values(table: pa.Table) -> Iterator[str]:
    for name, words in _WORDS.items():
        known = pc.is_in(table[name], value_set=pa.array([*words, None], pa.string()))
        yield from _flag(table, pc.invert(known), name, f"one of {', '.join(words)}")
    for name, length in _LENGTHS.items():
        wrong = pc.not_equal(pc.list_value_length(table[name]), length)
        yield from _flag(table, wrong, name, f"{length} numbers")
    for name, digits in _HEX_DIGITS.items():
        right = pc.match_substring_regex(table[name], rf"\A[0-9a-f]{{{digits}}}\z")
        yield from _flag(table, pc.invert(right), name, f"{digits} lower-case hex digits")


def _ids(table: pa.Table) -> Iterator[str]:
    real, synthetic = _of_kind(table, "real"), _of_kind(table, "synthetic")
    yield from _flag(real, pc.is_valid(real["work_id"]), "work_id", "null for a real volume")
    lacking = pc.is_null(synthetic["work_id"])
    yield from _flag(synthetic, lacking, "work_id", "32 hex digits for a synthetic volume")
    yield from _repeated(real, "case_id", "real volume")
    yield from _repeated(synthetic, "work_id", "synthetic volume")


def _repeated(table: pa.Table, name: str, what: str) -> Iterator[str]:
    counted = pc.value_counts(table[name].drop_null())
    values, counts = counted.field("values"), counted.field("counts")
    again = values.filter(pc.greater(counts, 1))
    if len(again):
        times = counts[values.index(again[0]).as_py()].as_py()
        yield (
            f"{name} {again[0].as_py()}{_and_more(len(again) - 1)}: "
            f"found in {times} rows, expected one {what}"
        )


def _patients(table: pa.Table) -> Iterator[str]:
    grouped = table.select(["patient_id", "split"]).group_by("patient_id", use_threads=False)
    counted = grouped.aggregate([("split", "count_distinct")])
    torn = counted.filter(pc.greater(counted["split_count_distinct"], 1))["patient_id"]
    if len(torn):
        rows = table.filter(pc.equal(table["patient_id"], torn[0]))
        found = " and ".join(rows["split"].unique().drop_null().to_pylist())
        yield (
            f"patient {torn[0].as_py()}{_and_more(len(torn) - 1)}: "
            f"found in {found}, expected one split for all volumes of a patient"
        )


def _donors(table: pa.Table) -> Iterator[str]:
    synthetic, real = _of_kind(table, "synthetic"), _of_kind(table, "real")
    place = pc.index_in(synthetic["case_id"], value_set=real["case_id"].combine_chunks())
    # A donor may be missing from the table; its place is null then, and so is the comparison.
    donor = real.select(["patient_id", "split", "image_sha256"]).take(place)
    for name, of_donor in (
        ("patient_id", "patient_id"),
        ("split", "split"),
        ("reference_sha256", "image_sha256"),
    ):
        differs = pc.not_equal(synthetic[name], donor[of_donor])
        expected = f"its donor's {of_donor}"
        if (first := pc.index(differs, True).as_py()) >= 0:
            expected += f", {donor[of_donor][first].as_py()!r}"
        yield from _flag(synthetic, differs, name, expected)


def _quality(table: pa.Table) -> Iterator[str]:
    real = _of_kind(table, "real")
    yield from _flag(real, pc.is_valid(real["redraws"]), "redraws", "null for a real volume")
    with_reasons = pc.greater(pc.list_value_length(table["qc_reasons"]), 0)
    accepted = pc.equal(table["qc_verdict"], "accept")
    surplus = pc.and_(accepted, with_reasons)
    yield from _flag(table, surplus, "qc_reasons", "none for a volume that is accepted")
    lacking = pc.and_(pc.invert(accepted), pc.invert(with_reasons))
    yield from _flag(table, lacking, "qc_reasons", "a reason for a volume that is not accepted")
    yield from _flag(table, _unknown_in_redraws(table), "redraws", f"verdicts {_VERDICTS}")


def _unknown_in_redraws(table: pa.Table) -> pa.Array:
    redraws = table["redraws"].combine_chunks()
    verdicts = pc.struct_field(pc.list_flatten(redraws), "verdict")
    known = pc.is_in(verdicts, value_set=pa.array([*QC_VERDICTS, None], pa.string()))
    rows = pc.list_parent_indices(redraws).filter(pc.invert(known))
    return pc.is_in(pa.array(range(table.num_rows), rows.type), value_set=rows)


def _mix(table: pa.Table) -> Iterator[str]:
    mix = mix_of(table)
    for name in ("num_real", "num_synthetic", "synthetic_fraction", "synthetic_per_real"):
        expected = getattr(mix, name)
        column = table[name]
        wrong = (
            pc.is_valid(column)
            if expected is None
            else pc.fill_null(pc.not_equal(column, expected), True)
        )
        yield from _flag(table, wrong, name, f"{expected} as counted over the training split")


def _flag(table: pa.Table, wrong: pa.ChunkedArray, name: str, expected: str) -> Iterator[str]:
    bad = table.filter(wrong)
    if bad.num_rows:
        who = f"{_name(bad)}{_and_more(bad.num_rows - 1)}"
        yield f"{who}: {name} is {_cell(bad, name)}, expected {expected}"


def _name(table: pa.Table) -> str:
    for key, what in (("work_id", "volume"), ("case_id", "case"), ("item_id", "item")):
        if key in table.column_names and (found := table[key][0].as_py()):
            return f"{what} {found}"
    return "a row"


def _cell(table: pa.Table, name: str) -> str:
    value = table[name][0].as_py()
    return "null" if value is None else repr(value)


def _and_more(count: int) -> str:
    return f" (and {count} more)" if count else ""


def _of_kind(table: pa.Table, kind: str) -> pa.Table:
    # The wide columns, an affine for each row, would be copied for nothing.
    return table.select(_OF_A_KIND).filter(pc.equal(table["kind"], kind))
