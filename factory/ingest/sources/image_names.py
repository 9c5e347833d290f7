"""The image files of a folder, by their names."""

import re
from pathlib import Path

NIFTI = re.compile(r"\.nii(\.gz)?$")
META_IMAGE = re.compile(r"\.mh[ad]$")
_IMAGE = re.compile(rf"{NIFTI.pattern}|{META_IMAGE.pattern}")


def is_image(path: Path) -> bool:
    """Tell whether a file is NIfTI or MetaImage by its name."""
    return bool(_IMAGE.search(path.name))


def stem_of(path: Path) -> str:
    """Return the name of an image file without what its format adds to it."""
    return _IMAGE.sub("", path.name)
