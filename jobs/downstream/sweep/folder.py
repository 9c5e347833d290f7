"""The folder of a sweep: whose it is, and which of its runs are finished.

SWEEP/sweep.json                          what all runs share; a rerun must ask the same
SWEEP/runs/<mix>-s<seed>-f<fold>/         a finished run: it appears whole, or not at all
SWEEP/runs/.unfinished/<process>/         what a process works on
SWEEP/failed.parquet                      runs that could not be finished, and why
"""

import fcntl
import itertools
import re
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from factory.counted import counted
from factory.errors import StoreError, UsageError
from factory.storage import Storage
from jobs.claims import differences, names_in
from jobs.downstream.claims import RUNS, SWEEP_FILE, read_claim, refuse_inside
from jobs.downstream.config import DownstreamConfig
from jobs.downstream.identity import check_run, identity_of
from jobs.downstream.plan import Plan, make_spec
from jobs.downstream.results import RESULT, Run, read_run
from jobs.downstream.sweep.mixes import mix_of, volumes_of

FAILED = "failed.parquet"
FORMAT = 1

_UNFINISHED, _LOCK = ".unfinished", ".lock"
_RUN_NAME = re.compile(r"(?P<label>.+)-s(?P<seed>\d{1,19})-f(?P<fold>\d{1,9})", re.ASCII)


def asked_of(plan: Plan, config: DownstreamConfig) -> dict[str, Any]:
    """Return what all runs of a sweep share, as plain JSON: mixes and seeds may be added later."""
    return {
        "format": FORMAT,
        "manifest": plan.digest,
        "folds": len(plan.folds),
        "downstream": identity_of(config),
    }


def claim(sweep: Path, asked: Mapping[str, Any]) -> None:
    """Make the folder this sweep's, or refuse with the difference.

    Raises:
        StoreError: It has somebody's own files, lies in another's, or has runs that were asked for differently.
    """
    file = sweep / SWEEP_FILE
    refuse_inside(sweep)
    if not file.exists():
        _check_empty(sweep)
        # Of two sweeps that begin at once one makes it, and the other compares.
        Storage(sweep).create_json(SWEEP_FILE, asked)
    found = read_claim(file, what="sweep", way_out="Choose another --out.")
    if changed := differences(found, asked):
        raise StoreError(
            f"sweep {sweep}: asked for differently before ({'; '.join(changed)}); expected the same "
            "manifest, settings and folds: more mixes and seeds may be added, and nothing else. Choose "
            "another --out, or go back to what the sweep has."
        )


def is_finished(run: Path) -> bool:
    """Tell whether a run is there."""
    return (run / RESULT).is_file()


def finished(sweep: Path) -> list[Path]:
    """Return the finished runs, by name."""
    return sorted(run for run in (sweep / RUNS).glob("[!.]*") if is_finished(run))


def labels_of(sweep: Path) -> list[str]:
    """Return the labels of the mixes that have a finished run."""
    names = (_RUN_NAME.fullmatch(run.name) for run in finished(sweep))
    return list(dict.fromkeys(name["label"] for name in names if name))


def read_runs(sweep: Path, plan: Plan, config: DownstreamConfig) -> list[Run]:
    """Read the finished runs, by name, each compared with what the sweep would do under its name.

    Raises:
        StoreError: One is torn, or is no run of this sweep.
    """
    return [_read_checked(folder, plan, config) for folder in finished(sweep)]


def set_torn_aside(sweep: Path, name: str) -> Path:
    """Rename a file that cannot be read; return what it is called now."""
    names = (sweep / f"{name}.torn-{number}" for number in itertools.count(1))
    aside = next(one for one in names if not one.exists())
    return (sweep / name).rename(aside)


def run_name(label: str, seed: int, fold: int) -> str:
    """Return what the folder of a run is called."""
    return f"{label}-s{seed}-f{fold}"


@contextmanager
def working(sweep: Path) -> Iterator[Path]:
    """Make a folder for what this process works on, and remove it in the end.

    What killed processes left is removed too, where nobody else works on the sweep.
    """
    above = sweep / RUNS / _UNFINISHED
    above.mkdir(parents=True, exist_ok=True)
    own = above / uuid.uuid4().hex[:12]
    with (sweep / _LOCK).open("w") as lock:
        # A file system without locks keeps what was left: it is only in the way of nobody.
        with suppress(OSError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for left in list(above.iterdir()):
                _remove(left)
        with suppress(OSError):
            fcntl.flock(lock, fcntl.LOCK_SH)
        own.mkdir()
        try:
            yield own
        finally:
            _remove(own)


def publish(aside: Path, run: Path) -> None:
    """Put a finished run in its place; where another process was first, its run stays."""
    if run.exists() and not is_finished(run):
        shutil.rmtree(run)
    try:
        aside.rename(run)
    except OSError:
        if not is_finished(run):
            raise
        shutil.rmtree(aside)


def _read_checked(folder: Path, plan: Plan, config: DownstreamConfig) -> Run:
    run = read_run(folder)
    way_out = "Remove the folder of the run, and run the same command again."
    found = _RUN_NAME.fullmatch(folder.name)
    mix = mix_of(found["label"]) if found else None
    seed, number = (int(found["seed"]), int(found["fold"])) if found else (0, 0)
    if mix is None or number >= len(plan.folds) or run_name(mix.label, seed, number) != folder.name:
        raise StoreError(
            f"run {folder}: found a folder whose name is no run's of this sweep; expected a mix, a seed and a "
            f"fold, as real-1-s0-f0, of {len(plan.folds)} folds. {way_out}"
        )
    fold = plan.folds[number]
    try:
        train = volumes_of(mix, fold)
        spec = make_spec(
            plan, fold, config, out=str(folder), seed=seed, label=mix.label, train=train
        )
    except UsageError as error:
        raise StoreError(
            f"run {folder}: found a run that this sweep could not do ({error}); expected its own alone. {way_out}"
        ) from error
    check_run(run, spec, train, fold.test, way_out=way_out)
    return run


def _remove(folder: Path) -> None:
    # By another name first: a worker that has outlived its driver then finds nothing, and cannot put
    # what is half removed in a run's place.
    with suppress(OSError):
        shutil.rmtree(folder.rename(folder.with_name(uuid.uuid4().hex)), ignore_errors=True)


def _check_empty(sweep: Path) -> None:
    found = names_in(sweep)
    if found and not (sweep / SWEEP_FILE).exists():
        raise StoreError(
            f"--out {sweep}: found {counted(len(found), 'file or folder', 'files or folders')} of no sweep, as {found[0]}; expected "
            "a sweep, an empty folder or none. Choose another --out."
        )
