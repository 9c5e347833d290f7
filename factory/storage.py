"""The only place that touches files: small records and folders of volumes under one URL.

Local paths and any fsspec URL behave alike: a record appears whole or not at all,
and `create_json` is create-if-absent, so that of two writers exactly one wins.

Credentials of a bucket come from the environment alone: a URL that holds some is refused.
"""

import json
import os
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

from factory.conditional_put import put_if_absent
from factory.errors import StoreError, UsageError
from factory.listing import entries_of
from factory.local_files import (
    UNFINISHED,
    create_file,
    read_files,
    replace_file,
    sweep_folder,
    write_files,
)
from factory.reaching import reaching
from factory.urls import check_url


class Storage:
    """A folder, local or remote.

    Args:
        url: A local path or an fsspec URL (`s3://bucket/lake`, `memory://lake`).

    Raises:
        UsageError: The URL holds credentials or a query, or nothing here opens it.
    """

    def __init__(self, url: str | Path) -> None:
        # A local path is taken as it is: "a::b" is a chain of URLs to fsspec, and a folder to people.
        is_url = "://" in str(url)
        self._fs, path = _open(str(url)) if is_url else (LocalFileSystem(), str(url))
        path = path if is_url else os.path.abspath(path)
        self._root = path.rstrip("/")
        self.is_local = isinstance(self._fs, LocalFileSystem)
        self._has_folders = not _OBJECT_STORES.intersection(_protocols(self._fs))

    @property
    def url(self) -> str:
        """Absolute path of a local folder, or the full URL of a remote one."""
        return self._root if self.is_local else str(self._fs.unstrip_protocol(self._root))

    def child(self, relative: str) -> str:
        """Return the path or URL of something in this folder."""
        return f"{self.url}/{relative}"

    def exists(self, relative: str) -> bool:
        """Tell whether a record or folder is there."""
        path = self._path(relative)
        with self._reaching(path):
            return bool(self._fs.exists(path))

    def names(self, folder: str) -> list[str]:
        """Return the sorted names in a folder, from one listing; an absent folder is empty."""
        path = self._path(folder)
        try:
            with self._reaching(path):
                found = self._listed(path)
        except FileNotFoundError:
            return []
        entries = (entry.rstrip("/") for entry in found)
        # The console of a bucket marks a folder with an empty object of its name.
        names = (entry.rsplit("/", 1)[-1] for entry in entries if entry != path)
        return sorted(name for name in names if not name.endswith(UNFINISHED))

    def read_json(self, relative: str) -> Any:
        """Return the content of a JSON record.

        Raises:
            FileNotFoundError: There is no such record.
        """
        path = self._path(relative)
        with self._reaching(path):
            return json.loads(self._fs.cat_file(path))

    def write_json(self, relative: str, content: Mapping[str, Any]) -> None:
        """Write or replace a JSON record, atomically."""
        path, data = self._path(relative), _encode(content)
        if self.is_local:
            replace_file(path, data)
            return
        self._make_parent(path)
        with self._writing(path):
            self._fs.pipe_file(path, data)

    def create_json(self, relative: str, content: Mapping[str, Any]) -> bool:
        """Write a JSON record unless there is one; return whether this call made it.

        On S3 it is a conditional put; elsewhere it is as exclusive as fsspec's own mode is there.

        Raises:
            StoreError: The file system of a local folder has no hard links, or a server of S3 has
                no conditional put.
            PassingError: A server is out of reach, or others keep it from deciding.
        """
        path, data = self._path(relative), _encode(content)
        if not self.is_local:
            self._make_parent(path)
            with self._writing(path):
                return self._create_remote(path, data)
        return create_file(path, data)

    def remove(self, relative: str) -> None:
        """Remove a record or a whole folder; what is not there is no error."""
        path = self._path(relative)
        try:
            with self._reaching(path):
                self._fs.rm(path, recursive=True)
        except FileNotFoundError:
            return

    def sweep(self, folder: str) -> None:
        """Remove what writers that were killed left in a local folder, once it is a day old."""
        if self.is_local:
            sweep_folder(self._path(folder))

    def make_folder(self, relative: str = "") -> None:
        """Make a folder and its parents; a bucket has none, and is not made."""
        if self._has_folders:
            self._fs.makedirs(self._path(relative), exist_ok=True)

    def fetch(self, relative: str, target: Path) -> None:
        """Copy one file to this machine.

        Raises:
            FileNotFoundError: There is none.
        """
        path = self._path(relative)
        with self._reaching(path):
            self._fs.get_file(path, str(target))

    def write_tree(self, relative: str, files: Mapping[str, bytes]) -> None:
        """Write a new folder of files; on a local disk they lie when this returns.

        Not atomic: half a folder is left where a process is killed. A record is to vouch for it.

        Args:
            relative: The folder, which nothing else may write to.
            files: Content by path within the folder.

        Raises:
            StoreError: The folder is there, or its bucket is not.
        """
        root = self._path(relative)
        if self.exists(relative):
            raise StoreError(
                f"{self.child(relative)}: found a folder of this name; expected none, for nothing is "
                "written over. Remove it, or choose another name."
            )
        if self.is_local:
            write_files(root, files)
            return
        self._make_parent(root)
        with self._writing(root):
            self._fs.pipe({f"{root}/{name}": data for name, data in files.items()})

    def read_tree(self, relative: str, names: Iterable[str]) -> dict[str, bytes]:
        """Read files of a folder; those that are not there are left out."""
        root = self._path(relative)
        if self.is_local:
            return dict(read_files(root, names))
        paths = {f"{root}/{name}": name for name in names}
        with self._reaching(root):
            found = self._fs.cat(list(paths), on_error="return")
            for content in found.values():
                if isinstance(content, Exception) and not isinstance(content, FileNotFoundError):
                    raise content
        return {
            paths[path]: content for path, content in found.items() if isinstance(content, bytes)
        }

    def _create_remote(self, path: str, data: bytes) -> bool:
        if "s3" in _protocols(self._fs):
            return put_if_absent(self._fs, path, data)
        signed = data + _signature()
        try:
            self._fs.pipe_file(path, signed, mode="create")
        except FileExistsError:
            # This call's own, maybe, whose answer was lost on the way: a client asks again.
            with suppress(FileNotFoundError):
                return bool(self._fs.cat_file(path) == signed)
            return False
        return True

    def _listed(self, path: str) -> list[str]:
        if "s3" in _protocols(self._fs):
            return list(entries_of(self._fs, path))
        return [str(entry) for entry in self._fs.ls(path, detail=False, refresh=True)]

    def _make_parent(self, path: str) -> None:
        if self._has_folders:
            self._fs.makedirs(path.rsplit("/", 1)[0], exist_ok=True)

    @contextmanager
    def _writing(self, path: str) -> Iterator[None]:
        try:
            with self._reaching(path):
                yield
        except FileNotFoundError as error:
            raise StoreError(
                f"{self.url}: found no such bucket ({error}); expected one that is there. Make it, or "
                "correct the URL."
            ) from error

    def _reaching(self, path: str) -> AbstractContextManager[None]:
        return nullcontext() if self.is_local else reaching(self._fs.unstrip_protocol(path))

    def _path(self, relative: str) -> str:
        return f"{self._root}/{relative}" if relative else self._root


_AS_SPACE = str.maketrans("01", " \t")
# Listings are kept by file systems of fsspec, and other processes write here too.
_FRESH = {"use_listings_cache": False}
_OBJECT_STORES = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az"})


def _open(url: str) -> tuple[Any, str]:
    check_url(url)
    try:
        opened: tuple[Any, str] = url_to_fs(url, **_FRESH)
    except ImportError as error:
        raise UsageError(
            f"{url}: found no package that opens it ({error}); expected one. Install it: pip install "
            "'ct-factory[s3]' for s3://, gcsfs for gs://, adlfs for abfs://."
        ) from error
    except ValueError as error:
        raise UsageError(
            f"{url}: {error}; expected a path, or a URL as s3://BUCKET/FOLDER. Correct it."
        ) from error
    return opened


def _signature() -> bytes:
    """Return white space that only this call writes: JSON ends before it."""
    return b"\n" + f"{uuid.uuid4().int:0128b}".translate(_AS_SPACE).encode()


def _protocols(filesystem: Any) -> tuple[str, ...]:
    found = filesystem.protocol
    return (found,) if isinstance(found, str) else tuple(found)


def _encode(content: Mapping[str, Any]) -> bytes:
    return json.dumps(content, indent=1, sort_keys=True).encode()
