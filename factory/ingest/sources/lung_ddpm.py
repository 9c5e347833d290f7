"""CT/ID.nii.gz with SEG/ID.nii.gz of labels 0, 1 and 2: the layout of Lung-DDPM."""

from pathlib import Path

from factory.ingest.sources.files import Files
from factory.ingest.sources.image_names import stem_of


def take(files: list[Path], found: Files) -> list[Path]:
    """Add what is in this layout to what was found; return the other files."""
    rest = []
    for file in files:
        if file.parent.name == "CT" and file.parent.with_name("SEG").is_dir():
            found.cts[stem_of(file)].append(file)
        elif file.parent.name == "SEG":
            found.segs[stem_of(file)].append(file)
        else:
            rest.append(file)
    return rest
