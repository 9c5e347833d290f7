"""How far a run is: what the bar, `progress.json` and Ray's metrics show."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from factory.lake import PROGRESS, Lake
from jobs.console import Tracker, progress, say

_SECONDS_BETWEEN_RECORDS = 10.0

Row = dict[str, Any]


@dataclass(slots=True)
class _Actor:
    """What an actor has said of itself."""

    since: float
    """When it began with its first item, by the driver's clock."""
    until: float
    """When it was last heard of."""
    device_seconds: float = 0.0


@dataclass(slots=True)
class Tally:
    """Counts items as they end.

    Args:
        lake: Where `progress.json` goes.
        run_id: Of this run.
        planned: Items of the plan.
        committed: Of them, those that were there when the run began.
        quarantined: Of them, those that earlier runs gave up.
        todo: Items of this run.
        tracker: The bar.
        clock: Monotonic seconds.
    """

    lake: Lake
    run_id: str
    planned: int
    committed: int
    quarantined: int
    todo: int
    tracker: Tracker
    clock: Callable[[], float] = time.monotonic
    done: int = 0
    _given_up: int = 0
    _longest: float = 0.0
    _start: float = field(init=False)
    _recorded: float = field(init=False)
    _actors: dict[str, _Actor] = field(default_factory=dict)
    _metrics: "_Metrics | None" = field(init=False)

    def __post_init__(self) -> None:
        self._start = self._recorded = self.clock()
        self._metrics = _metrics()
        self.record()

    def take(self, row: Row) -> None:
        """Count an item that ended.

        Args:
            row: What `Sampler.draw` returned.
        """
        self.done += 1
        now = self.clock()
        actor = self._actors.setdefault(row["actor"], _Actor(now - row["seconds"], now))
        actor.until = now
        actor.device_seconds += row["device_seconds"]
        self._longest = max(self._longest, row["seconds"])
        if row["committed"]:
            self.committed += 1
        elif not row["recorded"]:
            say(f"open: {row['problem']}")
        else:
            self.quarantined += 1
            self._given_up += 1
            say(f"quarantined: {row['problem']}")
        if self._metrics:
            self._metrics.take(row, self.device_share)
        self.tracker.update(self.done, self._note())
        if now - self._recorded >= _SECONDS_BETWEEN_RECORDS:
            self.record()

    @property
    def device_share(self) -> float:
        """Share of the time from its first item to its last that an actor computed, over all."""
        lived = sum(actor.until - actor.since for actor in self._actors.values())
        busy = sum(actor.device_seconds for actor in self._actors.values())
        return min(1.0, busy / lived) if lived > 0 else 0.0

    def record(self) -> None:
        """Write `progress.json`."""
        self._recorded = self.clock()
        elapsed = self._recorded - self._start
        rate = self.done / elapsed if elapsed > 0 else 0.0
        left = self.todo - self.done
        content = {
            "run_id": self.run_id,
            "planned": self.planned,
            "committed": self.committed,
            "quarantined": self.quarantined,
            "left": left,
            "volumes_per_hour": round(3600 * rate, 1),
            "seconds_left": round(left / rate) if rate else None,
            "device_share": round(self.device_share, 3),
            "actors": self._alive(),
            "updated_at": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        try:
            self.lake.storage.write_json(PROGRESS, content)
        except Exception as error:
            # It informs; what counts are the commits.
            say(f"warning: {PROGRESS} could not be written: {error}")

    def _alive(self) -> int:
        """Return how many actors were heard of while they could have drawn an item or two."""
        lately = self.clock() - 3.0 * self._longest - _SECONDS_BETWEEN_RECORDS
        return sum(actor.until >= lately for actor in self._actors.values())

    def _note(self) -> str:
        elapsed = self.clock() - self._start
        rate = 3600 * self.done / elapsed if elapsed > 0 else 0.0
        note = f"{rate:,.0f} an hour, device {self.device_share:.0%}"
        return f"{note}, {self._given_up} quarantined" if self._given_up else note


@contextmanager
def tally(lake: Lake, *, run_id: str, planned: int, todo: int, quarantined: int) -> Iterator[Tally]:
    """Count a run's items behind a bar, and leave its last figures in the lake."""
    with progress("generate", todo) as tracker:
        counted = Tally(
            lake=lake,
            run_id=run_id,
            planned=planned,
            committed=planned - todo - quarantined,
            quarantined=quarantined,
            todo=todo,
            tracker=tracker,
        )
        try:
            yield counted
        finally:
            counted.record()


class _Metrics:
    """The run on Ray's metrics endpoint, where a cluster's Prometheus finds it."""

    def __init__(self) -> None:
        from ray.util.metrics import Counter, Gauge, Histogram

        self._items = Counter("factory_generate_items", "Items that ended", tag_keys=("outcome",))
        self._seconds = Histogram(
            "factory_generate_seconds",
            "Seconds of an item, waiting for the device included",
            boundaries=[0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000, 3000],
        )
        self._share = Gauge(
            "factory_generate_device_share", "Share of the time that devices compute"
        )

    def take(self, row: Row, device_share: float) -> None:
        failed = "quarantined" if row["recorded"] else "open"
        outcome = "committed" if row["committed"] else failed
        self._items.inc(1, tags={"outcome": outcome})
        self._seconds.observe(row["seconds"])
        self._share.set(device_share)


def _metrics() -> _Metrics | None:
    """Return nothing where no Ray runs, as in a test that draws in its own process."""
    import ray

    return _Metrics() if ray.is_initialized() else None
