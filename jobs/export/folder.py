"""The folder of an export: whose it is, and what lies in it that is not to be there any more."""

import fcntl
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from factory.errors import StoreError, UsageError
from factory.storage import Storage
from jobs.claims import differences, names_in
from jobs.console import say
from jobs.export.task import RECORDS, STATE, Work, record_of

IDENTITY = f"{STATE}/export.json"
ASIDE = f"{STATE}/left_out.json"
"""Name and reason of each volume that has no files."""

_LOCK = f"{STATE}/.lock"
_ENDING = ".nii.gz"


def claim(out: Path, asked: Mapping[str, Any]) -> None:
    """Make the folder this export's, or refuse: files of two exports in one would be mixed up.

    Raises:
        UsageError: It has files that no export wrote.
        StoreError: It is another export's.
    """
    storage = Storage(out)
    if names_in(out) and not storage.exists(IDENTITY):
        raise UsageError(
            f"--out {out}: found a folder with files that no export wrote; expected an empty one, or one of an "
            "earlier export. Choose another folder."
        )
    storage.create_json(IDENTITY, asked)
    try:
        found = storage.read_json(IDENTITY)
    except ValueError as error:
        raise StoreError(
            f"{out / IDENTITY}: found {error}; expected JSON. Remove the folder, and export again."
        ) from error
    changed = differences(found, asked) if isinstance(found, dict) else ["no table"]
    if changed:
        raise StoreError(
            f"--out {out}: made by another export ({'; '.join(changed)}); expected the same. Choose another "
            "folder, or remove this one."
        )
    for folder in (STATE, RECORDS):
        storage.sweep(folder)


@contextmanager
def alone(out: Path) -> Iterator[bool]:
    """Wait until no other export is at work in a claimed folder: each removes what it does not list.

    Yields:
        Whether it had to wait, so that what was read before may be old.
    """
    has_waited = False
    with (out / _LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"waiting: another export is at work in {out}")
            fcntl.flock(lock, fcntl.LOCK_EX)
            has_waited = True
        except OSError as error:
            say(
                f"warning: {out}: its file system has no locks ({error}); start no second export into it"
            )
        yield has_waited


def remove_others(out: Path, works: Sequence[Work]) -> int:
    """Remove the files of volumes that are not to be exported any more, or lie elsewhere now.

    Returns:
        How many volumes have no files any more.

    Tools take a folder as it is: of a manifest that lost a volume, or a stricter --min-verdict, the
    file would still be trained on. What no export wrote stays.
    """
    storage, wanted, num_removed = Storage(out), {work.name: work for work in works}, 0
    for file in storage.names(RECORDS):
        work = wanted.get(file.removesuffix(".json"))
        kept = (work.image, work.layout) if work else ()
        for path in _recorded(storage, file):
            if path not in kept:
                _unlink(out, path)
        if not work:
            storage.remove(f"{RECORDS}/{file}")
            num_removed += 1
    return num_removed


def discard(out: Path, work: Work) -> None:
    """Remove what an earlier export, or half of this one, left of a volume that has no files now."""
    for path in (work.image, work.layout):
        _unlink(out, path)
    Storage(out).remove(record_of(work.name))


def _recorded(storage: Storage, file: str) -> list[str]:
    try:
        record = storage.read_json(f"{RECORDS}/{file}")
        return [str(record["image"]), str(record["layout"])]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def _unlink(out: Path, path: str) -> None:
    """Remove a file of this folder, whatever its record says."""
    file = out / path
    if file.parent.resolve().is_relative_to(out.resolve()) and file.name.endswith(_ENDING):
        file.unlink(missing_ok=True)
