"""The only place that touches files: small records and Zarr roots under one URL.

Local paths and any fsspec URL behave alike: a record appears whole or not at all,
and `create_json` is create-if-absent, so that of two writers exactly one wins.
"""

import errno
import json
import os
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem
from zarr.abc.store import Store
from zarr.storage import FsspecStore, LocalStore

from factory.errors import StoreError


class Storage:
    """A folder, local or remote.

    Args:
        url: A local path or an fsspec URL (`s3://bucket/lake`, `memory://lake`).
    """

    def __init__(self, url: str | Path) -> None:
        # A local path is taken as it is: "a::b" is a chain of URLs to fsspec, and a folder to people.
        is_url = "://" in str(url)
        self._fs, path = url_to_fs(str(url)) if is_url else (LocalFileSystem(), str(url))
        path = path if is_url else os.path.abspath(path)
        self._root = path.rstrip("/")
        self.is_local = isinstance(self._fs, LocalFileSystem)

    @property
    def url(self) -> str:
        """Absolute path of a local folder, or the full URL of a remote one."""
        return self._root if self.is_local else str(self._fs.unstrip_protocol(self._root))

    def child(self, relative: str) -> str:
        """Return the path or URL of something in this folder."""
        return f"{self.url}/{relative}"

    def exists(self, relative: str) -> bool:
        """Tell whether a record or folder is there."""
        return bool(self._fs.exists(self._path(relative)))

    def names(self, folder: str) -> list[str]:
        """Return the sorted names in a folder; an absent folder is empty."""
        try:
            found = self._fs.ls(self._path(folder), detail=False, refresh=True)
        except FileNotFoundError:
            return []
        names = (str(entry).rstrip("/").rsplit("/", 1)[-1] for entry in found)
        return sorted(name for name in names if not name.endswith(_UNFINISHED))

    def read_json(self, relative: str) -> Any:
        """Return the content of a JSON record.

        Raises:
            FileNotFoundError: There is no such record.
        """
        return json.loads(self._fs.cat_file(self._path(relative)))

    def write_json(self, relative: str, content: Mapping[str, Any]) -> None:
        """Write or replace a JSON record, atomically."""
        path, data = self._path(relative), _encode(content)
        if not self.is_local:
            self._fs.pipe_file(path, data)
            return
        os.replace(_write_aside(path, data), path)

    def create_json(self, relative: str, content: Mapping[str, Any]) -> bool:
        """Write a JSON record unless there is one; return whether this call made it.

        Raises:
            StoreError: The file system of a local folder has no hard links.
        """
        path, data = self._path(relative), _encode(content)
        if not self.is_local:
            try:
                self._fs.pipe_file(path, data, mode="create")
            except FileExistsError:
                return False
            return True
        aside = _write_aside(path, data)
        try:
            return _link(aside, path)
        finally:
            os.unlink(aside)

    def remove(self, relative: str) -> None:
        """Remove a record or a whole folder; what is not there is no error."""
        try:
            self._fs.rm(self._path(relative), recursive=True)
        except FileNotFoundError:
            return

    def make_folder(self, relative: str = "") -> None:
        """Make a folder and its parents."""
        self._fs.makedirs(self._path(relative), exist_ok=True)

    def flush(self, relative: str) -> None:
        """Bring a folder's files to the disk, before a record vouches for them."""
        if self.is_local:
            for folder, _, names in os.walk(self._path(relative)):
                for path in (*(os.path.join(folder, name) for name in names), folder):
                    _fsync(path)

    def zarr_store(self, relative: str, *, read_only: bool = False) -> Store:
        """Return the Zarr store of a group in this folder."""
        if self.is_local:
            return LocalStore(self._path(relative), read_only=read_only)
        return FsspecStore.from_url(self.child(relative), read_only=read_only)

    def _path(self, relative: str) -> str:
        return f"{self._root}/{relative}" if relative else self._root


_UNFINISHED = ".unfinished"
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)


def _write_aside(path: str, data: bytes) -> str:
    folder = os.path.dirname(path)
    os.makedirs(folder, exist_ok=True)
    # Not the record's own name and more: that may be as long as a name can be.
    aside = os.path.join(folder, f"{uuid.uuid4().hex}{_UNFINISHED}")
    with open(aside, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    return aside


def _link(aside: str, path: str) -> bool:
    try:
        # A hard link fails where the name exists, and the file is whole when it appears.
        os.link(aside, path)
    except FileExistsError:
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


def _encode(content: Mapping[str, Any]) -> bytes:
    return json.dumps(content, indent=1, sort_keys=True).encode()
