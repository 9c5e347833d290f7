"""Where cases are read and volumes are written: room, speed, and what a store must be able to do."""

import errno
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from factory.conditional_put import ignores_conditions
from factory.counted import counted
from factory.errors import FactoryError, StoreError
from factory.refused import found_of
from factory.storage import Storage
from jobs.doctor.asked import Asked
from jobs.doctor.finding import Finding, ok, problem, refused, warning
from jobs.doctor.machine import GIB
from manifests.errors import ManifestError

_MIB = 2**20
_BYTES = 16 * _MIB
_ENOUGH_BYTES, _FEWEST_BYTES = 10 * GIB, 1 * GIB
_VOXEL_BYTES = 1.1
"""Of a volume as it is written: HU compress to about half, the layout to next to nothing."""
_GRIDS = (64, 128)
"""Of the model that ships, and of the paper's."""
_SLOW = 10.0
"""MB/s."""

_WAYS_OUT = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), "Free some"),
    errno.EROFS: "Mount it to be written to",
    **dict.fromkeys((errno.EACCES, errno.EPERM), "Give the right to write there"),
    **dict.fromkeys((errno.ENOTDIR, errno.EEXIST), "Move that file away"),
}
"""By what the operating system refuses with."""

_RECORD = "record.json"
_TOLD = {"probe": "of factory doctor"}


def check_out(asked: Asked) -> Iterator[Finding]:
    """Write where volumes will be written, read it back, and remove it."""
    # A folder that is not there yet is not made: its parent says what can be done in it.
    remote = "://" in asked.out
    place = asked.out if remote else str(_nearest(Path(asked.out)))
    if not remote:
        yield _room(place)
    probe = f".factory-doctor-{uuid.uuid4().hex}"
    check = f"out {asked.out}"
    storage = None
    try:
        storage = Storage(place)
        yield _probed(storage, probe, check)
    except FactoryError as error:
        yield refused(check, error)
    except OSError as error:
        yield problem(
            check,
            f"{found_of(error)} at {place}",
            "a folder that can be written to",
            f"{_WAYS_OUT.get(error.errno or 0, 'Check it and its permissions')}, or name another place with --out.",
        )
    finally:
        if storage is not None and _is_left(storage, probe):
            yield problem(
                f"{check}, removing",
                f"{storage.child(probe)} is left",
                "a right to remove: volumes that failed are removed, too",
                "Remove it, and give the right to delete there.",
            )


def check_cases(asked: Asked) -> Iterator[Finding]:
    """Read a case store's manifest; nothing is written there."""
    from jobs.cases import open_case_store

    check = f"cases {asked.cases}"
    try:
        store = open_case_store(asked.cases or "cases")
    except (FactoryError, ManifestError) as error:
        yield refused(check, error)
    except OSError as error:
        yield problem(
            check,
            found_of(error),
            "a case store that can be read",
            "Check it and its permissions.",
        )
    else:
        train = sum(row["split"] == "train" for row in store.rows)
        yield ok(
            check, f"{counted(len(store.rows), 'case')} of {store.grid}^3, {train} to train on"
        )


def _room(place: str) -> Finding:
    room = shutil.disk_usage(place)
    small, large = (int(room.free / _VOXEL_BYTES / grid**3) for grid in _GRIDS)
    found = (
        f"{_size(room.free)} free of {_size(room.total)} at {place}, for some {small:,} volumes of "
        f"{_GRIDS[0]}^3, or {large:,} of {_GRIDS[1]}^3"
    )
    expected = f"{_ENOUGH_BYTES / GIB:g} GiB free"
    if room.free >= _ENOUGH_BYTES:
        return ok("disk", found, expected)
    tell = warning if room.free >= _FEWEST_BYTES else problem
    return tell("disk", found, expected, "Make room, or name another place with --out.")


def _size(num_bytes: int) -> str:
    return f"{num_bytes / GIB:,.1f} GiB" if num_bytes >= GIB else f"{num_bytes / _MIB:,.1f} MiB"


def _probed(storage: Storage, probe: str, check: str) -> Finding:
    record = f"{probe}/{_RECORD}"
    if not storage.create_json(record, _TOLD):
        raise StoreError(
            f"{storage.child(record)}: found a record that nobody has written; expected none. Run the "
            "same command again."
        )
    if storage.create_json(record, _TOLD):
        raise ignores_conditions(storage.url)
    if storage.read_json(record) != _TOLD or _RECORD not in storage.names(probe):
        raise StoreError(
            f"{storage.url}: found another record than the one just written; expected the same. Use a "
            "store that reads what was written."
        )
    writes, reads = _speed(storage, f"{probe}/volume")
    found = (
        f"creates, spares what is there, reads and removes; writes {writes:,.0f} MB/s and reads "
        f"{reads:,.0f} MB/s, of one file of {_BYTES // _MIB} MiB"
    )
    if writes >= _SLOW:
        return ok(check, found)
    return warning(
        check,
        found,
        f"{_SLOW:g} MB/s or more",
        "Take a local disk, or a bucket that is near: actors wait for what they write.",
    )


def _speed(storage: Storage, folder: str) -> tuple[float, float]:
    """Return MB/s of writing to the disk itself, and of reading, which its cache may answer."""
    content = os.urandom(_BYTES)
    start = time.perf_counter()
    storage.write_tree(folder, {"0": content})
    written = time.perf_counter()
    same = storage.read_tree(folder, ["0"]).get("0") == content
    read = time.perf_counter()
    if not same:
        raise StoreError(
            f"{storage.url}: found other bytes than those just written; expected the same. Check the "
            "disk, or use another store."
        )
    return _BYTES / 1e6 / max(written - start, 1e-9), _BYTES / 1e6 / max(read - written, 1e-9)


def _is_left(storage: Storage, probe: str) -> bool:
    """Remove what was written, and return whether some of it is there yet."""
    with suppress(FactoryError, OSError):
        storage.remove(probe)
    # What can't be reached was told already.
    with suppress(FactoryError, OSError):
        return bool(storage.names(probe))
    return False


def _nearest(path: Path) -> Path:
    """Return the folder itself, or the nearest above it that is there."""
    path = path.absolute()
    return next(folder for folder in (path, *path.parents) if folder.exists())
