"""Case stores of phantoms with lakes drawn into them, and `export` without a cluster."""

import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from manifest_rows import sha
from support import connect_alone, ingest_in_process, write_scan

from factory.digests import sha256_of_file, sha256_of_voxels
from factory.ingest.prepare import IngestConfig
from factory.lake import MANIFEST, Lake
from factory.layouts import BACKGROUND
from factory.volumes import Volume, read_volume, write_volume
from jobs.export.job import ExportResult, export
from jobs.lakes import read_row
from manifests.read import read_manifest, rebase_uris
from manifests.write import write_manifest

GRID = 16


def make_scans(folder: Path, num: int) -> Path:
    """Write phantoms c0, c1, ... as NIfTI files; return their folder."""
    for seed in range(num):
        write_scan(folder, f"c{seed}", seed)
    return folder


def ingested(scans: Path, cases: Path) -> Path:
    """Make a case store of a folder of scans."""
    return ingest_in_process(scans, cases, IngestConfig(grid=GRID))


def drawn_lake(
    cases: Path, folder: Path, draws: int = 2, changes: Sequence[dict[str, Any]] = ()
) -> Path:
    """Make a lake with some draws into each case: other HU in lungs and nodules, none elsewhere.

    Args:
        cases: Case store.
        folder: To be made.
        draws: Of each case.
        changes: Columns that differ, by the place of the volume.
    """
    store, lake = Lake(cases), Lake(folder)
    lake.claim({"kind": "lake"})
    manifest = store.storage.child(MANIFEST)
    real = read_manifest(manifest).to_pylist()
    rebased = rebase_uris(read_manifest(manifest), manifest, lake.storage.child(MANIFEST))
    rows: list[dict[str, Any]] = rebased.to_pylist()
    for index, row in enumerate(row for row in real for _ in range(draws)):
        donor = read_volume(store.storage, row["image_uri"])
        made = _drawn(lake, row, donor, index)
        rows.append(made | (changes[index] if index < len(changes) else {}))
    write_manifest(rows, manifest_of(folder))
    return folder


@dataclass(frozen=True, kw_only=True)
class Made:
    """Scans, the case store of them, and a lake of synthetic volumes drawn into these."""

    scans: Path
    cases: Path
    lake: Path

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Rows of the lake."""
        return rows_of(self.lake)

    def copied(self, folder: Path) -> "Made":
        """Return a copy whose lake is to be damaged."""
        return replace(self, lake=Path(shutil.copytree(self.lake, folder)))

    def volume_of(self, row: dict[str, Any]) -> Volume:
        """Return the volume of one of its rows."""
        return read_row(manifest_of(self.lake), row)


def make_lake(folder: Path, splits: Sequence[str], *, draws: int = 2) -> Made:
    """Make a lake of phantoms.

    Args:
        folder: For all of it.
        splits: Of each case, whose children have it too.
        draws: Of each case.
    """
    scans = make_scans(folder / "scans", len(splits))
    cases = ingested(scans, folder / "cases")
    made = Made(scans=scans, cases=cases, lake=drawn_lake(cases, folder / "lake", draws))
    split_of = {f"c{number}": split for number, split in enumerate(splits)}
    set_rows(made.lake, (row | {"split": split_of[row["case_id"]]} for row in made.rows))
    return made


def read_nifti(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return a file's values (z, y, x), in the type that it stores, and its affine."""
    image: Any = nib.load(path)
    return np.asarray(image.dataobj).transpose(2, 1, 0), image.affine


def manifest_of(folder: Path) -> str:
    """Return the path of a lake's manifest."""
    return str(folder / MANIFEST)


def set_rows(folder: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Write other rows as the manifest of a lake or case store."""
    write_manifest(list(rows), manifest_of(folder))


def change_row(made: Made, row: dict[str, Any], **changes: Any) -> None:
    """Change the row of one synthetic volume in the lake's manifest."""
    others = (one | changes if one["work_id"] == row["work_id"] else one for one in made.rows)
    set_rows(made.lake, others)


def change_volume(made: Made, row: dict[str, Any], **changes: Any) -> None:
    """Write over the volume of a row, with other HU or another layout."""
    volume = replace(made.volume_of(row), **changes)
    shutil.rmtree(made.lake / row["image_uri"])
    write_volume(Lake(made.lake).storage, row["image_uri"], volume)


def rows_of(folder: Path) -> list[dict[str, Any]]:
    """Return the rows of a lake or case store."""
    rows: list[dict[str, Any]] = read_manifest(manifest_of(folder)).to_pylist()
    return rows


def child_names(folder: Path, case_id: str) -> list[str]:
    """Return the names of the files of a case's synthetic volumes."""
    rows = (row for row in rows_of(folder) if row["case_id"] == case_id and row["work_id"])
    return [f"{case_id}_{row['work_id']}" for row in rows]


def export_in_process(patch: Any) -> list[str]:
    """Make `export` write in this process; return the names of volumes as they are begun."""
    from jobs.export import job

    begun: list[str] = []

    def run_tasks(function: Any, calls: Any, *, window: int) -> Iterator[tuple[Any, Any]]:
        for call in calls:
            begun.append(call[0].name)
            yield call, function(*call)

    patch.setattr(job, "connect", connect_alone)
    patch.setattr(job, "run_tasks", run_tasks)
    patch.setattr(job, "_window", lambda todo, cluster: 1)
    return begun


def exported(made: Made, out: Path, **options: Any) -> ExportResult:
    """Export a lake as NIfTI files."""
    return export(str(made.lake), out, "nifti", **options)


def files_of(out: Path) -> dict[str, str]:
    """Return the digest of each file of an export, but for its own records."""
    return {
        path.relative_to(out).as_posix(): sha256_of_file(path)
        for path in sorted(out.rglob("*"))
        if path.is_file() and ".export" not in path.parts
    }


def synthetic(made: Made, number: int = 0) -> dict[str, Any]:
    """Return one of the synthetic rows."""
    return [row for row in made.rows if row["kind"] == "synthetic"][number]


def name_of(row: dict[str, Any]) -> str:
    """Return what the files of a synthetic volume are called."""
    return f"{row['case_id']}_{row['work_id']}"


def _drawn(lake: Lake, row: dict[str, Any], donor: Volume, index: int) -> dict[str, Any]:
    work_id = sha(f"draw {index}")[:32]
    noise = np.random.default_rng(index).integers(-950, -650, donor.ct.shape)
    ct = np.where(donor.layout == BACKGROUND, donor.ct, noise).astype(np.int16)
    uri = f"volumes/{work_id}.a.ome.zarr"
    write_volume(lake.storage, uri, Volume(ct=ct, layout=donor.layout, affine=donor.affine))
    kept = {key: value for key, value in row.items() if not key.startswith("source_")}
    return kept | {
        "kind": "synthetic",
        "work_id": work_id,
        "image_uri": uri,
        "layout_uri": f"{uri}/labels/layout",
        "image_sha256": sha256_of_voxels(ct),
        "reference_sha256": row["image_sha256"],
        "plan_index": index,
        "seed_index": 0,
        "seed": index,
        "model_digest": sha("model")[:32],
        "sampler": "aas",
        "steps": 20,
        "hu_window": [-1024.0, 600.0],
        "qc_verdict": "accept",
        "notes": [],
    }
