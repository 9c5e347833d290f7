"""A lake as the verbs after `generate` read it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from factory.errors import StoreError
from factory.lake import PLAN, Lake
from factory.storage import Storage
from factory.volumes import Volume, read_volume
from manifests.read import read_table, resolve_uri
from manifests.schema import PLAN_SCHEMA


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


def read_row(manifest: Path | str, row: Mapping[str, Any]) -> Volume:
    """Read the volume that a row of a manifest names.

    Raises:
        StoreError: It is absent or torn.
    """
    folder, _, group = resolve_uri(manifest, row["image_uri"]).rpartition("/")
    return read_volume(Storage(folder), group)
