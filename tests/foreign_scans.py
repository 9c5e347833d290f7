"""Scans as something else leaves them: image files with masks beside them, or by names that no layout knows."""

import shutil
from pathlib import Path

from support import ingest_in_process, write_scan

from factory.ingest.prepare import IngestConfig

CONFIG = IngestConfig(grid=32)


def make_scans(folder: Path, num: int) -> Path:
    """Write phantoms p0, p1, ... with their masks, as `factory ingest` takes them."""
    for seed in range(num):
        write_scan(folder, f"p{seed}", seed)
    return folder


def make_store(scans: Path, folder: Path) -> Path:
    """Make a case store of scans."""
    return ingest_in_process(scans, folder, CONFIG)


def make_plain(scans: Path, folder: Path) -> Path:
    """Copy the first four CTs alone, under names that no layout knows; return their folder."""
    (folder / "sub").mkdir(parents=True)
    for seed in range(4):
        place = folder / ("sub" if seed == 3 else "")
        shutil.copy(scans / f"p{seed}_ct.nii.gz", place / f"sample {seed}_image.nii.gz")
    return folder
