"""What people see while a job runs: a bar on a terminal, plain lines elsewhere, all on stderr."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

_SECONDS_BETWEEN_LINES = 10.0
_SECONDS_OF_PACE = 600.0
"""That the time left goes by; shorter than two steps apart, there would be none."""


class Tracker(Protocol):
    """Told how far a job has come."""

    def update(self, done: int, note: str = "") -> None:
        """Show that `done` of the total are done; `note` says more, in a few words."""


def say(text: str) -> None:
    """Print one line for people, to stderr."""
    print(text, file=sys.stderr, flush=True)  # noqa: T201


def give(result: str) -> None:
    """Print a result for programs, to stdout."""
    print(result, flush=True)  # noqa: T201


@contextmanager
def progress(title: str, total: int) -> Iterator[Tracker]:
    """Track a job of `total` parts: a bar where stderr is a terminal, lines elsewhere."""
    if not sys.stderr.isatty():
        yield _Lines(title, total)
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("eta"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, speed_estimate_period=_SECONDS_OF_PACE) as bar:
        task = bar.add_task(title, total=total, note="")

        class _Bar:
            def update(self, done: int, note: str = "") -> None:
                bar.update(task, completed=done, note=note)

        yield _Bar()


class _Lines:
    """A line at the start, at the end, and every ten seconds between."""

    def __init__(self, title: str, total: int) -> None:
        self._title, self._total = title, total
        self._start = self._last = time.monotonic()
        self._ended = False
        say(f"{title}: 0/{total}")

    def update(self, done: int, note: str = "") -> None:
        now = time.monotonic()
        ended = done >= self._total
        if self._ended or (not ended and now - self._last < _SECONDS_BETWEEN_LINES):
            return
        self._last, self._ended = now, ended
        elapsed = now - self._start
        say(f"{self._title}: {done}/{self._total} in {elapsed:.0f} s {note}".rstrip())
