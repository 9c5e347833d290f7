"""Several manifests become one table, each volume once.

real rows by case, synthetic rows by work id: the same voxels count once, others are refused
"""

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from manifests.errors import ManifestError
from manifests.read import absolute_uris
from manifests.schema import QC_VERDICTS, SPLITS

_FROM = "from_manifest"
"""A column that no manifest has: where a row was read."""

_NAMED = 5


@dataclass(frozen=True, slots=True)
class Source:
    """One of the manifests of a mix."""

    manifest: str
    """Path or URL that the table was read from."""

    table: pa.Table
    """Rows as they were read, relative URIs and all."""


def unite(sources: Sequence[Source]) -> pa.Table:
    """Return the rows of several manifests as one table with absolute URIs.

    A case that several sources have counts once, and so does a work id. Of rows that say the
    same, the one of the first source stays; of a synthetic volume, the one that is earliest in
    its plan, with the worst of their verdicts, where none counts as review. So the order of the
    sources changes neither what a mix takes nor its order.

    Args:
        sources: Manifests of lakes and case stores, in any order.

    Raises:
        ManifestError: One case or work id has other voxels in another source, a case has two
            patients, or a patient or a scan is in two splits. The message names both places.
    """
    rows = pa.concat_tables([_marked(source) for source in sources])
    real = rows.filter(pc.equal(rows["kind"], "real"))
    synthetic = rows.filter(pc.equal(rows["kind"], "synthetic"))
    # The first of each stays: the earliest in its plan.
    synthetic = synthetic.take(_stable_order(synthetic["plan_index"]))
    for column in ("image_sha256", "layout_sha256"):
        _refuse_two(real, "case_id", column, _OTHER_CASE)
        _refuse_two(synthetic, "work_id", column, _OTHER_DRAW)
    _refuse_two(real, "case_id", "patient_id", _OTHER_PATIENT)
    _refuse_torn(real, "patient_id", "patient")
    _refuse_torn(real, "image_sha256", "scan")
    kept = [_first_of_each(real, "case_id"), _judged_worst(synthetic)]
    return pa.concat_tables(kept).drop_columns(_FROM)


_OTHER_CASE = (
    "expected the same voxels wherever a case is named. Rename one of the two cases, or leave one "
    "source out."
)
_OTHER_DRAW = (
    "expected the same voxels wherever a work id is. Keep one of the two lakes: they were drawn on "
    "machines that compute differently."
)
_OTHER_PATIENT = (
    "expected one patient. Ingest both sources with the same table of patients, or leave one out."
)
_IN_TWO_SOURCES = (
    "Leave one of the sources out, or generate it again from the case store as it is now."
)
_IN_ONE_SOURCE = "Ingest both under one patient (--patients), or leave one case out."


def _marked(source: Source) -> pa.Table:
    table = absolute_uris(source.table, source.manifest).replace_schema_metadata(None)
    return table.append_column(_FROM, pa.repeat(pa.scalar(source.manifest), table.num_rows))


def _stable_order(column: pa.ChunkedArray) -> pa.Array:
    places = pa.table({"value": column, "place": pa.array(range(len(column)), pa.int64())})
    return pc.sort_indices(places, [("value", "ascending"), ("place", "ascending")])


def _judged_worst(synthetic: pa.Table) -> pa.Table:
    """Return the first row of each work id, with the quality control of its worst one."""
    first = _first_of_each(synthetic, "work_id")
    verdicts = pc.fill_null(synthetic["qc_verdict"], "review")
    ranks = pc.index_in(verdicts, value_set=pa.array(reversed(QC_VERDICTS), pa.string()))
    worst = _first_of_each(synthetic.take(_stable_order(ranks)), "work_id")
    worst = worst.take(pc.index_in(first["work_id"], value_set=worst["work_id"].combine_chunks()))
    for place, field in enumerate(first.schema):
        if field.name.startswith("qc_"):
            first = first.set_column(place, field, worst[field.name])
    return first


def _first_of_each(table: pa.Table, key: str) -> pa.Table:
    places = pa.table({key: table[key], "place": pa.array(range(table.num_rows), pa.int64())})
    first = places.group_by(key, use_threads=False).aggregate([("place", "min")])
    return table.take(first["place_min"])


def _refuse_two(table: pa.Table, key: str, column: str, way_out: str) -> None:
    """Raise if rows of one key differ in a column, naming the first two that do."""
    torn = _with_several(table, key, column)
    if not len(torn):
        return
    rows = table.filter(pc.equal(table[key], torn[0])).to_pylist()
    other = next(row for row in rows if row[column] != rows[0][column])
    found = " and ".join(f"{row[column]} at {row['image_uri']}" for row in (rows[0], other))
    raise ManifestError(
        f"{key} {torn[0].as_py()}{_and_more(len(torn) - 1)}: found {column} {found}, {way_out}"
    )


def _with_several(table: pa.Table, key: str, column: str) -> pa.ChunkedArray:
    """Return the keys whose rows differ in a column."""
    grouped = table.select([key, column]).group_by(key, use_threads=False)
    counted = grouped.aggregate([(column, "count_distinct", pc.CountOptions(mode="all"))])
    return counted.filter(pc.greater(counted[f"{column}_count_distinct"], 1))[key]


def _refuse_torn(real: pa.Table, key: str, what: str) -> None:
    """Raise if a patient or a scan is in two splits, naming both places."""
    torn = _with_several(real, key, "split")
    if not len(torn):
        return
    rows = real.filter(pc.is_in(real[key], value_set=torn.combine_chunks())).to_pylist()
    rows.sort(key=lambda row: SPLITS.index(row["split"]))
    here = rows[0]
    there = next(row for row in rows if row[key] == here[key] and row["split"] != here["split"])
    name = "case_id" if key == "image_sha256" else key
    names = {row[key]: row[name] for row in reversed(rows)}
    raise ManifestError(
        f"{what} {_listed(list(names.values()))}: found in {here['split']} of {here[_FROM]} and, as "
        f"case {there['case_id']}, in {there['split']} of {there[_FROM]}, expected one split: what is "
        "trained or tuned on can't be tested on. "
        f"{_IN_ONE_SOURCE if here[_FROM] == there[_FROM] else _IN_TWO_SOURCES}"
    )


def _listed(names: Sequence[str]) -> str:
    return ", ".join(sorted(names)[:_NAMED]) + _and_more(len(names) - _NAMED)


def _and_more(count: int) -> str:
    return f" (and {count} more)" if count > 0 else ""
