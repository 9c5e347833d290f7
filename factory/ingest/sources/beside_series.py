"""NIfTI masks in or beside a folder of DICOM files.

F/lung*.nii.gz  F/*_nodule*.nii.gz  F_lung*.nii.gz  F/segmentations/  F_total/     for a folder F
lung*.nii.gz    nodule*.nii.gz      segmentations/                 beside F, if it has no sister
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path

from factory.ingest.masks.roles import role_of
from factory.ingest.sources import total_segmentator
from factory.ingest.sources.case import DrawnMasks
from factory.ingest.sources.image_names import stem_of
from factory.layouts import BACKGROUND, LUNG, NODULE

_KINDS = ("lung", "nodule", "tumor")
_MARK = re.compile(rf"(^|_)({'|'.join(_KINDS)})")


def take(
    files: list[Path], series_folders: Iterable[Path]
) -> tuple[dict[str, DrawnMasks], list[Path]]:
    """Return the masks of each folder of DICOM files, and the files that are not among them."""
    by_folder: dict[Path, list[Path]] = defaultdict(list)
    for file in files:
        by_folder[file.parent].append(file)
    folders = sorted(set(series_folders))
    num_inside = Counter(folder.parent for folder in folders)
    found, taken = {}, set[Path]()
    # Studies have series by the thousand, and most of them no file of another kind.
    for folder in folders if files else ():
        alone = num_inside[folder.parent] == 1
        masks, files_of = _masks_of(folder, by_folder, alone=alone)
        if files_of:
            found[str(folder)] = masks
            taken.update(files_of)
    return found, [file for file in files if file not in taken]


def _masks_of(
    folder: Path, by_folder: dict[Path, list[Path]], *, alone: bool
) -> tuple[DrawnMasks, list[Path]]:
    """Return the masks of one folder, and all files that belong to them."""
    beside = by_folder.get(folder.parent, [])
    if not alone:
        beside = [file for file in beside if file.name.startswith(f"{folder.name}_")]
    plain = {file: _role_within(stem_of(file)) for file in by_folder.get(folder, [])}
    plain |= {file: _role_after(f"{folder.name}_", stem_of(file)) for file in beside}
    if alone:
        plain |= {file: plain[file] or _role_after("", stem_of(file)) for file in beside}
    lung = [file for file, role in plain.items() if role == LUNG]
    nodule = [file for file, role in plain.items() if role == NODULE]
    taken, notes = [*lung, *nodule], list[str]()
    for organs in _organ_folders(folder, alone=alone):
        inside = by_folder.get(organs, [])
        if total_segmentator.has_lungs(inside):
            lobes, nodules, told = total_segmentator.split(inside)
            lung, nodule, notes = lung + lobes, nodule + nodules, notes + told
            taken += inside
    return DrawnMasks(lung=_names(lung), nodule=_names(nodule), notes=tuple(notes)), taken


def _role_after(prefix: str, stem: str) -> int:
    """Return what a mask is whose name is a prefix and a kind."""
    kind = stem.removeprefix(prefix)
    return role_of(kind) if stem.startswith(prefix) and kind.startswith(_KINDS) else BACKGROUND


def _role_within(stem: str) -> int:
    """Return what a mask is whose name is a kind, after whatever else."""
    mark = _MARK.search(stem)
    return role_of(stem[mark.start() :]) if mark else BACKGROUND


def _organ_folders(folder: Path, *, alone: bool) -> list[Path]:
    inner = [folder / total_segmentator.FOLDER]
    named = [folder.with_name(f"{folder.name}_{end}") for end in ("segmentations", "total")]
    return [*inner, *named, *([folder.parent / total_segmentator.FOLDER] if alone else [])]


def _names(files: list[Path]) -> tuple[str, ...]:
    return tuple(sorted(map(str, files)))
