"""Whom to blame for attempts that died, and what to say of it."""

import sys
from collections.abc import Collection, Sequence
from typing import Any

from factory.attempts import Attempt, item_is_to_blame
from factory.errors import CaseError
from jobs.generate.plan import WorkItem

_DEATHS_A_BLAME = 4
"""An item that died so many times more often than it may be blamed is given up all the same: its
neighbours and its nodes have to be spared too."""


def verdict_on(item: WorkItem, died: Sequence[Attempt], max_attempts: int) -> CaseError | None:
    """Return why an item is to be given up for the attempts that died, or None."""
    if len(died) < max_attempts:
        return None
    lost = lost_nodes()
    blamed = sum(item_is_to_blame(attempt, lost) for attempt in died)
    if blamed < max_attempts and len(died) < _DEATHS_A_BLAME * max_attempts:
        return None
    return CaseError(
        item.case_id,
        f"work item {item.work_id} ended its process {len(died)} times{_how(died, lost)}, or leave the "
        "case out.",
    )


def _how(died: Sequence[Attempt], lost: Collection[str]) -> str:
    """Return why attempts died, as far as somebody could tell, and what to do."""
    told = next((attempt.ended for attempt in reversed(died) if attempt.ended), "")
    expected = "; expected a volume."
    if "longer than" in told:
        return f" ({told}){expected} Give it more time (max_seconds of [generate]) and run again"
    if told:
        return f" ({told}){expected} Look at the device and run again"
    if all(attempt.node_id in lost for attempt in died):
        return f" with nodes that were lost{expected} Run again where nodes stay"
    return f"{expected} Give the actor more memory and run again"


def node_id() -> str:
    return str(_ray().get_runtime_context().get_node_id()) if _ray() else ""


def lost_nodes() -> set[str]:
    """Return the nodes that have left the cluster."""
    return {node["NodeID"] for node in _ray().nodes() if not node["Alive"]} if _ray() else set()


def _ray() -> Any:
    """Return Ray where it runs this process; tests and notebooks may do without."""
    ray = sys.modules.get("ray")
    return ray if ray is not None and ray.is_initialized() else None
