"""A folder of committed volumes; case stores and generated lakes are both laid out so.

    dataset.json                       identity and counts
    volumes/<item>.<attempt>.ome.zarr  written by one attempt, never touched by another
    attempts/<item>/<run>.<attempt>    started; what is left of attempts that died
    progress.json                      how far the newest run is; nothing depends on it
    commits/<item>.json                create-if-absent: this attempt is the item
    quarantine/<item>.json             why an item was given up
    manifest.parquet, quarantine.parquet

A volume counts once its commit marker exists, and only then. Everything can be
killed between any two calls: what was not committed is an orphan, and is swept.
"""

from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

from factory.attempts import Attempts
from factory.conditional_put import ignores_conditions
from factory.errors import StoreError
from factory.storage import Storage

MANIFEST = "manifest.parquet"
QUARANTINE = "quarantine.parquet"
PLAN = "plan.parquet"
IDENTITY = "dataset.json"
PROGRESS = "progress.json"

_SUFFIX = ".ome.zarr"

_READERS = 16
"""Records that are read at once: over a network each takes its time."""


class Lake:
    """Commit markers, attempts and quarantine of a folder of volumes.

    Args:
        url: Local path or fsspec URL of the folder.
    """

    def __init__(self, url: str | Path) -> None:
        self.storage = Storage(url)
        self.attempts = Attempts(self.storage)

    @property
    def url(self) -> str:
        """Absolute path or URL of the folder."""
        return self.storage.url

    def identity(self) -> dict[str, Any] | None:
        """Return what `dataset.json` says, or None where there is none."""
        try:
            return self._read(
                IDENTITY, "Remove the file and run the command that made the folder again."
            )
        except FileNotFoundError:
            return None

    def claim(self, identity: Mapping[str, Any]) -> dict[str, Any]:
        """Write `dataset.json` unless there is one; return the one that stands.

        Raises:
            StoreError: The folder is on a server that writes over what it was told to spare.
        """
        self.storage.make_folder()
        made = self.storage.create_json(IDENTITY, identity)
        # Some servers take the condition, say nothing and ignore it: better found here than never.
        if made and not self.storage.is_local and self.storage.create_json(IDENTITY, identity):
            raise ignores_conditions(self.url)
        return self.identity() or {}

    def volume_path(self, item: str, attempt: str) -> str:
        """Return the path, inside the folder, of the volume that an attempt writes."""
        return f"volumes/{item}.{attempt}{_SUFFIX}"

    def commit(self, item: str, row: Mapping[str, Any]) -> bool:
        """Make `row` the item's, unless another attempt was first; return whether it is."""
        if self.storage.create_json(f"commits/{item}.json", row):
            return True
        # Where an answer was lost on the way, the marker that is in the way may be this one.
        own = row.get("image_uri")
        return own is not None and self._record("commits", item).get("image_uri") == own

    def replace_commit(self, item: str, row: Mapping[str, Any]) -> None:
        """Make `row` the item's, whatever stood there: its input has changed."""
        self.storage.write_json(f"commits/{item}.json", row)

    def is_committed(self, item: str) -> bool:
        """Tell whether an item has its volume."""
        return self.storage.exists(f"commits/{item}.json")

    def committed_ids(self) -> set[str]:
        """Return the ids of all committed items, from one listing."""
        return set(_stems(self.storage.names("commits")))

    def committed_row(self, item: str) -> dict[str, Any]:
        """Return an item's row.

        Raises:
            StoreError: The marker is not JSON, or does not name a volume of the item.
            FileNotFoundError: The item is not committed.
        """
        row = self._record("commits", item)
        uri = str(row.get("image_uri"))
        # A path of anything else would have the sweep remove the volume that it should keep.
        if not uri.startswith(f"volumes/{item}.") or uri.count("/") != 1:
            raise StoreError(
                f"{self.storage.child(f'commits/{item}.json')}: found image_uri {uri!r}; expected "
                f"volumes/{item}.<attempt>{_SUFFIX}. Remove the file and run the command again."
            )
        return row

    def quarantine(self, item: str, record: Mapping[str, Any]) -> None:
        """Record why an item was given up; the newest reason stands."""
        self.storage.write_json(f"quarantine/{item}.json", record)

    def quarantined_ids(self) -> set[str]:
        """Return the ids of all items given up, from one listing."""
        return set(_stems(self.storage.names("quarantine")))

    def quarantined(self) -> list[dict[str, Any]]:
        """Return the record of each item that was given up, by id."""
        with ThreadPoolExecutor(_READERS) as pool:
            found = pool.map(self._quarantine_record, sorted(self.quarantined_ids()))
            return [record for record in found if record]

    def release(self, items: Iterable[str]) -> None:
        """Take items out of quarantine."""
        for item in items:
            self.storage.remove(f"quarantine/{item}.json")

    def sweep(self, volumes: Mapping[str, str]) -> int:
        """Remove volumes of attempts that lost or died, the attempt records, and torn records.

        Args:
            volumes: The `image_uri` of each committed item. Volumes of other items are left:
                another run may be writing them.

        Returns:
            How many volumes were removed.
        """
        removed = 0
        for name in self.storage.names("volumes"):
            item = name.removesuffix(_SUFFIX).rsplit(".", 1)[0]
            path = f"volumes/{name}"
            if item not in volumes or volumes[item] == path:
                continue
            # Read anew: another run may have replaced the commit since the items were listed.
            if self.committed_row(item)["image_uri"] != path:
                # Another run may be writing there still: the next sweep gets it.
                with suppress(OSError):
                    self.storage.remove(path)
                    removed += 1
        for folder in ("", "commits", "quarantine"):
            self.storage.sweep(folder)
        for item in self.attempts.items() & volumes.keys():
            self.attempts.forget(item)
        return removed

    def drop(self, item: str) -> None:
        """Take back the commit of an item whose volume is gone or torn: it is to be made again."""
        self.storage.remove(f"commits/{item}.json")

    def _quarantine_record(self, item: str) -> dict[str, Any] | None:
        # Another process may release an item between the listing and the reading.
        with suppress(FileNotFoundError):
            return self._record("quarantine", item)
        return None

    def _record(self, folder: str, item: str) -> dict[str, Any]:
        return self._read(f"{folder}/{item}.json", "Remove the file and run the command again.")

    def _read(self, relative: str, way_out: str) -> dict[str, Any]:
        try:
            record = self.storage.read_json(relative)
            found = repr(record)
        except ValueError as error:
            record, found = None, str(error)
        if isinstance(record, dict):
            return record
        raise StoreError(
            f"{self.storage.child(relative)}: found {found}; expected a JSON object. {way_out}"
        )


def _stems(names: Iterable[str]) -> Iterator[str]:
    return (name.removesuffix(".json") for name in names if name.endswith(".json"))
