"""Files of a local disk: those that appear whole or not at all, and folders of many. Contents are flushed to it."""

import errno
import os
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from factory.errors import StoreError

UNFINISHED = ".unfinished"
"""Ending of what is being written: no file yet."""

_SECONDS_OF_A_WRITE = 86_400.0
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)


def replace_file(path: str, data: bytes) -> None:
    """Write a file, or another content in its place."""
    os.replace(_write_aside(path, data), path)


def create_file(path: str, data: bytes) -> bool:
    """Write a file unless there is one; return whether this call made it.

    Raises:
        StoreError: The file system has no hard links.
    """
    aside = _write_aside(path, data)
    try:
        return _link(aside, path)
    finally:
        os.unlink(aside)


def sweep_folder(folder: str) -> None:
    """Remove what writers that were killed left in a folder, once it is a day old."""
    for debris in Path(folder).glob(f"*{UNFINISHED}"):
        # Another process may be writing it, or sweep it too.
        with suppress(OSError):
            if time.time() - debris.stat().st_mtime > _SECONDS_OF_A_WRITE:
                debris.unlink()


def write_files(root: str, files: Mapping[str, bytes]) -> None:
    """Write files by their paths below a folder: not atomic, for a killed process leaves half of them."""
    folders = {root}
    for name, data in files.items():
        path = os.path.join(root, name)
        folder = os.path.dirname(path)
        while folder not in folders:
            folders.add(folder)
            folder = os.path.dirname(folder)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    for folder in (*folders, os.path.dirname(root)):
        _fsync(folder)


def read_files(root: str, names: Iterable[str]) -> Iterator[tuple[str, bytes]]:
    """Yield the name and the content of those files below a folder that are there."""
    for name in names:
        # A folder in a file's place is no file either.
        with suppress(FileNotFoundError, NotADirectoryError, IsADirectoryError):
            yield name, Path(root, name).read_bytes()


def _write_aside(path: str, data: bytes) -> str:
    folder = os.path.dirname(path)
    os.makedirs(folder, exist_ok=True)
    # Not the record's own name and more: that may be as long as a name can be.
    aside = os.path.join(folder, f"{uuid.uuid4().hex}{UNFINISHED}")
    try:
        with open(aside, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        with suppress(OSError):
            os.unlink(aside)
        raise
    return aside


def _link(aside: str, path: str) -> bool:
    try:
        # A hard link fails where the name exists, and the file is whole when it appears.
        os.link(aside, path)
    except FileExistsError:
        # NFS asks again where an answer was lost, and is told of the link that it made itself.
        with suppress(FileNotFoundError):
            return os.path.samefile(aside, path)
        return False
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        raise StoreError(
            f"{path}: found a file system without hard links ({error.strerror}); expected one that "
            "has them. Use a local disk, NFS, or a bucket by its URL instead of its mount."
        ) from error
    return True


def _fsync(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
