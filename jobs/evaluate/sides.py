"""From given sets to measured ones: each volume once, whichever sets it is of.

sets --what features.parquet has not--> Measurer actors --> features.parquet --> sides
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from factory.counted import counted
from factory.errors import UsageError
from jobs.cluster import connect
from jobs.console import progress, say
from jobs.evaluate.figures import Side
from jobs.evaluate.given import GivenSet, Item, Sets
from jobs.evaluate.kept import Kept
from jobs.evaluate.measure import Measurer, MeasureSettings
from jobs.evaluate.names import REAL
from jobs.evaluate.stream import stream

LEAST = 2
"""Volumes of a set: fewer have no covariance."""


class Keeping(Protocol):
    """What was measured, by key: `Kept` of volumes, `KeptSlices` of their slices."""

    def __contains__(self, key: str) -> bool:
        """Tell whether a volume was measured."""

    def add(self, row: Mapping[str, Any], volume: str) -> None:
        """Keep a row of a measurer."""

    def write(self) -> None:
        """Make sure that all rows are on the disk."""


@dataclass(frozen=True, slots=True)
class Sides:
    """The measured sets."""

    real: Side
    synthetic: Sequence[Side]
    left_out: Mapping[str, Mapping[str, str]]
    """By set, the volumes that could not be measured, and why."""

    @property
    def num_left_out(self) -> int:
        """Volumes that could not be read or measured, or are on another grid."""
        return sum(map(len, self.left_out.values()))

    def left_out_by_name(self) -> dict[str, str]:
        """Return why each was left out, by its name; of several sets after that of the set."""
        is_one = len(self.synthetic) == 1
        return {
            name if is_one else f"{of}: {name}": why
            for of, told in self.left_out.items()
            for name, why in told.items()
        }


def measure_sets(
    sets: Sets, kept: Kept, settings: MeasureSettings, ray_address: str | None
) -> Sides:
    """Measure all sets.

    Raises:
        UsageError: Too few volumes of a set are left.
    """
    given = [sets.real, *sets.synthetic]
    for one in given:
        _check(one, len(one.items), one.misfits)
    items = {item.key(settings.kept_as): item for one in given for item in one.items}
    broken = measure_items(items, kept, settings, ray_address)
    left_out = {}
    sides = []
    for one in given:
        told = {item.name: broken.get(item.key(settings.kept_as), "") for item in one.items}
        left_out[one.name] = {**one.misfits, **{name: why for name, why in told.items() if why}}
        sides.append(_side(one, kept, settings.kept_as))
        _check(one, len(sides[-1].items), left_out[one.name])
    return Sides(sides[0], sides[1:], left_out)


def _check(given: GivenSet, count: int, left_out: Mapping[str, str]) -> None:
    if count >= LEAST:
        return
    kind = REAL if given.name == REAL else "synthetic"
    first = next((f"; left out: {name}: {why}" for name, why in left_out.items()), "")
    raise UsageError(
        f"--{kind} {given.place}: found {counted(count, 'usable volume')}{first}; expected {LEAST} or more. Give "
        "a larger set (factory generate --count), or mend it."
    )


def measure_items(
    items: Mapping[str, Item],
    kept: Keeping,
    settings: MeasureSettings,
    ray_address: str | None,
    measurer: type = Measurer,
) -> dict[str, str]:
    """Measure what was not; return the keys of broken volumes, and what was wrong with each.

    Args:
        items: By key.
        kept: Has what was measured before, and takes what is measured now.
        settings: What a measurer is built from.
        ray_address: Cluster to join; None starts one.
        measurer: See `stream`.
    """
    todo = {key: item for key, item in items.items() if key not in kept}
    if not todo:
        return {}
    if len(todo) < len(items):
        done = len(items) - len(todo)
        say(f"resuming: {done} of {counted(len(items), 'volume')} measured, {len(todo)} to do")
    broken: dict[str, str] = {}
    with connect(ray_address) as cluster:
        on = "cuda" if cluster.use_gpu(settings.device) else "cpu"
        try:
            with progress("measure volumes", len(todo)) as tracker:
                rows = stream(list(todo.values()), replace(settings, device=on), cluster, measurer)
                for done, row in enumerate(rows, start=1):
                    name = todo[row["key"]].name
                    if row["problem"]:
                        broken[row["key"]] = row["problem"]
                        say(f"left out: {name}: {row['problem']}")
                    else:
                        kept.add(row, name)
                    tracker.update(done, f"{len(broken)} broken" if broken else "")
        finally:
            kept.write()
    return broken


def _side(given: GivenSet, kept: Kept, kept_as: str) -> Side:
    there = [item for item in given.items if item.key(kept_as) in kept]
    return Side(there, [kept[item.key(kept_as)] for item in there], given.name)
