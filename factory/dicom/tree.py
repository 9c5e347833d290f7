"""The files of a folder tree, each once, and what lies there that nobody can read."""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from factory.errors import FactoryError
from factory.refused import found_of

_KINDS = {
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a folder",
}
_NO_TEXT = "a name with line breaks, or that is not text; expected one that can be written down"


@dataclass(frozen=True, kw_only=True, slots=True)
class Unread:
    """What lies in a tree and is not read."""

    path: Path
    reason: str
    """Without a path."""
    is_special: bool = False
    """Whether it is sound, and nothing to read: a pipe, a socket or a device."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Tree:
    """What a folder holds at any depth, without what is hidden."""

    files: tuple[Path, ...]
    """Regular files, folder by folder, by name."""
    unread: tuple[Unread, ...]


def read_tree(source: Path) -> Tree:
    """List the files below a folder; links are followed, and lead to each folder once.

    Raises:
        FactoryError: The folder cannot be read.
    """
    unread: list[Unread] = []
    files = [path for path in _paths(source, unread) if _is_readable(path, unread)]
    return Tree(files=tuple(files), unread=tuple(unread))


def why_no_file(path: str | Path) -> str:
    """Return why a path cannot be read to its end as a file can; empty for a regular file.

    Raises:
        OSError: There is nothing, or it cannot be looked at.
    """
    mode = os.stat(path).st_mode
    if stat.S_ISREG(mode):
        return ""
    kind = _KINDS.get(stat.S_IFMT(mode), "something else")
    return f"is {kind} and no regular file; expected one that can be read to its end"


def cannot_open(error: OSError) -> str:
    """Return the reason of a file or folder that cannot be opened."""
    return f"cannot be opened ({type(error).__name__}); expected a file or folder that can be read"


def _is_readable(path: Path, unread: list[Unread]) -> bool:
    if not str(path).isprintable():
        unread.append(Unread(path=path, reason=_NO_TEXT))
        return False
    try:
        reason = why_no_file(path)
    except OSError as error:
        unread.append(Unread(path=path, reason=cannot_open(error)))
        return False
    if reason:
        unread.append(Unread(path=path, reason=reason, is_special=True))
    return not reason


def _paths(source: Path, unread: list[Unread]) -> Iterator[Path]:
    def note(error: OSError) -> None:
        if Path(error.filename) == source:
            raise FactoryError(
                f"source {source}: found {found_of(error)}; expected a folder that can be read. Check "
                "the path and its permissions."
            ) from error
        unread.append(Unread(path=Path(error.filename), reason=cannot_open(error)))

    visited = set()
    for folder, folders, names in os.walk(source, onerror=note, followlinks=True):
        # A link can lead back up, and would show every file again.
        place = os.path.realpath(folder)
        if place in visited:
            folders[:] = []
            continue
        visited.add(place)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if not name.startswith("."):
                yield Path(folder, name)
