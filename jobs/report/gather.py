"""What a lake says of itself, whole or half-way, without Ray and without a voxel.

manifest.parquet, or commits and the donors' store --> rows
plan ⟕ commits ⟕ quarantine                         --> how far it is
"""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pyarrow as pa

from factory.errors import FactoryError, StoreError
from factory.lake import MANIFEST, PLAN, Lake
from jobs.console import say
from jobs.lakes import manifest_of, planned_items
from manifests.errors import ManifestError
from manifests.read import absolute_uris, read_manifest
from manifests.write import manifest_table

_READERS = 16
"""Records that are read at once: over a network each takes its time."""

_ROWS_AT_ONCE = 500
_TORN = (
    FactoryError,
    ManifestError,
    OSError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    RecursionError,
)
"""What records come to that others wrote, or that a disk has spoilt."""

Record = dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Gathered:
    """What a lake says of itself."""

    url: str
    identity: Mapping[str, Any]
    """Its `dataset.json`."""
    table: pa.Table
    """Rows of its manifest, or what would be so far; with absolute URIs."""
    is_published: bool
    """Whether they are a manifest's."""
    num_planned: int
    num_missing: int
    """Planned, and neither committed nor quarantined."""
    num_unpublished: int
    """Committed, and not yet in the manifest that is there."""
    quarantine: Sequence[Record]
    """What was given up, with the reason."""
    problems: Sequence[str]
    """What could not be read."""


def gather(place: str) -> Gathered:
    """Read all that a lake says of itself.

    What is torn is told among its problems, and the rest is read.

    Raises:
        StoreError: There is no lake.
    """
    lake, problems = Lake(place), list[str]()
    identity = _identity(lake)
    committed, given_up = lake.committed_ids(), lake.quarantined_ids()
    planned = _planned(lake, problems)
    published = _published(lake, problems)
    table, is_published = published, published is not None
    if table is None:
        so_far = sorted(committed & planned if planned else committed)
        table = _so_far(lake, identity, so_far, problems)
    return Gathered(
        url=lake.url,
        identity=identity,
        table=table,
        is_published=is_published,
        num_planned=len(planned),
        num_missing=len(planned - committed - given_up),
        num_unpublished=len(committed & planned - set(table["work_id"].to_pylist()))
        if is_published
        else 0,
        quarantine=list(_quarantine(lake, sorted(given_up - committed), problems)),
        problems=problems,
    )


def _identity(lake: Lake) -> Record:
    found = lake.identity()
    if found is None or found.get("kind") != "lake":
        raise StoreError(
            f"lake {lake.url}: found {_what(found)}; expected a folder that `factory generate` made, "
            "finished or not. Generate first, or name the lake."
        )
    return found


def _what(identity: Record | None) -> str:
    if identity is None:
        return "none"
    return "a case store" if identity.get("kind") == "cases" else "something else"


def _planned(lake: Lake, problems: list[str]) -> set[str]:
    if not lake.storage.exists(PLAN):
        problems.append(f"{PLAN}: found none; how much was planned is not known")
        return set()
    try:
        return {item["work_id"] for item in planned_items(lake)}
    except ManifestError as error:
        problems.append(str(error))
        return set()


def _published(lake: Lake, problems: list[str]) -> pa.Table | None:
    path = lake.storage.child(MANIFEST)
    if not lake.storage.exists(MANIFEST):
        return None
    try:
        return absolute_uris(read_manifest(path), path)
    except ManifestError as error:
        problems.append(str(error))
        return None


def _so_far(lake: Lake, identity: Record, ids: Sequence[str], problems: list[str]) -> pa.Table:
    """Return the rows that a manifest would have by now: of the donors' store, and of the commits."""
    tables = [manifest_table([]), *_donors(identity, problems)]
    say(f"no manifest yet, reading {len(ids)} commit markers")
    with ThreadPoolExecutor(_READERS) as pool:
        for start in range(0, len(ids), _ROWS_AT_ONCE):
            read = pool.map(lambda item: _committed(lake, item), ids[start : start + _ROWS_AT_ONCE])
            tables += _typed_tables(list(read), problems)
    table: pa.Table = pa.concat_tables(tables)
    return absolute_uris(table, lake.storage.child(MANIFEST))


def _donors(identity: Record, problems: list[str]) -> Iterator[pa.Table]:
    try:
        path = manifest_of(str(identity["cases"]))
        yield absolute_uris(read_manifest(path), path).replace_schema_metadata(None)
    except _TORN as error:
        problems.append(f"the donors' case store: {_told(error)}")


def _committed(lake: Lake, item: str) -> Record | str:
    try:
        row = lake.committed_row(item)
        return {**row, "created_at": datetime.fromisoformat(row["created_at"])}
    except _TORN as error:
        return f"commit {item}: {_told(error)}"


def _typed_tables(read: Sequence[Record | str], problems: list[str]) -> Iterator[pa.Table]:
    problems += [one for one in read if isinstance(one, str)]
    rows = [one for one in read if not isinstance(one, str)]
    try:
        yield manifest_table(rows)
        return
    except _TORN:
        # One is no row: which one, only each by itself can tell.
        pass
    for row in rows:
        try:
            yield manifest_table([row])
        except _TORN as error:
            problems.append(f"commit {row.get('work_id')}: {_told(error)}")


def _quarantine(lake: Lake, ids: Sequence[str], problems: list[str]) -> Iterator[Record]:
    with ThreadPoolExecutor(_READERS) as pool:
        for record in pool.map(lambda item: _given_up(lake, item), ids):
            if isinstance(record, str):
                problems.append(record)
            else:
                yield record


def _given_up(lake: Lake, item: str) -> Record | str:
    name = f"quarantine/{item}.json"
    try:
        record = lake.storage.read_json(name)
    except _TORN as error:
        return f"{name}: {_told(error)}"
    return record if isinstance(record, dict) else f"{name}: found no JSON object"


def _told(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
