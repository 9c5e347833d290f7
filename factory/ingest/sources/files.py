"""What the layouts of a folder have found, name by name, before it is checked and made cases."""

from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from factory.errors import CaseError

LabelRoles = tuple[tuple[int, int], ...]


def _lists() -> dict[str, list[Path]]:
    return defaultdict(list)


@dataclass(slots=True)
class Files:
    """Files by the name of their case; every layout adds what it knows."""

    cts: dict[str, list[Path]] = field(default_factory=_lists)
    segs: dict[str, list[Path]] = field(default_factory=_lists)
    lungs: dict[str, list[Path]] = field(default_factory=_lists)
    nodules: dict[str, list[Path]] = field(default_factory=_lists)
    roles: dict[str, LabelRoles] = field(default_factory=dict)
    """Of the labels in `segs`, where they are not a layout's own."""
    notes: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    rejects: list[CaseError] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)
