"""A run's checkpoints: written whole or not at all, and gone on from only where whole.

RUN/checkpoints/step_00001000/state.pt       what training goes on from
                              model/         the averaged model, in `models.checkpoint`'s format
                              state.json     step, validation loss, sha256 of every other file
                .step_00001000.unfinished/   one that is being written
                step_00001000.torn/          one that was passed over
"""

import json
import math
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from factory.counted import counted
from factory.digests import sha256_of_file
from models.checkpoint import flush_to_disk

CHECKPOINTS, STATE, RECORD, MODEL = "checkpoints", "state.pt", "state.json", "model"

RNG_POLICY = "sha256(seed stream step slot), no state"
"""How everything random in a step is drawn; another text means that the same steps would see
something else."""

_NAME = re.compile(r"step_(\d{8,})")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """One whole checkpoint."""

    folder: Path
    step: int
    """Steps taken; the next one is number `step`, counted from 0."""
    record: dict[str, Any]
    """What `state.json` says."""

    @property
    def model(self) -> Path:
        """The averaged model, as `models.checkpoint` reads it."""
        return self.folder / MODEL

    def state(self) -> dict[str, Any]:
        """Return what `write` was given, on the CPU."""
        # Adam's step counts may lie there whatever the device; load_state_dict moves the rest.
        found: dict[str, Any] = torch.load(
            self.folder / STATE, map_location="cpu", weights_only=True
        )
        return found


def write(
    run: Path,
    step: int,
    state: Mapping[str, Any],
    record: Mapping[str, Any],
    save_model: Callable[[Path], object],
) -> Checkpoint:
    """Write a checkpoint: aside, flushed to the disk, then under its name.

    Args:
        run: Folder of the run.
        step: Steps taken.
        state: Tensors and plain values.
        record: Plain JSON, for people and for `newest_whole`.
        save_model: Writes the averaged model to the folder that it is given.

    Raises:
        OSError: It cannot be written: the disk is full, say. Nothing of it is left.
    """
    folder = _folder(run, step)
    aside = _unfinished(folder)
    for left in aside.parent.glob(".*.unfinished"):
        shutil.rmtree(left)
    aside.mkdir(parents=True)
    try:
        with (aside / STATE).open("wb") as file:
            torch.save(dict(state), file)
        save_model(aside / MODEL)
        whole = {**record, "step": step, "sha256": _digests(aside)}
        text = json.dumps(whole, indent=1, allow_nan=False)
        (aside / RECORD).write_text(text, encoding="utf-8")
        for name in (STATE, RECORD, "."):
            flush_to_disk(aside / name)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
    shutil.rmtree(folder, ignore_errors=True)
    aside.rename(folder)
    flush_to_disk(folder.parent)
    return Checkpoint(folder, step, whole)


def newest_whole(run: Path, warn: Callable[[str], None]) -> Checkpoint | None:
    """Return the newest checkpoint all of whose files are what they were when written.

    Those that are not are passed over and set aside, each with a warning that names it.
    """
    folders = _folders(run)
    for step in sorted(folders, reverse=True):
        checkpoint, problem = _read(folders[step], step)
        if checkpoint:
            return checkpoint
        torn = _set_aside(folders[step])
        warn(f"warning: checkpoint {folders[step]} is torn ({problem}); passed over, now {torn}")
    if folders:
        warn(
            f"warning: run {run}: none is whole of {counted(len(folders), 'checkpoint')}; training starts "
            "from the first step"
        )
    return None


def read_checkpoint(run: Path, step: int) -> Checkpoint:
    """Return a checkpoint that `newest_whole` has found whole, without checking it again."""
    folder = _folder(run, step)
    return Checkpoint(folder, step, _record(folder))


def newest_step(run: Path) -> int:
    """Return the step of the newest checkpoint by its name, whole or not; 0 where there is none."""
    return max(_folders(run), default=0)


def prune(run: Path, num_kept: int) -> None:
    """Remove all checkpoints but the newest `num_kept` and the best."""
    folders = _folders(run)
    kept = set(sorted(folders)[-num_kept:]) | {best_step(run)}
    for step in folders.keys() - kept:
        # Under another name first: half a checkpoint would pass for a torn one.
        shutil.rmtree(folders[step].rename(_unfinished(folders[step])), ignore_errors=True)


def best_step(run: Path) -> int | None:
    """Return the step of the lowest validation loss; None where none was measured.

    Losses compare within one set of probes: those of the newest checkpoint that has any.
    """
    records = [_record(folder) for _, folder in sorted(_folders(run).items())]
    measured = [record for record in records if _is_number(record.get("val_loss"))]
    if not measured:
        return None
    alike = [record for record in measured if record.get("probes") == measured[-1].get("probes")]
    return int(min(alike, key=lambda record: float(record["val_loss"]))["step"])


def model_of(run: Path, step: int) -> Path:
    """Return where the averaged model of a checkpoint lies."""
    return _folder(run, step) / MODEL


def _folder(run: Path, step: int) -> Path:
    return run / CHECKPOINTS / f"step_{step:08d}"


def _folders(run: Path) -> dict[int, Path]:
    named = ((_NAME.fullmatch(path.name), path) for path in (run / CHECKPOINTS).glob("step_*"))
    return {int(match[1]): path for match, path in named if match}


def _read(folder: Path, step: int) -> tuple[Checkpoint | None, str]:
    """Return the checkpoint, or None and what is wrong with it."""
    record = _record(folder)
    digests = record.get("sha256")
    if record.get("step") != step or not isinstance(digests, dict) or STATE not in digests:
        return None, f"{RECORD} is missing, half, or another's"
    for name, digest in digests.items():
        if not (folder / name).is_file():
            return None, f"{name} is missing"
        if sha256_of_file(folder / name) != digest:
            return None, f"{name} ({(folder / name).stat().st_size} bytes) has another sha256"
    return Checkpoint(folder, step, record), ""


def _record(folder: Path) -> dict[str, Any]:
    """Return what `state.json` says; nothing where it is missing or half."""
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def _unfinished(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.unfinished")


def _set_aside(folder: Path) -> Path:
    torn = folder.with_name(f"{folder.name}.torn")
    shutil.rmtree(torn, ignore_errors=True)
    return folder.rename(torn)


def _digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): sha256_of_file(path) for path in files}


def _is_number(value: Any) -> bool:
    return isinstance(value, float | int) and math.isfinite(value)
