"""What people see while a job runs: a bar on a terminal, plain lines elsewhere, all on stderr.

A command ends in one line: what came out, and what to run next.
"""

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from shlex import quote
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


def conclude(came_out: str, then: str) -> None:
    """Say the last line of a command, to stderr.

    Args:
        came_out: What it made or found.
        then: What to run next, as `command_line` returns it, or to do.
    """
    say(ending(came_out, then))


def ending(came_out: str, then: str) -> str:
    """Return the line that `conclude` says."""
    return f"{came_out}. Next: {then}"


def command_line(words: str, *arguments: object, flags: Mapping[str, object] | None = None) -> str:
    """Return a command as a shell takes it when pasted.

    Args:
        words: The program and its verb, as `factory mix`.
        *arguments: Without a flag; None is left out.
        flags: Value of each flag, or a list of several. One that is True stands alone; None, False
            and an empty text are left out.
    """
    parts = [words, *(quote(str(one)) for one in arguments if one is not None)]
    for flag, given in (flags or {}).items():
        for value in given if isinstance(given, list | tuple) else [given]:
            if value is True:
                parts.append(flag)
            elif value is not None and value is not False and value != "":
                parts.append(f"{flag} {quote(str(value))}")
    return " ".join(parts)


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
