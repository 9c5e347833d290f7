"""Who started on an item, so that one that ends its process each time is found.

    attempts/<item>/<run>.<attempt>    where it runs, and whether it has the process to itself

A record is removed when its item is committed. What is left of a run's own attempts on an open item
has died, and the process can no longer say of what.
"""

import uuid
from collections.abc import Collection
from dataclasses import asdict, dataclass, replace
from typing import Any

from factory.storage import Storage

FOLDER = "attempts"


@dataclass(frozen=True, kw_only=True, slots=True)
class Attempt:
    """One start on an item."""

    item: str
    run_id: str
    attempt: str
    """12 hex digits; part of the volume's name."""

    node_id: str = ""
    """Node of the cluster that it runs on."""

    alone: bool = True
    """Whether its process did nothing else meanwhile: then its end is the item's doing."""

    ended: str = ""
    """Why it was ended, where somebody could still tell."""


class Attempts:
    """The attempt records of a lake.

    Args:
        storage: Folder of the lake.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def start(self, item: str, run_id: str, *, node_id: str = "", alone: bool = True) -> Attempt:
        """Record that work on an item starts."""
        attempt = Attempt(
            item=item, run_id=run_id, attempt=uuid.uuid4().hex[:12], node_id=node_id, alone=alone
        )
        self._storage.create_json(_path(attempt), _content(attempt))
        return attempt

    def end(self, attempt: Attempt, reason: str) -> None:
        """Record why an attempt is ended, just before its process is."""
        self._storage.write_json(_path(attempt), _content(replace(attempt, ended=reason)))

    def died(self, item: str, run_id: str) -> list[Attempt]:
        """Return a run's attempts on an item that is open and that nobody works on."""
        names = self._storage.names(f"{FOLDER}/{item}")
        return [self._read(item, name) for name in names if name.startswith(f"{run_id}.")]

    def items(self) -> set[str]:
        """Return the items that have records, from one listing."""
        return set(self._storage.names(FOLDER))

    def forget(self, item: str) -> None:
        """Remove the records of an item: it is committed, or given up."""
        self._storage.remove(f"{FOLDER}/{item}")

    def _read(self, item: str, name: str) -> Attempt:
        run_id, _, attempt = name.rpartition(".")
        content: Any = self._storage.read_json(f"{FOLDER}/{item}/{name}")
        # Records of earlier releases are empty.
        return Attempt(item=item, run_id=run_id, attempt=attempt, **content)


def item_is_to_blame(attempt: Attempt, lost_nodes: Collection[str]) -> bool:
    """Tell whether an attempt that died speaks against its item.

    Not where its node was lost with all that ran there, nor where another item was in the process.

    Args:
        attempt: One that died.
        lost_nodes: Nodes that have left the cluster.
    """
    return attempt.alone and attempt.node_id not in lost_nodes


def _path(attempt: Attempt) -> str:
    return f"{FOLDER}/{attempt.item}/{attempt.run_id}.{attempt.attempt}"


def _content(attempt: Attempt) -> dict[str, Any]:
    content = asdict(attempt)
    return {key: content[key] for key in ("node_id", "alone", "ended")}
