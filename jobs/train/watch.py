"""How far a training run has come, from the lines that its rank 0 logs."""

import json
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

from jobs.console import Tracker, progress, say
from jobs.train.run_folder import WARNINGS

_SECONDS_BETWEEN_LOOKS = 0.5
_TAIL_BYTES = 4096
_SECONDS_OF_PACE = 600.0


@contextmanager
def watch(metrics: Path, steps: int, title: str = "train") -> Iterator[None]:
    """Show the progress of a run of `steps` steps while the block runs."""
    say(f"{title}: logging to {metrics}")
    ended = threading.Event()
    with progress(title, steps) as tracker:
        view = _View(metrics, steps, tracker)
        warnings = _Warnings(metrics.with_name(WARNINGS))
        thread = threading.Thread(target=_poll, args=(view, warnings, ended), daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
            view.show()
            warnings.show()


def last_metrics(metrics: Path) -> dict[str, Any]:
    """Return the last whole line, or nothing; reads the end only, for the file grows with the run."""
    try:
        with metrics.open("rb") as file:
            file.seek(max(0, metrics.stat().st_size - _TAIL_BYTES))
            lines = file.read().splitlines()
    except FileNotFoundError:
        return {}
    for line in reversed(lines):
        # A run that was killed can leave half a line.
        with suppress(ValueError):
            last: dict[str, Any] = json.loads(line)
            return last
    return {}


class Pace:
    """Steps a second over the last ten minutes, checkpoints and pictures with them."""

    def __init__(self) -> None:
        self._marks: deque[tuple[float, int]] = deque()
        self._last: int | None = None

    def saw(self, step: int, now: float) -> None:
        """Take note of the step that a run was seen at.

        The first step may be of an earlier run, and says nothing of the time; after one that goes
        back, workers have been restarted.
        """
        if self._last is None or step == self._last:
            self._last = step
            return
        if step < self._last:
            self._marks.clear()
        self._last = step
        self._marks.append((now, step))
        while len(self._marks) > 2 and self._marks[1][0] < now - _SECONDS_OF_PACE:
            self._marks.popleft()

    @property
    def steps_a_second(self) -> float:
        """The pace; 0 where it is not known yet."""
        if len(self._marks) < 2:
            return 0.0
        (begin, first), (end, last) = self._marks[0], self._marks[-1]
        return (last - first) / (end - begin) if end > begin else 0.0


class _View:
    def __init__(self, metrics: Path, steps: int, tracker: Tracker) -> None:
        self._metrics, self._steps, self._tracker = metrics, steps, tracker
        self._pace = Pace()

    def show(self) -> None:
        last = last_metrics(self._metrics)
        if "step" not in last:
            return
        self._pace.saw(last["step"], time.monotonic())
        left = self._steps - last["step"]
        # A bar has its own estimate.
        note = _note(last["loss"], self._pace.steps_a_second, 0 if sys.stderr.isatty() else left)
        self._tracker.update(last["step"], note)


class _Warnings:
    """Shows what workers warn of from now on."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._shown = file.stat().st_size if file.exists() else 0

    def show(self) -> None:
        """Show the lines that are new and whole."""
        if not self._file.exists():
            return
        with self._file.open("rb") as file:
            file.seek(self._shown)
            whole = file.read().rpartition(b"\n")[0]
        for line in whole.decode(errors="replace").splitlines():
            say(line)
        self._shown += len(whole) + bool(whole)


def _poll(view: _View, warnings: _Warnings, ended: threading.Event) -> None:
    while not ended.wait(_SECONDS_BETWEEN_LOOKS):
        view.show()
        warnings.show()


def _note(loss: float, steps_a_second: float, steps_left: int) -> str:
    parts = [f"loss {loss:.4f}"]
    if steps_a_second:
        slow = steps_a_second < 1.0
        parts.append(
            f"{1 / steps_a_second:.1f} s/step" if slow else f"{steps_a_second:.1f} steps/s"
        )
        if steps_left > 0:
            parts.append(f"{timedelta(seconds=round(steps_left / steps_a_second))} left")
    return ", ".join(parts)
