"""Layouts that `generate` draws after: those made by rule, and what radiologists have made of them.

layouts.parquet, file by file --same bytes--> rule
                              --other bytes, read and held against the case--> rule, edited, or refused
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from factory.counted import counted
from factory.digests import digest_json, sha256_of_file, sha256_of_voxels
from factory.errors import CaseError, StoreError
from factory.nodules.layout_file import read_layout
from factory.storage import Storage
from factory.volumes import read_volume
from jobs.cases import CaseStore, digest_of
from jobs.layouts.table import CT_FILE, open_layouts

ORIGINS = ("rule", "edited")
"""Origins of layouts that lie in files."""

_EDITED = "-edited-"
_DIGITS = 16
_MADE = re.compile(r"rule-\d{2,}-[0-9a-f]{16}")
_OTHER_LAYOUTS = (".nii", ".nii.gz", ".nrrd")

Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class GivenLayout:
    """One layout in a file."""

    layout_id: str
    """Name of its file; of an edited one, with digits of its voxels after it."""

    origin: str
    """`rule`, or `edited` where its voxels are no longer as they were made."""

    sha256: str
    """Of its voxels, decoded, on the lungs of its case."""

    @property
    def made_id(self) -> str:
        """Name of the layout that it is, or was edited from."""
        return _made_id(self.layout_id)


@dataclass(frozen=True, slots=True)
class GivenLayouts:
    """The layouts of a folder that the cases of a store can be drawn after."""

    folder: str
    by_case: Mapping[str, Sequence[GivenLayout]]
    """Only cases that have some, each with its layouts in their order."""
    refused: Mapping[str, CaseError]
    """Why not, by case and layout id."""
    unknown: Sequence[str]
    """Files beside them that are no layout of the table."""

    @property
    def digest(self) -> str:
        """32 hex digits over all that is drawn after."""
        told = {case: [given.sha256 for given in all_] for case, all_ in self.by_case.items()}
        return digest_json(told)


def find_layouts(folder: Path, donors: Sequence[Row], store: CaseStore) -> GivenLayouts:
    """Find the layouts of some cases, and refuse what cannot be drawn after.

    A file that is as it was made is known by its bytes; only others are read.

    Args:
        folder: That `factory layouts` made, and a radiologist may have edited.
        donors: Manifest rows of the cases.
        store: Case store that they are of.

    Raises:
        StoreError: The folder is none, or has no layout for any of the cases.
    """
    folder = folder.resolve()
    rows = _by_case(open_layouts(folder))
    by_case: dict[str, list[GivenLayout]] = {}
    refused: dict[str, CaseError] = {}
    unknown: list[str] = []
    for donor in donors:
        case_id = donor["case_id"]
        made = rows.get(case_id, [])
        unknown += _unlisted(folder / case_id, made)
        for row in made:
            try:
                by_case.setdefault(case_id, []).append(_given(folder, row, donor, store))
            except CaseError as error:
                refused[f"{case_id}.{row['layout_id']}"] = error
    usable = {case: given for case, given in by_case.items() if given}
    if not usable:
        reason = f", as {next(iter(refused.values()))}" if refused else ""
        raise StoreError(
            f"layouts {folder}: found none for {counted(len(donors), 'training case')} of {store.url}{reason}; "
            "expected at least one. Make them with `factory layouts` for the same case store."
        )
    return GivenLayouts(str(folder), usable, refused, unknown)


def read_given(
    folder: str, case_id: str, layout_id: str, own: NDArray[np.uint8], affine: NDArray[np.float64]
) -> NDArray[np.uint8]:
    """Read a layout that a plan names.

    Args:
        folder: Of the layouts.
        case_id: The case.
        layout_id: As `GivenLayout` has it.
        own: (z, y, x) layout of the case itself.
        affine: 4x4 of the case.

    Returns:
        (z, y, x) uint8 labels.

    Raises:
        CaseError: The file is gone, or not what was planned.
    """
    path = _path(folder, case_id, layout_id)
    layout = read_layout(case_id, path, own, affine)
    found, expected = sha256_of_voxels(layout)[:_DIGITS], layout_id[-_DIGITS:]
    if found != expected:
        raise CaseError(
            case_id,
            f"{path} has voxels of sha256 {found}..., but {expected}... was planned; expected the same. It "
            "was edited since: give it back as it was, or generate into another --out.",
        )
    return layout


def _given(folder: Path, row: Row, donor: Row, store: CaseStore) -> GivenLayout:
    case_id, name, sha256 = row["case_id"], row["layout_id"], row["layout_sha256"]
    if not _MADE.fullmatch(name) or name[-_DIGITS:] != sha256[:_DIGITS]:
        raise StoreError(
            f"layouts {folder}: found layout_id {name!r}; expected rule-NUMBER-DIGITS with digits of its "
            "layout_sha256. Run `factory layouts` again."
        )
    if row["case_digest"] != digest_of(donor):
        raise CaseError(
            case_id,
            f"layout {name} was made for other voxels than {store.url} has; expected the same case. Make "
            "layouts for this store, with another --out.",
        )
    path = _path(str(folder), case_id, name)
    if path.is_file() and sha256_of_file(path) == row["file_sha256"]:
        return GivenLayout(layout_id=name, origin="rule", sha256=sha256)
    volume = read_volume(Storage(store.url), donor["image_uri"])
    found = sha256_of_voxels(read_layout(case_id, path, volume.layout, volume.affine))
    if found == sha256:
        return GivenLayout(layout_id=name, origin="rule", sha256=sha256)
    edited = f"{name}{_EDITED}{found[:_DIGITS]}"
    return GivenLayout(layout_id=edited, origin="edited", sha256=found)


def _path(folder: str, case_id: str, layout_id: str) -> Path:
    return Path(folder) / case_id / f"{_made_id(layout_id)}.nii.gz"


def _made_id(layout_id: str) -> str:
    return layout_id.partition(_EDITED)[0]


def _by_case(rows: Sequence[Row]) -> dict[str, list[Row]]:
    by_case: dict[str, list[Row]] = {}
    for row in sorted(rows, key=lambda row: int(row["layout_index"])):
        by_case.setdefault(row["case_id"], []).append(row)
    return by_case


def _unlisted(folder: Path, made: Sequence[Row]) -> list[str]:
    if not folder.is_dir():
        return []
    known = {CT_FILE, *(f"{row['layout_id']}.nii.gz" for row in made)}
    names = sorted(path.name for path in folder.iterdir() if path.name.endswith(_OTHER_LAYOUTS))
    return [str(folder / name) for name in names if name not in known and name[0] != "."]
