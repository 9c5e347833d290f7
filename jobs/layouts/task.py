"""The layouts of one case, as a Ray task makes them.

case --map_lungs--> lungs --make_layout, each with its seed--> NIfTI, row    --> preview, commit
                                  no room, or a bad case --> quarantine
"""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from factory.axes import spacing_zyx
from factory.digests import sha256_of_file, sha256_of_voxels
from factory.errors import CaseError, StoreError
from factory.ingest.nifti import read_labels
from factory.lake import Lake
from factory.nodules.bank import NoduleBank, embedded_bank, load_bank
from factory.nodules.diameters import Diameters
from factory.nodules.layout_file import write_nifti
from factory.nodules.lobes import read_lobes
from factory.nodules.lung_map import LungMap, map_lungs
from factory.nodules.measure import measure_nodules
from factory.nodules.new_layout import NewLayout, make_layout
from factory.nodules.place import NoRoomError
from factory.nodules.preview import draw_preview
from factory.nodules.rules import LayoutsConfig
from factory.storage import Storage
from factory.volumes import Volume, read_volume
from jobs.cases import digest_of
from jobs.layouts.edits import broken_edits, is_edited
from jobs.layouts.table import CT_FILE, PREVIEWS, RESERVED, layout_id
from jobs.quarantine import as_case_error, give_up

STAGE = "layouts"

Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class LayoutsTask:
    """What all cases of a run share; small and plain, for Ray carries it."""

    cases_url: str
    out: str
    nodules: str
    """Bank file; empty takes the embedded bank."""
    bank_digest: str
    diameters: Diameters
    config: LayoutsConfig
    seed: int
    per_case: int
    lobes: str
    """Folder of lobe masks; empty takes thirds of the lungs."""
    run_id: str


def layout_seed(run_seed: int, case_id: str, index: int) -> int:
    """Return the 63-bit seed of a case's layout."""
    parts = "\0".join(("layouts", str(run_seed), case_id, str(index)))
    return int(hashlib.sha256(parts.encode()).hexdigest()[:16], 16) >> 1


def lay_out_case(donor: Row, task: LayoutsTask) -> list[str]:
    """Make the layouts of a case that are missing; return what was given up, and why."""
    lake, case_id = Lake(task.out), donor["case_id"]
    try:
        problems = _lay_out(donor, task, lake)
    except Exception as error:
        problem = as_case_error(case_id, error)
        give_up(lake, case_id, case_id, STAGE, problem, run_id=task.run_id)
        return [str(problem)]
    lake.release([case_id])
    return problems


def committed_rows(lake: Lake, case_id: str) -> list[Row]:
    """Return the rows of a case's layouts, in the order of their indices; none where it is not done."""
    try:
        record = lake.storage.read_json(f"commits/{case_id}.json")
        return sorted(record["rows"], key=lambda row: int(row["layout_index"]))
    except FileNotFoundError:
        return []
    except (ValueError, KeyError, TypeError) as error:
        raise StoreError(
            f"{lake.storage.child(f'commits/{case_id}.json')}: found {error!r}; expected the rows of the "
            "case's layouts. Remove the file and run the command again."
        ) from error


def _lay_out(donor: Row, task: LayoutsTask, lake: Lake) -> list[str]:
    case_id, folder = donor["case_id"], Path(task.out)
    kept = _kept(donor, lake, folder)
    todo = [index for index in range(task.per_case) if index not in kept]
    preview = folder / PREVIEWS / f"{case_id}.png"
    is_drawn = preview.exists() and (folder / case_id / CT_FILE).exists()
    gone = [row for row in committed_rows(lake, case_id) if row["layout_index"] not in kept]
    if not todo and is_drawn and not gone:
        return _tell_edits(donor, list(kept.values()), task, lake)
    lake.release(_item(case_id, row["layout_index"]) for row in gone)
    volume = _read_case(donor, task)
    lungs = _map(donor, volume, task)
    drawn = {index: _draw(donor, volume, lungs, task, index) for index in range(task.per_case)}
    made = {index: result for index, result in drawn.items() if isinstance(result, NewLayout)}
    write_nifti(folder / case_id / CT_FILE, volume.ct, volume.affine)
    rows = kept | {
        index: _write(donor, volume, made[index], task, index) for index in todo if index in made
    }
    if made:
        _write_preview(preview, volume, made)
    lake.storage.write_json(f"commits/{case_id}.json", {"rows": list(rows.values())})
    told = _told(lake, donor, task, drawn)
    return told + _tell_edits(donor, list(rows.values()), task, lake, volume)


def _tell_edits(
    donor: Row, rows: Sequence[Row], task: LayoutsTask, lake: Lake, volume: Volume | None = None
) -> list[str]:
    """Record the edited layouts that nothing can be drawn after; return what is said of them."""
    case_id, folder = donor["case_id"], Path(task.out)
    broken = broken_edits(
        case_id, rows, folder, lambda: _read_case(donor, task) if volume is None else volume
    )
    for row in rows:
        item = _item(case_id, row["layout_index"])
        if problem := broken.get(row["layout_index"]):
            give_up(lake, item, case_id, STAGE, problem, run_id=task.run_id, file=row["file"])
        else:
            lake.release([item])
    return list(map(str, broken.values()))


