"""A case store as the verbs after `ingest` read it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from factory.case import case_digest
from factory.errors import StoreError
from factory.lake import MANIFEST, Lake
from manifests.read import read_manifest


@dataclass(frozen=True, slots=True)
class CaseStore:
    """The rows of a case store's manifest, all real."""

    url: str
    ingest: dict[str, Any]
    """How scans were brought to its grid: the `[ingest]` settings."""
    rows: list[dict[str, Any]]

    @property
    def grid(self) -> int:
        """Voxels along each edge of every case."""
        return int(self.rows[0]["shape"][0])

    def training_rows(self) -> list[dict[str, Any]]:
        """Return the rows of the training split: the only ones to train on or to draw from.

        Raises:
            StoreError: There are none.
        """
        rows = [row for row in self.rows if row["split"] == "train"]
        if not rows:
            raise _untrainable(self.url)
        return rows


def open_case_store(path: Path | str) -> CaseStore:
    """Read a case store's manifest.

    Args:
        path: Folder or URL of the store.

    Raises:
        StoreError: There is no case store, or no case in it.
        ManifestError: Its manifest is torn.
    """
    lake = Lake(path)
    identity = lake.identity()
    if identity is None or identity.get("kind") != "cases":
        raise StoreError(
            f"case store {lake.url}: found none; expected a folder that `factory ingest` made. Ingest "
            "your scans first, or name the store with --cases."
        )
    if not lake.storage.exists(MANIFEST):
        raise StoreError(
            f"case store {lake.url}: found no {MANIFEST}; expected a finished ingest. Run `factory "
            "ingest` again: it does what is missing."
        )
    rows = read_manifest(lake.storage.child(MANIFEST)).to_pylist()
    if not rows:
        raise _untrainable(lake.url)
    return CaseStore(lake.url, dict(identity["ingest"]), rows)


def _untrainable(url: str) -> StoreError:
    return StoreError(
        f"case store {url}: no case is in the training split; expected at least one. Ingest more "
        "patients."
    )


def digest_of(row: dict[str, Any]) -> str:
    """Return the digest of all that a case brings to a synthetic volume."""
    return case_digest(row["image_sha256"], row["layout_sha256"], row["affine"])
