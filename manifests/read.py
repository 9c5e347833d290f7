"""Reading a manifest, and finding the volumes that it names."""

import os
import posixpath
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from manifests.errors import ManifestError
from manifests.schema import MANIFEST_SCHEMA, SCHEMA_VERSION, schema_problems

VERSION_KEY = b"ct_factory.schema_version"
"""Key of the schema version in a file's metadata."""


@dataclass(frozen=True, slots=True)
class MixCounts:
    """How many volumes of each kind the training split holds."""

    num_real: int
    """Real volumes, R."""

    num_synthetic: int
    """Synthetic volumes, S."""

    @property
    def synthetic_fraction(self) -> float | None:
        """S/(R+S), the synthetic share of the mixed set; None where the split is empty."""
        total = self.num_real + self.num_synthetic
        return self.num_synthetic / total if total else None

    @property
    def synthetic_per_real(self) -> float | None:
        """S/R; None where there is nothing real."""
        return self.num_synthetic / self.num_real if self.num_real else None

    @classmethod
    def of(cls, table: pa.Table) -> Self:
        """Count the rows of `table` whose split is train, by their kind."""
        kind = table["kind"].filter(pc.equal(table["split"], "train"))
        real, synthetic = (pc.sum(pc.equal(kind, name)).as_py() for name in ("real", "synthetic"))
        return cls(num_real=real or 0, num_synthetic=synthetic or 0)


def read_manifest(path: str | os.PathLike[str]) -> pa.Table:
    """Read a manifest, one row per volume; its file metadata becomes the table's.

    Args:
        path: Parquet file: a path, or a URL that pyarrow opens (``s3://``, ``gs://``, ``file://``).

    Raises:
        ManifestError: The file is missing or torn, was not written by this package, or has
            another schema version or other columns.
    """
    return read_table(path, MANIFEST_SCHEMA)


def read_table(path: str | os.PathLike[str], schema: pa.Schema) -> pa.Table:
    """Read a table that `write_table` wrote, as `read_manifest` does, and check its `schema`.

    Raises:
        ManifestError: As in `read_manifest`.
    """
    table = _load(path)
    found = (table.schema.metadata or {}).get(VERSION_KEY, b"none").decode()
    if found != str(SCHEMA_VERSION):
        raise ManifestError(
            f"{os.fspath(path)}: schema version is {found}, expected {SCHEMA_VERSION}. "
            "Write it again with this version of the package, or read it with the one that wrote it."
        )
    if problems := schema_problems(table.schema, schema):
        raise ManifestError(
            f"{os.fspath(path)}: {'; '.join(problems)}. "
            "Give the path of another file, or write this one again."
        )
    return table


def mix_of(source: pa.Table | str | os.PathLike[str]) -> MixCounts:
    """Count the mix of a manifest, given as a table or as a path, over its training split."""
    return MixCounts.of(source if isinstance(source, pa.Table) else read_manifest(source))


def resolve_uri(manifest_path: str | os.PathLike[str], uri: str) -> str:
    """Return where a volume lies that a manifest names.

    A relative `uri` starts at the manifest's own folder, so a dataset can be moved as a whole.
    An absolute path or a URL is returned as it is.
    """
    if is_url(uri) or os.path.isabs(uri):
        return uri
    return _join(folder_of(manifest_path), uri)


def rebase_uris(
    table: pa.Table, from_manifest: str | os.PathLike[str], to_manifest: str | os.PathLike[str]
) -> pa.Table:
    """Make `image_uri` and `layout_uri` right for a manifest that lies elsewhere.

    A volume under the new manifest's folder is named relative to it, any other absolutely.

    Args:
        table: Rows of the manifest at `from_manifest`, or of a part of it.
        from_manifest: Path or URL that the table's relative URIs start from.
        to_manifest: Path or URL that the table will be written to.
    """
    return relative_uris(absolute_uris(table, from_manifest), to_manifest)


def absolute_uris(table: pa.Table, manifest: str | os.PathLike[str]) -> pa.Table:
    """Make `image_uri` and `layout_uri` absolute, which start at the folder of `manifest`."""
    return _with_uris(table, lambda uri: resolve_uri(manifest, uri))


def relative_uris(table: pa.Table, manifest: str | os.PathLike[str]) -> pa.Table:
    """Make those absolute URIs relative that lie under the folder of `manifest`."""
    folder = folder_of(manifest)
    return _with_uris(table, lambda uri: _relative(folder, uri))


def is_url(path: str) -> bool:
    """Tell a URL from a path."""
    return "://" in path


def folder_of(path: str | os.PathLike[str]) -> str:
    """Return the folder of a file, an absolute path or a URL, without a trailing slash."""
    text = os.fspath(path).removeprefix("file://")
    return posixpath.dirname(text) if is_url(text) else os.path.dirname(os.path.abspath(text))


def open_filesystem(url: str) -> tuple[pafs.FileSystem, str]:
    """Return the file system of a URL, pyarrow's own or fsspec's, and the path in it.

    Raises:
        ValueError: Neither knows the scheme.
        ImportError: The package that fsspec needs for it is not installed.
    """
    try:
        filesystem, place = pafs.FileSystem.from_uri(url)
    except pa.ArrowInvalid:
        filesystem, place = pafs.FileSystem.from_uri(f"fsspec+{url}")
    return filesystem, place


def _with_uris(table: pa.Table, change: Callable[[str], str]) -> pa.Table:
    for name in ("image_uri", "layout_uri"):
        changed = pa.array((uri and change(uri) for uri in table[name].to_pylist()), pa.string())
        index = table.schema.get_field_index(name)
        table = table.set_column(index, table.schema.field(name), changed)
    return table


def _join(folder: str, uri: str) -> str:
    if not is_url(folder):
        return os.path.normpath(os.path.join(folder, uri))
    scheme, _, place = folder.partition("://")
    return f"{scheme}://{posixpath.normpath(posixpath.join(place, uri))}"


def _relative(folder: str, uri: str) -> str:
    start = folder.rstrip("/") + "/"
    return uri[len(start) :] if uri.startswith(start) else uri


def _load(path: str | os.PathLike[str]) -> pa.Table:
    text = os.fspath(path)
    place = text.removeprefix("file://")
    try:
        filesystem = pafs.LocalFileSystem()
        if is_url(place):
            filesystem, place = open_filesystem(place)
        with filesystem.open_input_file(place) as stream:
            return pq.ParquetFile(stream, page_checksum_verification=True).read()
    except FileNotFoundError:
        raise ManifestError(
            f"{text}: there is no such file, expected Parquet. "
            "Check the path; a run writes its manifest when it ends."
        ) from None
    except (OSError, ValueError, ImportError, pa.ArrowException) as error:
        raise ManifestError(
            f"{text}: could not be read as Parquet ({error}). Check the path and that the file "
            "is whole; if it is torn, run the command that wrote it again."
        ) from error