def _kept(donor: Row, lake: Lake, folder: Path) -> dict[int, Row]:
    """Return the rows that hold, by index: their files are there, as they were made or edited.

    Raises:
        CaseError: The case has changed, and a layout of its earlier voxels was edited.
    """
    case_id = donor["case_id"]
    if case_id in RESERVED or case_id.startswith(".") or Path(case_id).name != case_id:
        raise CaseError(
            case_id,
            "its name cannot be that of its folder; expected a plain name, and none of "
            f"{', '.join(sorted(RESERVED))}. Rename the case.",
        )
    rows = committed_rows(lake, case_id)
    if all(row["case_digest"] == digest_of(donor) for row in rows):
        return {row["layout_index"]: row for row in rows if (folder / row["file"]).exists()}
    if edited := [row["file"] for row in rows if is_edited(folder, row)]:
        raise CaseError(
            case_id,
            f"it has changed since its layouts were made, and {edited[0]} was edited; expected the "
            "same case. Move the edited file away, or use another --out.",
        )
    for row in rows:
        (folder / row["file"]).unlink(missing_ok=True)
    return {}


def _read_case(donor: Row, task: LayoutsTask) -> Volume:
    volume = read_volume(Storage(task.cases_url), donor["image_uri"])
    found = sha256_of_voxels(volume.ct), sha256_of_voxels(volume.layout)
    if found != (donor["image_sha256"], donor["layout_sha256"]):
        raise CaseError(
            donor["case_id"],
            f"{donor['image_uri']} has other voxels than its manifest says; expected image sha256 "
            f"{donor['image_sha256']}. Ingest the case again.",
        )
    return volume


def _map(donor: Row, volume: Volume, task: LayoutsTask) -> LungMap:
    lobes: NDArray[np.uint8] | None = None
    if task.lobes:
        shape = volume.layout.shape
        lobes = read_lobes(Path(task.lobes), donor["case_id"], shape, volume.affine)
    spacing_mm = spacing_zyx(volume.affine)
    return map_lungs(volume.ct, volume.layout, spacing_mm, task.config, lobes=lobes)


def _draw(
    donor: Row, volume: Volume, lungs: LungMap, task: LayoutsTask, index: int
) -> NewLayout | NoRoomError:
    try:
        return make_layout(
            lungs,
            volume.affine,
            _bank(task.nodules, task.bank_digest),
            task.diameters,
            seed=layout_seed(task.seed, donor["case_id"], index),
            config=task.config,
        )
    except NoRoomError as error:
        return error
    except ValueError as error:
        raise CaseError(donor["case_id"], f"{error}.") from error


@lru_cache(maxsize=1)
def _bank(nodules: str, digest: str) -> NoduleBank:
    bank = load_bank(nodules) if nodules else embedded_bank()
    if bank.digest != digest:
        raise StoreError(
            f"nodules {nodules or '(embedded)'}: found a bank of digest {bank.digest[:12]}; expected the "
            f"run's, {digest[:12]}. Put the same file on every node."
        )
    return bank


def _write(donor: Row, volume: Volume, made: NewLayout, task: LayoutsTask, index: int) -> Row:
    case_id, sha256 = donor["case_id"], sha256_of_voxels(made.layout)
    name = layout_id(index, sha256)
    file = f"{case_id}/{name}.nii.gz"
    return {
        "case_id": case_id,
        "patient_id": donor["patient_id"],
        "layout_id": name,
        "layout_index": index,
        "seed": layout_seed(task.seed, case_id, index),
        "origin": "rule",
        "file": file,
        "file_sha256": _write_file(case_id, Path(task.out) / file, made, volume),
        "layout_sha256": sha256,
        "case_digest": digest_of(donor),
        "shape": donor["shape"],
        "spacing_mm": donor["spacing_mm"],
        "affine": donor["affine"],
        "zones": "lobes" if task.lobes else "thirds",
        "nodules": [nodule.as_row() for nodule in measure_nodules(made.layout, volume.affine)],
        "placements": [nodule.as_row() for nodule in made.placed],
        "missing": [asdict(wish) for wish in made.missing],
    }


def _write_file(case_id: str, path: Path, made: NewLayout, volume: Volume) -> str:
    """Write a layout, unless its file is there; return the SHA-256 of the file as it was made.

    One that is there without a row may have been edited: then it stays, and the answer is empty.
    """
    if not path.exists():
        write_nifti(path, made.layout, volume.affine)
        return sha256_of_file(path)
    try:
        found, _ = read_labels(case_id, str(path), None)
    except CaseError:
        return ""
    return sha256_of_file(path) if np.array_equal(found, made.layout) else ""


def _write_preview(path: Path, volume: Volume, made: dict[int, NewLayout]) -> None:
    named = [(f"rule-{index:02d}", layout) for index, layout in sorted(made.items())]
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}")
    aside.write_bytes(draw_preview(volume.ct, spacing_zyx(volume.affine), named))
    aside.replace(path)


def _item(case_id: str, index: int) -> str:
    """Return the name of a layout in the quarantine."""
    return f"{case_id}.{index:02d}"


def _told(
    lake: Lake, donor: Row, task: LayoutsTask, drawn: dict[int, NewLayout | NoRoomError]
) -> list[str]:
    """Record the layouts that had no room, and return what is said of them."""
    case_id, problems = donor["case_id"], []
    for index, result in drawn.items():
        item = _item(case_id, index)
        if isinstance(result, NewLayout):
            lake.release([item])
            continue
        problem = CaseError(case_id, f"layout {index:02d}: {result}.")
        give_up(lake, item, case_id, STAGE, problem, run_id=task.run_id)
        problems.append(str(problem))
    return problems
