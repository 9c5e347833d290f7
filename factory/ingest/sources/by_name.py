"""NAME_ct.nii.gz, NAME_lung*.nii.gz, NAME_nodule*.nii.gz, NAME_tumor*.nii.gz, in any folder."""

import re
from pathlib import Path

from factory.ingest.masks.roles import role_of
from factory.ingest.sources.files import Files
from factory.ingest.sources.image_names import stem_of
from factory.layouts import LUNG, NODULE

CT = "_ct"
_MASK = re.compile(r"_(lung|nodule|tumor)")


def take(files: list[Path], found: Files) -> list[Path]:
    """Add what is in this layout to what was found; return the other files."""
    others = []
    for file in files:
        stem = stem_of(file)
        if stem.endswith(CT):
            found.cts[stem.removesuffix(CT)].append(file)
        else:
            others.append(file)
    return [file for file in others if not _take_mask(file, found)]


def _take_mask(file: Path, found: Files) -> bool:
    """Give a mask to the longest CT name that it starts with: `a_lung_1_lung` is of `a_lung_1`."""
    stem = stem_of(file)
    starts = [mark.start() for mark in _MASK.finditer(stem)]
    known = [start for start in starts if stem[:start] in found.cts]
    if not starts:
        return False
    # Of a known CT all that follows says what the mask is: `_lung_nodules` are nodules.
    start = known[-1] if known else starts[-1]
    masks = {LUNG: found.lungs, NODULE: found.nodules}.get(role_of(stem[start:]))
    if masks is None:
        return False
    masks[stem[:start]].append(file)
    return True
