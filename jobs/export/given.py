"""Which volumes are exported: rows of a manifest, each with its name and its donor.

manifest --verdict, split--> rows --name_for--> items
"""

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from factory.counted import counted
from factory.errors import UsageError
from factory.refused import found_of
from jobs.export.names import name_for
from jobs.ingest.private import Private, read_inputs
from jobs.lakes import manifest_of
from jobs.readers.rows import name_of, select_rows
from manifests.digest import content_digest
from manifests.read import is_url, read_manifest
from manifests.validate import validate

DICOM = "dicom:"
"""How `source_uri` of a DICOM case begins: its path is not in the store."""

_MANIFEST = ".parquet"
_UNJUDGED = "review"
"""What a volume that was never judged counts as, as in a mix."""

Row = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Item:
    """One volume to be exported."""

    name: str
    """Of its files, without suffix."""
    row: Row
    donor: Row
    """Row of the scan: the volume's own where it is real; empty where the manifest has it not."""

    @property
    def is_synthetic(self) -> bool:
        """Whether it was drawn."""
        return bool(self.row["kind"] == "synthetic")

    @property
    def told(self) -> str:
        """What a message calls it."""
        return name_of(self.row)


@dataclass(frozen=True, slots=True)
class Given:
    """What is exported, and what was left out by rule."""

    manifest: str
    items: Sequence[Item]
    num_of_verdict: int = 0
    """Volumes that quality control thinks less of than was asked for."""
    manifest_sha256: str = ""
    """Its content digest, as it was read."""
    inputs: Mapping[str, str] = field(default_factory=dict)
    """Folder of each DICOM case; only where native volumes are asked for."""

    def source_of(self, item: Item) -> str:
        """Return the file or folder of the scan that an item comes from; empty where none is known."""
        uri = str(item.donor.get("source_uri") or "")
        return self.inputs.get(uri.removeprefix(DICOM), "") if uri.startswith(DICOM) else uri


def find_items(
    place: str, *, splits: Sequence[str], min_verdict: str, native: bool, private: Path | None
) -> Given:
    """Read which volumes are exported.

    Args:
        place: Lake, case store or manifest.
        splits: train, val, test; none is all.
        min_verdict: `accept` or `review`: the least that a synthetic volume needs.
        native: Whether scans are to be found too.
        private: Private folder of the case store, where it is not beside it.

    Raises:
        StoreError: The folder is none, or is not finished.
        ManifestError: There is no manifest, or it is torn.
        UsageError: The manifest contradicts itself, or nothing of it is to be exported.
    """
    manifest = _absolute(place) if place.endswith(_MANIFEST) else manifest_of(place)
    table = read_manifest(manifest)
    _refuse_wrong(table, manifest)
    every: list[dict[str, Any]] = select_rows(manifest).to_pylist()
    wanted = [row for row in every if not splits or row["split"] in splits]
    rows = [row for row in wanted if _is_good(row, min_verdict)]
    if not rows:
        raise UsageError(
            f"{manifest}: found {_of_splits(every)}; expected some of {' or '.join(splits) or 'any'}, of verdict "
            f"{min_verdict} or better. Take {'--min-verdict review' if wanted else 'another --split'}."
        )
    real = {row["case_id"]: row for row in every if row["kind"] == "real"}
    items = [Item(name=name_for(row), row=row, donor=real.get(row["case_id"], {})) for row in rows]
    _refuse_twins(items, manifest)
    return Given(
        manifest,
        items,
        num_of_verdict=len(wanted) - len(rows),
        inputs=_inputs(items, private) if native else {},
        manifest_sha256=content_digest(table),
    )


def _of_splits(rows: Sequence[Row]) -> str:
    """Return how many volumes there are, as `4 volumes of train`."""
    counts = Counter(row["split"] for row in rows)
    return ", ".join(f"{counted(num, 'volume')} of {split}" for split, num in counts.items())


def _absolute(path: str) -> str:
    return path if is_url(path) else os.path.abspath(path)


def _refuse_wrong(table: pa.Table, manifest: str) -> None:
    """Refuse a manifest that leaks, or contradicts itself: others would train on what it says."""
    if problems := validate(table):
        raise UsageError(
            f"{manifest}: found {counted(len(problems), 'problem')}, the first: {problems[0]}. Expected none. Write the "
            "manifest again."
        )


def _is_good(row: Row, min_verdict: str) -> bool:
    if row["kind"] == "real":
        return True
    verdict = row["qc_verdict"] or _UNJUDGED
    return verdict in ("accept", min_verdict)


def _refuse_twins(items: Sequence[Item], manifest: str) -> None:
    seen: dict[str, Item] = {}
    for item in items:
        # Some disks take two names that differ in case for one.
        other = seen.setdefault(item.name.lower(), item)
        if other is not item:
            raise UsageError(
                f"{manifest}: found {other.told} and {item.told}, whose files would both be {item.name}; "
                "expected two names. Rename one of the cases, and ingest it again."
            )


def _inputs(items: Sequence[Item], private: Path | None) -> dict[str, str]:
    """Return the folder of each DICOM case, as the private folders beside their stores tell."""
    cases = [item.donor for item in items if str(item.donor.get("source_uri")).startswith(DICOM)]
    folders = {private} if private else set(_private_folders(cases))
    found: dict[str, str] = {}
    for folder in sorted(folders):
        try:
            found |= read_inputs(folder)
        except OSError as error:
            if private:
                raise UsageError(
                    f"--private {private}: found {found_of(error)}; expected the private folder of the "
                    "case store. Correct the path or its permissions."
                ) from error
    return found


def _private_folders(cases: Sequence[Row]) -> Iterator[Path]:
    for store in {row["image_uri"].rpartition("/volumes/")[0] for row in cases}:
        folder = None if is_url(store) or not store else Private.of(store, None).folder
        if folder:
            yield folder
