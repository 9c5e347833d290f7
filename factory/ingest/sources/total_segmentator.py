"""Folders of TotalSegmentator: five lobes united are the lungs, `lung_nodules` the nodules.

ID/ct.nii.gz       ID/segmentations/lung_upper_lobe_left.nii.gz ...     as its dataset has it
NAME_ct.nii.gz     NAME_segmentations/ or NAME_total/                   as its program writes it
"""

import re
from collections import defaultdict
from pathlib import Path

from factory.ingest.sources.files import Files
from factory.ingest.sources.image_names import stem_of

LOBES = (
    "lung_upper_lobe_left",
    "lung_lower_lobe_left",
    "lung_upper_lobe_right",
    "lung_middle_lobe_right",
    "lung_lower_lobe_right",
)
NODULES = "lung_nodules"
FOLDER = "segmentations"
NAMED_FOLDER = re.compile(r"(?P<name>.+)_(segmentations|total)")


def take(files: list[Path], found: Files) -> list[Path]:
    """Add what is in this layout to what was found; return the other files.

    Organs are taken without a word: there are more than a hundred of them in a folder.
    """
    folders: dict[Path, list[Path]] = defaultdict(list)
    for file in files:
        folders[file.parent].append(file)
    taken: set[Path] = set()
    for folder, inside in folders.items():
        if not has_lungs(inside):
            continue
        name = _name_of(folder)
        if not name:
            continue
        taken.update(inside)
        lungs, nodules, notes = split(inside)
        found.lungs[name] += lungs
        found.nodules[name] += nodules
        found.notes[name] += notes
        if folder.name == FOLDER:
            for ct in (file for file in folders.get(folder.parent, ()) if stem_of(file) == "ct"):
                found.cts[name].append(ct)
                taken.add(ct)
    return [file for file in files if file not in taken]


def has_lungs(files: list[Path]) -> bool:
    """Tell whether a folder's files are TotalSegmentator's, with lungs or nodules among them."""
    return not {stem_of(file) for file in files}.isdisjoint({*LOBES, NODULES})


def split(files: list[Path]) -> tuple[list[Path], list[Path], list[str]]:
    """Return the lobes, the nodules and the notes of one folder's files."""
    lobes = [file for file in files if stem_of(file) in LOBES]
    nodules = [file for file in files if stem_of(file) == NODULES]
    missing = [lobe for lobe in LOBES if lobe not in {stem_of(file) for file in lobes}]
    notes = []
    if lobes and missing:
        notes.append(
            f"lungs of {len(LOBES) - len(missing)} of TotalSegmentator's {len(LOBES)} lobes: "
            f"without {', '.join(missing)}"
        )
    return lobes, nodules, notes


def _name_of(folder: Path) -> str:
    """Return the case that a folder of segmentations belongs to, or nothing."""
    if folder.name == FOLDER:
        return folder.absolute().parent.name
    named = NAMED_FOLDER.fullmatch(folder.name)
    return named["name"] if named else ""
