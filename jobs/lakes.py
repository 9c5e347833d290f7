"""Lakes and case stores as the verbs after `generate` read them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from factory.errors import StoreError
from factory.lake import MANIFEST, PLAN, Lake
from factory.storage import Storage
from factory.volumes import Volume, read_volume
from manifests.read import read_table, resolve_uri
from manifests.schema import PLAN_SCHEMA

_MADE_BY = {"lake": "generate", "cases": "ingest"}


def open_lake(path: Path | str) -> Lake:
    """Open a lake that `factory generate` made.

    Raises:
        StoreError: There is none, or it has no plan yet.
    """
    lake = Lake(path)
    identity = lake.identity()
    if identity is None or identity.get("kind") != "lake" or not lake.storage.exists(PLAN):
        raise StoreError(
            f"lake {lake.url}: found none; expected a folder that `factory generate` made. Generate "
            "first, or name the lake."
        )
    return lake


def planned_items(lake: Lake) -> list[dict[str, Any]]:
    """Return the rows of a lake's plan, in its order."""
    rows: list[dict[str, Any]] = read_table(lake.storage.child(PLAN), PLAN_SCHEMA).to_pylist()
    return rows


def manifest_of(path: Path | str) -> str:
    """Return the path or URL of the manifest of a lake or of a case store.

    Raises:
        StoreError: It is neither, or has no manifest yet.
    """
    lake = Lake(path)
    kind = (lake.identity() or {}).get("kind")
    if kind not in _MADE_BY:
        raise StoreError(
            f"{lake.url}: found neither a lake nor a case store; expected a folder that `factory "
            "generate` or `factory ingest` made. Correct the path."
        )
    if not lake.storage.exists(MANIFEST):
        raise StoreError(
            f"{lake.url}: found no {MANIFEST}; expected one, as a finished run leaves it. Run `factory "
            f"{_MADE_BY[kind]}` again: it does what is missing."
        )
    return lake.storage.child(MANIFEST)


def read_row(manifest: Path | str, row: Mapping[str, Any]) -> Volume:
    """Read the volume that a row of a manifest names.

    Raises:
        StoreError: It is absent or torn.
    """
    return read_uri(resolve_uri(manifest, row["image_uri"]))


def read_uri(uri: str) -> Volume:
    """Read the volume at an absolute path or a URL.

    Raises:
        StoreError: It is absent or torn.
    """
    folder, _, group = uri.rpartition("/")
    return read_volume(Storage(folder), group)
