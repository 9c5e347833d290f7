"""One run of a sweep, in a process of its own: aside first, and in its place once it is whole."""

import shutil
import traceback
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from factory.errors import FactoryError
from jobs.downstream.fit import fit_and_test
from jobs.downstream.plan import RunSpec
from jobs.downstream.sweep.folder import is_finished, publish
from manifests.errors import ManifestError

MAX_ATTEMPTS = 3
"""Processes that one run may take with it before it is given up."""

_TRACEBACK_FRAMES, _LONGEST_TRACEBACK = 4, 10_000
_LONGEST, _LONGEST_REASON = 1_000, 300
"""Letters of a failure, and of what was raised: a table has a line for each."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Failure:
    """Why a run was given up."""

    error_class: str
    message: str
    traceback_tail: str = ""


def run_once(
    spec: RunSpec, working: str, device: str, num_threads: int | None = None
) -> Failure | None:
    """Train and test one run, unless it is there.

    Args:
        spec: `out` is its place in the sweep.
        working: Folder of the process that asks; all nodes see it.
        device: `cpu` or `cuda`.
        num_threads: Of torch; None leaves them. The sums of a CPU depend on their number.

    Returns:
        Why it could not be finished; None where it was.
    """
    run = Path(spec.out)
    if is_finished(run):
        return None
    asides = [Path(working, f"{run.name}.{number}") for number in range(MAX_ATTEMPTS)]
    aside = next((one for one in asides if not one.exists()), None)
    if aside is None:
        return ended_too_often(run.name)
    aside.mkdir()
    try:
        if num_threads:
            torch.set_num_threads(num_threads)
        fit_and_test(replace(spec, out=str(aside)), device=device)
        publish(aside, run)
    except Exception as error:
        shutil.rmtree(aside, ignore_errors=True)
        return _failure(run, aside, error)
    return None


def ended_too_often(name: str) -> Failure:
    """Return what to say of a run whose process ends each time."""
    return Failure(
        error_class="WorkerCrashedError",
        message=f"run {name}: its process ended {MAX_ATTEMPTS} times; expected it to finish. Too little memory "
        "does this: give it a node with more, or take a smaller network or grid.",
    )


def _failure(run: Path, aside: Path, error: Exception) -> Failure:
    text = " ".join(str(error).split()).replace(str(aside), str(run))
    text = _cut(text, _LONGEST)
    if not isinstance(error, FactoryError | ManifestError):
        # What follows the first line of others' errors is for who reads tracebacks.
        first = next(iter(str(error).strip().splitlines()), "")
        text = _cut(" ".join(first.split()).replace(str(aside), str(run)), _LONGEST_REASON)
        text = (
            f"found {type(error).__name__}: {text}; expected none. Mend the cause and run the same command "
            "again; the traceback is in failed.parquet."
        )
    tail = traceback.format_exception(error)[-_TRACEBACK_FRAMES:]
    return Failure(
        error_class=type(error).__name__,
        message=f"run {run.name}: {text}",
        traceback_tail="".join(tail)[-_LONGEST_TRACEBACK:],
    )


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[:longest]} ..."
