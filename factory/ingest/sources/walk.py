"""Find the image files of a folder, to any depth."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

from factory.errors import FactoryError

NIFTI = re.compile(r"\.nii(\.gz)?$")
META_IMAGE = re.compile(r"\.mh[ad]$")
_IMAGE = re.compile(rf"{NIFTI.pattern}|{META_IMAGE.pattern}")


def stem_of(path: Path) -> str:
    """Return the name of an image file without what its format adds to it."""
    return _IMAGE.sub("", path.name)


def image_files(source: Path, unreadable: list[str]) -> Iterator[Path]:
    """Yield NIfTI and MetaImage files, without those that are hidden.

    Args:
        source: Folder, searched to any depth.
        unreadable: Gets what cannot be searched or named, with the reason.

    Raises:
        FactoryError: The folder itself cannot be read.
    """

    def note(error: OSError) -> None:
        if Path(error.filename) == source:
            raise FactoryError(
                f"source {source}: found {error.strerror}; expected a folder that can be read. Check "
                "the path and its permissions."
            ) from error
        unreadable.append(f"{error.filename} ({error.strerror})")

    visited = set()
    for folder, folders, names in os.walk(source, onerror=note, followlinks=True):
        # A link can lead back up, and would show every scan again.
        place = os.path.realpath(folder)
        if place in visited:
            folders[:] = []
            continue
        visited.add(place)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in names:
            if not _IMAGE.search(name) or name.startswith("."):
                continue
            path = os.path.join(folder, name)
            if path.isprintable():
                yield Path(path)
            else:
                unreadable.append(f"{path!a} (a name that is not text)")
