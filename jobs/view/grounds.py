"""Where volumes may lie: below the manifest's folder, or in a lake or case store that a row names."""

import os
import stat
from collections.abc import Iterator

from factory.errors import StoreError
from factory.lake import Lake
from manifests.read import is_url

_BUCKETS = ("s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "memory")
_VOLUMES = "/volumes/"
_STORES = ("lake", "cases")
_MOST_ENTRIES = 64
"""Files and folders of a volume; one of ours has thirteen."""
_MOST_BYTES = 1 << 30


def check_ground(uri: str, folder: str) -> None:
    """Refuse a volume that lies elsewhere, in itself or through a link, and files that are none.

    Args:
        uri: Absolute path or URL of the volume.
        folder: Of the manifest that names it.

    Raises:
        StoreError: It is not below `folder`, nor in the `volumes` of a lake or case store; or there
            are links in it that lead out of these.
    """
    path = uri.removeprefix("file://")
    if is_url(path):
        _check_url(path, folder)
        return
    grounds = [one for one in _grounds(path, folder) if _is_below(path, one)]
    if not grounds:
        raise _elsewhere(uri, folder)
    found = list(_files(path))
    if not any(all(_is_below(file, os.path.realpath(one)) for file in found) for one in grounds):
        raise StoreError(
            f"volume {uri}: found a link in it, or to it, that leads out of {grounds[-1]}; expected all of "
            "it inside, for nothing outside is served. Put the volume there in place of the link, or name "
            "the folder that the link leads to."
        )


def _check_url(uri: str, folder: str) -> None:
    scheme = uri.partition("://")[0].lower()
    if scheme not in _BUCKETS:
        raise StoreError(
            f"volume of a URL of {scheme}: expected a path, or a bucket of {', '.join(_BUCKETS[:3])} and the "
            "like, for nothing else is asked. Write the manifest again."
        )
    if not any(_is_below(uri, one) for one in _grounds(uri, folder)):
        raise _elsewhere(uri, folder)


def _elsewhere(uri: str, folder: str) -> StoreError:
    return StoreError(
        f"volume {uri}: it lies neither below {folder}, where the manifest is, nor in a lake or case store; "
        "expected one of them. Move it there, or name the lake itself."
    )


def _grounds(uri: str, folder: str) -> Iterator[str]:
    yield folder.removeprefix("file://")
    root, found, _ = uri.rpartition(_VOLUMES)
    if found and (Lake(root).identity() or {}).get("kind") in _STORES:
        yield root


def _is_below(path: str, folder: str) -> bool:
    parts = path.split("/")
    return ".." not in parts and path.startswith(f"{folder.rstrip('/')}/")


def _files(path: str) -> Iterator[str]:
    """Yield the real path of a volume and of all that is in it.

    Raises:
        StoreError: There is what is no file, which may never end, or far too much.
    """
    yield os.path.realpath(path)
    num_entries = num_bytes = 0
    # Links are followed, for whoever reads the volume follows them.
    for at, folders, names in os.walk(path, followlinks=True):
        num_entries += len(folders) + len(names)
        for name in names:
            real = os.path.realpath(os.path.join(at, name))
            about = os.stat(real)
            num_bytes += about.st_size
            if not stat.S_ISREG(about.st_mode):
                raise StoreError(
                    f"volume {path}: found {name}, which is no file; expected files. Make it again."
                )
            yield real
        if num_entries > _MOST_ENTRIES or num_bytes > _MOST_BYTES:
            raise StoreError(
                f"volume {path}: found {num_entries} files and folders of {num_bytes / 1e6:,.0f} MB; expected "
                f"at most {_MOST_ENTRIES} of {_MOST_BYTES / 1e6:,.0f} MB. Make it again."
            )
