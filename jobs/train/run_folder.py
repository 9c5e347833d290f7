"""The folder of a run: whose it is, who may write there, and what is in it.

RUN/run.json        what the run was asked for; a rerun must ask the same
RUN/last.json       how many steps were asked for last, and the command that goes on
RUN/metrics.jsonl   a line a step
RUN/checkpoints/    what a rerun goes on from
RUN/samples/        pictures
RUN/tensorboard/    the lines and the pictures again
RUN/model/          the averaged model, when the last step is done
RUN/warnings.log    what workers had to say, each a line
RUN/ray/            Ray Train's own notes, while it runs
"""

import fcntl
import itertools
import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, TextIO

from factory.digests import digest_json
from factory.errors import StoreError
from factory.storage import Storage
from jobs.cases import CaseStore, digest_of
from jobs.claims import differences
from jobs.train.checkpoints import CHECKPOINTS, MODEL, RNG_POLICY, Checkpoint
from jobs.train.config import NOT_IDENTITY, TrainConfig
from models.card import read_model_card
from models.checkpoint import flush_to_disk

LAST_ASKED = "last.json"
RUN_FILE, METRICS, WARNINGS, RAY = "run.json", "metrics.jsonl", "warnings.log", "ray"

_LOCK, _WRITER_LOCK = ".lock", ".writer.lock"
_SECONDS_FOR_A_WRITER_TO_END = 120.0
_EARLIER_STORAGE = "train"
"""Under RUN/ray, where earlier builds left their checkpoints."""


def asked_of(config: TrainConfig, store: CaseStore, crops_digest: str | None) -> dict[str, Any]:
    """Return all that makes the model of a run, as plain JSON."""
    asked = _identity(config)
    # In the order of training: a slot of a step is told its case by its place.
    asked["cases_digest"] = digest_json([digest_of(row) for row in store.training_rows()])
    if crops_digest:
        asked["crops_digest"] = crops_digest
    return asked


def claim(run: Path, asked: Mapping[str, Any]) -> None:
    """Make the run this one's, or refuse with the difference; for who holds it `alone`.

    One that never came to a checkpoint is made this one's whatever it was asked for.

    Raises:
        StoreError: It was asked for differently before, or by an earlier build.
    """
    file = run / RUN_FILE
    if file.exists() and _has_begun(run):
        check_claim(run, asked)
        return
    aside = file.with_suffix(f".{os.getpid()}.unfinished")
    aside.write_text(json.dumps(asked, indent=1), encoding="utf-8")
    aside.replace(file)


def check_claim(run: Path, asked: Mapping[str, Any]) -> None:
    """Refuse a run that was asked for differently; writes nothing.

    Raises:
        StoreError: It was asked for differently before, or by an earlier build.
    """
    file = run / RUN_FILE
    if not file.exists() or not _has_begun(run):
        return
    if changed := differences(_with_defaults(_read_run(file)), asked):
        raise StoreError(
            f"run {run}: asked for differently before ({'; '.join(changed)}); expected the same "
            "recipe, cases and nodules. Choose another --out, go back to those of the run, or start "
            "anew with --fresh."
        )
    if (run / RAY / _EARLIER_STORAGE).exists() and not (run / CHECKPOINTS).exists():
        raise StoreError(
            f"run {run}: found checkpoints of an earlier build in {RAY}/{_EARLIER_STORAGE}, which this "
            f"one does not read; expected {CHECKPOINTS}/. Go on with that build, choose another --out, "
            "or start anew with --fresh."
        )


def check_checkpoint(checkpoint: Checkpoint, asked: Mapping[str, Any]) -> None:
    """Refuse a checkpoint that would go on as another run.

    Raises:
        StoreError: It is of another recipe or other cases, or drew its noise by another scheme.
    """
    rng = checkpoint.record.get("rng")
    if rng != RNG_POLICY:
        raise StoreError(
            f"checkpoint {checkpoint.folder}: draws its randomness as {rng!r}; this build as "
            f"{RNG_POLICY!r}, and would not go on as it began. Go on with the build that wrote it, or "
            "start anew with --fresh."
        )
    found = _with_defaults(checkpoint.record.get("asked", {}))
    if changed := differences(found, asked):
        raise StoreError(
            f"checkpoint {checkpoint.folder}: is of another run ({'; '.join(changed)}); expected one "
            "that this run wrote. Remove it, or start anew with --fresh."
        )


def keep_last_asked(run: Path, steps: int, command: str) -> None:
    """Note how many steps were asked for last, and with which command; it informs people alone."""
    Storage(run).write_json(LAST_ASKED, {"steps": steps, "command": command})


def last_asked(run: Path) -> tuple[int, str] | None:
    """Return what `keep_last_asked` noted; None where there is none, or it is torn."""
    try:
        found = Storage(run).read_json(LAST_ASKED)
        return int(found["steps"]), str(found["command"])
    except (OSError, LookupError, TypeError, ValueError):
        return None


