"""What the runs of a sweep tell on their way: the steps that they took, and what they warn of."""

from collections.abc import Collection, Iterator
from pathlib import Path

from jobs.console import say
from jobs.train.run_folder import METRICS, WARNINGS
from jobs.train.watch import last_metrics

_OF_NOTE = ("left out:", "warning:")
"""How lines of a run's log begin that are more than how far it is."""

_MOST = 4
"""Runs that are named: a line has no room for a cluster's."""


def steps_of(working: Path, steps: int, ended: Collection[str] = ()) -> list[str]:
    """Return how far runs are, as `extra-0.25-s0-f0 at step 12 of 200`; the furthest first.

    Args:
        working: Folder of the process that runs them.
        steps: Of each run.
        ended: Names of runs that are not at work any more, whatever lies there.
    """
    # Of a run whose process ended, the last attempt alone is at work.
    newest = {name: step for _, name, step in sorted(_steps(working)) if name not in ended}
    found = sorted(((step, name) for name, step in newest.items()), reverse=True)
    told = [f"{name} at step {step:,} of {steps:,}" for step, name in found[:_MOST]]
    return [*told, f"{len(found) - _MOST} more"] if len(found) > _MOST else told


def tell_of_warnings(run: Path, told: set[str]) -> None:
    """Say what a run had to warn of, and no other before it."""
    file = run / WARNINGS
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    for line in lines:
        if line.startswith(_OF_NOTE) and line not in told:
            told.add(line)
            say(line)


def _steps(working: Path) -> Iterator[tuple[int, str, int]]:
    """Yield the number of each attempt, the name of its run, and the step that it is at."""
    for metrics in working.glob(f"*/{METRICS}"):
        step = last_metrics(metrics).get("step")
        name, _, attempt = metrics.parent.name.rpartition(".")
        if isinstance(step, int) and attempt.isdecimal():
            yield int(attempt), name, step
