"""subset*/SERIESUID.mhd with seg-lungs-LUNA16/SERIESUID.mhd: the layout of the LUNA16 challenge.

Its nodules are rows of a table, `annotations.csv`.
"""

import re
from pathlib import Path

from factory.ingest.sources.files import Files
from factory.ingest.sources.image_names import META_IMAGE, stem_of
from factory.layouts import LUNG

_UID = re.compile(r"[0-9]+(\.[0-9]+){4,}")
_LUNG_FOLDER = "seg-lungs"
_LUNG_LABELS = ((3, LUNG), (4, LUNG))
"""Left and right lung; label 5 is the trachea."""


def take(files: list[Path], found: Files) -> list[Path]:
    """Add what is in this layout to what was found; return the other files."""
    rest = []
    for file in files:
        name = stem_of(file)
        if not (META_IMAGE.search(file.name) and _UID.fullmatch(name)):
            rest.append(file)
        elif file.parent.name.lower().startswith(_LUNG_FOLDER):
            found.segs[name].append(file)
            found.roles[name] = _LUNG_LABELS
        else:
            found.cts[name].append(file)
    return rest