def set_aside(run: Path, file: str = RUN_FILE) -> Path | None:
    """Move a run out of the way, as RUN.old-1 or the next free number; return where it is now.

    Args:
        run: Folder of the run.
        file: In it, what tells that it is one.

    Raises:
        StoreError: A process trains into it, or it is no run.
    """
    if not run.is_dir() or not any(run.iterdir()):
        return None
    if not (run / file).exists():
        raise StoreError(
            f"--fresh {run}: found a folder without {file}, which no training made; expected an "
            "earlier run, to set it aside. Choose another --out."
        )
    names = (run.with_name(f"{run.name}.old-{number}") for number in itertools.count(1))
    old = next(name for name in names if not name.exists())
    # A worker whose driver was killed writes by path: into the new run, if it were still there.
    with alone(run), only_writer(run):
        return run.rename(old)


@contextmanager
def alone(run: Path) -> Iterator[None]:
    """Hold a run for this process; the lock ends with the process, however it ends.

    Raises:
        StoreError: Another process holds it.
    """
    run.mkdir(parents=True, exist_ok=True)
    with (run / _LOCK).open("w") as lock:
        if not _locked(lock, run):
            raise StoreError(
                f"run {run}: another process trains into it; expected none. Wait for it, or choose "
                "another --out."
            )
        yield


@contextmanager
def only_writer(run: Path) -> Iterator[None]:
    """Hold a run for this worker: one whose driver was killed may still be about to end.

    Raises:
        StoreError: Another worker has not ended in two minutes.
    """
    deadline = time.monotonic() + _SECONDS_FOR_A_WRITER_TO_END
    with (run / _WRITER_LOCK).open("w") as lock:
        while not _locked(lock, run):
            if time.monotonic() > deadline:
                raise StoreError(
                    f"run {run}: a worker of an earlier attempt still writes into it; expected it to "
                    "end with its driver. End it, and run the same command again."
                )
            time.sleep(0.1)
        yield


def warn_in(run: Path, text: str) -> None:
    """Leave a warning for the driver to show: what a worker prints does not reach the user."""
    with (run / WARNINGS).open("a", encoding="utf-8") as file:
        file.write(f"{text}\n")


def publish(trained: Path, run: Path) -> None:
    """Put the trained model in its place, whole or not at all."""
    model = run / MODEL
    aside = model.with_name(f".{model.name}.unfinished")
    old = model.with_name(f".{model.name}.old")
    for left in (aside, old):
        shutil.rmtree(left, ignore_errors=True)
    shutil.copytree(trained, aside)
    for written in (*aside.iterdir(), aside):
        flush_to_disk(written)
    if model.exists():
        model.rename(old)
    aside.rename(model)
    flush_to_disk(run)
    shutil.rmtree(old, ignore_errors=True)


def steps_done(run: Path) -> int:
    """Return the steps of the published model; 0 where there is none."""
    if not (run / MODEL).exists():
        return 0
    step = read_model_card(run / MODEL).training["step"]
    assert isinstance(step, int)
    return step


def _locked(lock: TextIO, run: Path) -> bool:
    """Take a lock if no other process has it; the system takes it back when this one ends."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        raise StoreError(
            f"run {run}: its file system has no locks ({error}); expected one that keeps a second "
            "process out. Mount it with them (Lustre: -o flock), or choose another --out."
        ) from error
    return True


def _has_begun(run: Path) -> bool:
    """Return whether there is anything that another recipe must not go on with."""
    return (
        (run / MODEL).exists()
        or any((run / CHECKPOINTS).glob("step_*"))
        or (run / RAY / _EARLIER_STORAGE).exists()
    )


def _identity(config: TrainConfig) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(json.dumps(asdict(config)))
    return {key: value for key, value in plain.items() if key not in NOT_IDENTITY}


def _with_defaults(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a run was asked for by a build that knew fewer settings, in today's."""
    known = {key: value for key, value in found.items() if key not in NOT_IDENTITY}
    return _filled(known, _identity(TrainConfig()))


def _filled(found: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    filled = {**defaults, **found}
    for key, default in defaults.items():
        if isinstance(default, Mapping) and isinstance(filled[key], Mapping):
            filled[key] = _filled(filled[key], default)
    return filled


def _read_run(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise StoreError(
            f"run {file.parent}: {RUN_FILE} is not JSON ({error}). Choose another --out, or start anew "
            "with --fresh."
        ) from error
    if not isinstance(found, dict):
        raise StoreError(
            f"run {file.parent}: {RUN_FILE} holds a {type(found).__name__}; expected an object. Choose "
            "another --out, or start anew with --fresh."
        )
    return found
