"""Folders of layouts as the tests of `layouts` and `generate` need them, made without Ray."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import connect_alone

from factory.digests import sha256_of_file
from factory.nodules.layout_file import write_nifti
from factory.nodules.rules import LayoutsConfig
from factory.storage import Storage
from factory.volumes import Volume, read_volume
from jobs.cases import CaseStore
from jobs.layouts import job
from jobs.layouts.table import open_layouts
from manifests.read import read_table
from manifests.schema import QUARANTINE_SCHEMA

GRID = 32
CONFIG = LayoutsConfig(diameters="uniform:14:18", max_nodules=2)
"""Large nodules: a voxel of 32^3 over a chest measures a centimetre."""

Row = dict[str, Any]


def in_process(patch: pytest.MonkeyPatch) -> None:
    """Make `layouts` run in this process, one case after the other, with no cluster."""

    def run_tasks(
        function: Callable[..., Any], calls: Iterable[tuple[Any, ...]], *, window: int
    ) -> Iterator[tuple[tuple[Any, ...], Any]]:
        for arguments in calls:
            yield arguments, function(*arguments)

    patch.setattr(job, "connect", connect_alone)
    patch.setattr(job, "run_tasks", run_tasks)


def make_layouts(store: Path, out: Path, **changes: Any) -> job.LayoutsResult:
    """Make layouts in this process."""
    with pytest.MonkeyPatch.context() as patch:
        in_process(patch)
        config = changes.pop("config", CONFIG)
        return job.layouts(store, out, config, **{"per_case": 2} | changes)


def rows_of(folder: Path, case_id: str) -> list[Row]:
    return [row for row in open_layouts(folder) if row["case_id"] == case_id]


def volume_of(store: CaseStore, case_id: str) -> Volume:
    (uri,) = (row["image_uri"] for row in store.rows if row["case_id"] == case_id)
    return read_volume(Storage(store.url), uri)


def draw_nodule(store: CaseStore, case_id: str, *, shift: int = 0) -> np.ndarray:
    """The case's lungs with one nodule, which reaches out of them, and its other nodules erased."""
    layout = (volume_of(store, case_id).layout > 0).astype(np.uint8)
    z, y, x = np.argwhere(layout == 1)[0]
    layout[z : z + 3, y : y + 3, x - 2 + shift : x + 2 + shift] = 2
    return layout


def edit(folder: Path, store: CaseStore, row: Row, layout: np.ndarray | None = None) -> np.ndarray:
    """Write over a layout as a radiologist would; return what was written."""
    volume = volume_of(store, row["case_id"])
    layout = draw_nodule(store, row["case_id"]) if layout is None else layout
    write_nifti(folder / row["file"], layout, volume.affine)
    return layout


def reasons_of(folder: Path) -> dict[str, str]:
    """Return why each item of the quarantine was given up."""
    rows = read_table(folder / "quarantine.parquet", QUARANTINE_SCHEMA).to_pylist()
    return {row["item_id"]: row["message"] for row in rows}


def bytes_of(folder: Path) -> dict[str, str]:
    """Return the digest of each layout, by its file."""
    files = sorted(folder.rglob("*.nii.gz"))
    return {str(file.relative_to(folder)): sha256_of_file(file) for file in files}
