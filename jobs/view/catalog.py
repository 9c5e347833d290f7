"""The rows that a browser lists: of a lake, finished or not, of a case store, or of any manifest."""

import os
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from factory.lake import MANIFEST, Lake
from jobs.lakes import manifest_of
from jobs.report.gather import gather
from manifests.errors import ManifestError
from manifests.read import absolute_uris, folder_of, is_url, read_manifest

_MANIFEST_ENDING = ".parquet"
_LISTED = (
    "kind",
    "work_id",
    "case_id",
    "seed_index",
    "split",
    "qc_verdict",
    "nodules",
)
_SEARCHED = ("case_id", "patient_id", "work_id", "split")

UNJUDGED = "none"
"""What the verdict of a row without one is called in a filter."""


@dataclass(frozen=True, slots=True)
class Filter:
    """Which rows are listed; an empty word is all."""

    kind: str = ""
    verdict: str = ""
    text: str = ""
    """Part of a case, a patient, a work id, a split or a reason; capitals do not matter."""


@dataclass(frozen=True, kw_only=True)
class Catalog:
    """Rows of a manifest, numbered as they stand in it."""

    url: str
    """Path or URL of the lake, the store or the file."""
    folder: str
    """Of the manifest: where its relative URIs start."""
    table: pa.Table
    """Of `manifests.schema`, with absolute URIs."""
    problems: tuple[str, ...] = ()
    """What could not be read of a lake that is not finished."""

    def row(self, index: int) -> dict[str, Any]:
        """Return a whole row by its number."""
        (found,) = self.table.slice(index, 1).to_pylist()
        return dict(found)

    def matching(self, asked: Filter) -> NDArray[np.int64]:
        """Return the numbers of the rows that pass a filter, ascending."""
        mask = np.ones(self.table.num_rows, np.bool_)
        if asked.kind:
            mask &= _is(self.table["kind"], asked.kind)
        if asked.verdict:
            mask &= _is(pc.fill_null(self.table["qc_verdict"], UNJUDGED), asked.verdict)
        if asked.text:
            found = pc.match_substring(self._words, asked.text, ignore_case=True)
            mask &= found.to_numpy(zero_copy_only=False)
        return np.flatnonzero(mask)

    def listed(self, numbers: NDArray[np.int64]) -> list[dict[str, Any]]:
        """Return what a list shows of rows, each with its number as `index`."""
        rows = self.table.select(list(_LISTED)).take(pa.array(numbers, pa.int64())).to_pylist()
        return [{"index": int(number), **row} for number, row in zip(numbers, rows, strict=True)]

    def counts(self, column: str) -> dict[str, int]:
        """Return how many rows there are of each word in a column."""
        found = pc.value_counts(pc.fill_null(self.table[column], UNJUDGED)).to_pylist()
        return {one["values"]: one["counts"] for one in found}

    def donor(self, row: dict[str, Any]) -> int | None:
        """Return the number of the real row that a synthetic volume was drawn from."""
        return self._real.get(row["case_id"]) if row["kind"] == "synthetic" else None

    @cached_property
    def _real(self) -> dict[str, int]:
        numbers = self.matching(Filter(kind="real"))
        cases = self.table["case_id"].take(pa.array(numbers, pa.int64())).to_pylist()
        return {case: int(number) for case, number in zip(cases, numbers, strict=True)}

    @cached_property
    def _words(self) -> pa.ChunkedArray:
        texts = [pc.fill_null(self.table[name], "") for name in _SEARCHED]
        lists = self.table["qc_reasons"].cast(pa.list_(pa.string()))
        reasons = pc.fill_null(pc.binary_join(lists, " "), "")
        return pc.binary_join_element_wise(*texts, reasons, "\n")


def open_catalog(place: str) -> Catalog:
    """Read the rows of a lake, a case store or a manifest.

    A lake half-way, or one whose manifest is torn, has the rows that its commits tell.

    Raises:
        StoreError: It is none of them, or a case store that is not finished.
        ManifestError: The manifest is missing or torn.
    """
    if place.endswith(_MANIFEST_ENDING):
        return _of_manifest(place if is_url(place) else os.path.abspath(place))
    lake = Lake(place)
    if (lake.identity() or {}).get("kind") != "lake":
        return _of_manifest(manifest_of(place), lake.url)
    if lake.storage.exists(MANIFEST):
        try:
            return _of_manifest(lake.storage.child(MANIFEST), lake.url)
        except ManifestError:
            # Told by `gather`, which goes on without it.
            pass
    found = gather(place)
    return Catalog(url=lake.url, folder=lake.url, table=found.table, problems=tuple(found.problems))


def _of_manifest(path: str, url: str = "") -> Catalog:
    table = absolute_uris(read_manifest(path), path)
    return Catalog(url=url or path, folder=folder_of(path), table=table)


def _is(column: pa.ChunkedArray, word: str) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = pc.equal(column, word).to_numpy()
    return found
