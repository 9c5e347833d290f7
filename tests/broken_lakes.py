"""Lakes that are damaged for `factory verify`, and what it finds."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from factory.lake import MANIFEST, Lake
from jobs.verify import problems
from manifests.read import read_manifest
from manifests.write import write_manifest

Rows = list[dict[str, Any]]


def rows_of(lake: Path) -> Rows:
    """Return the rows of a lake's manifest."""
    return read_manifest(lake / MANIFEST).to_pylist()


def drawn(lake: Path, number: int = 0) -> dict[str, Any]:
    """Return the row of a synthetic volume."""
    return [row for row in rows_of(lake) if row["kind"] == "synthetic"][number]


def rewrite(lake: Path, change: Callable[[Rows], Rows]) -> None:
    """Write the manifest again, changed."""
    write_manifest(change(rows_of(lake)), lake / MANIFEST)


def found(lake: Path) -> list[str]:
    """Return what `verify` finds."""
    return problems(Lake(lake))


def only_problem(lake: Path) -> str:
    """Return what it finds where it is one thing."""
    (problem,) = found(lake)
    return problem
