"""How far a training run has come, from the lines that its rank 0 logs."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from jobs.console import Tracker, progress, say

_SECONDS_BETWEEN_LOOKS = 0.5
_TAIL_BYTES = 4096


@contextmanager
def watch(metrics: Path, steps: int) -> Iterator[None]:
    """Show the progress of a run of `steps` steps while the block runs."""
    say(f"train: logging to {metrics}")
    ended = threading.Event()
    with progress("train", steps) as tracker:
        thread = threading.Thread(target=_poll, args=(metrics, tracker, ended), daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
            _show(metrics, tracker)


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


def _poll(metrics: Path, tracker: Tracker, ended: threading.Event) -> None:
    while not ended.wait(_SECONDS_BETWEEN_LOOKS):
        _show(metrics, tracker)


def _show(metrics: Path, tracker: Tracker) -> None:
    if last := last_metrics(metrics):
        tracker.update(last["step"], f"loss {last['loss']:.4f}")
