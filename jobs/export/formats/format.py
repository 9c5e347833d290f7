"""What a format is: where the files of a volume go, and what stands beside them."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs.aside import written_aside
from jobs.export.given import Item

ENDING = ".nii.gz"
LABEL_NAMES = {"background": 0, "lung": 1, "nodule": 2}
"""Of all formats: those of `factory.layouts`, unchanged."""

_IS_SCORED = "it was drawn, and its donor is in {split}: no score is to be taken of it"
_IS_UNREAD = (
    "nobody has read it for nodules, and its background would be learned and scored as such; where it was "
    "read and has none, ingest it again with an empty nodule mask"
)

NOT_ANONYMISED = (
    "Synthetic volumes keep the anatomy of a real patient outside the lungs: they are not anonymised, and "
    "not for clinical use."
)


@dataclass(frozen=True, slots=True)
class Place:
    """Where the files of a volume go, below the folder."""

    image: str
    layout: str


@dataclass(frozen=True, slots=True)
class Exported:
    """A volume whose files are there."""

    item: Item
    record: Mapping[str, Any]
    """What `export_volume` wrote down of it."""

    @property
    def name(self) -> str:
        """Of its files, without suffix."""
        return self.item.name

    @property
    def row(self) -> Mapping[str, Any]:
        """Its row in the manifest."""
        return self.item.row


@dataclass(frozen=True, kw_only=True, slots=True)
class About:
    """What is said of the whole."""

    name: str
    license: str
    """SPDX id, or `unknown`."""
    manifest: str
    """Path or URL of the manifest; not to be written down, for it may hold names."""
    manifest_sha256: str
    """Of the manifest's content."""
    native: bool
    version: str
    """Of this package."""

    @property
    def description(self) -> str:
        """What a file that heads a dataset says of it."""
        return f"Chest CT in HU, real and synthetic. {NOT_ANONYMISED}"

    @property
    def made_by(self) -> str:
        """Package and version."""
        return f"ct-factory {self.version}"


def _as_given(out: Path) -> Path:
    return out


def _nothing(exported: Sequence[Exported]) -> str:
    return ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Format:
    """One format."""

    name: str
    place: Callable[[Item], Place | str]
    """Where a volume goes, or the reason why it has no place."""

    publish: Callable[[Path, Sequence[Exported], About], Path]
    """Writes what stands beside the files, and returns the path to begin with."""

    next_step: Callable[[Path], str]
    """What to run next on such a folder."""

    folder: Callable[[Path], Path] = _as_given
    """Where the files go, of the folder that was named."""

    caveat: Callable[[Sequence[Exported]], str] = _nothing
    """What whoever goes on with it must know; empty where there is nothing."""


def unfit_to_learn_from(item: Item) -> str:
    """Return why a format that trains and scores leaves a volume out; empty where it does not."""
    if item.is_synthetic:
        split = item.row["split"]
        return "" if split == "train" else _IS_SCORED.format(split=split)
    return _IS_UNREAD if item.row["layout_origin"] == "none" else ""


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file, whole or not at all."""
    with written_aside(path) as aside:
        aside.write_bytes(content)


def write_json(path: Path, content: Any) -> None:
    """Write JSON, whole or not at all, in the order that it is given in."""
    write_bytes(path, (json.dumps(content, indent=2, allow_nan=False) + "\n").encode())
