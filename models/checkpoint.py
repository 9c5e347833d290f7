"""A checkpoint: one directory that holds all that sampling depends on, under one digest.

weights.safetensors    the denoiser's tensors, float32 as trained or float16 to be small
model.json             architecture, schedule, preprocessing, digest, and notes on the training
"""

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from models.card import (
    CARD_NAME,
    WAY_OUT,
    WEIGHTS_NAME,
    ModelCard,
    existing_file,
    identity_of,
    read_model_card,
    torn,
)
from models.errors import CheckpointError
from models.schedule import NoiseSchedule
from models.unet3d import UNet3D


@dataclass(frozen=True, kw_only=True, slots=True)
class Checkpoint:
    """A denoiser that is ready to sample from."""

    denoiser: UNet3D
    """The network, in eval mode."""

    schedule: NoiseSchedule
    """The schedule that it was trained with."""

    card: ModelCard
    """What the checkpoint says about itself."""


def save_checkpoint(
    path: str | os.PathLike[str],
    denoiser: UNet3D,
    *,
    schedule: NoiseSchedule,
    preprocessing: Mapping[str, object],
    training: Mapping[str, object],
    dtype: torch.dtype | None = None,
) -> str:
    """Write a checkpoint directory and return its digest.

    It is written beside `path` and renamed, so a kill never leaves half a directory under the
    final name. An earlier checkpoint of that name is set aside first and deleted last: killed
    in between, `.NAME.old-*` is still whole beside it.

    Args:
        path: Directory to make; an earlier checkpoint there is replaced.
        denoiser: The network, not its data-parallel wrapper; usually the EMA's copy.
        schedule: The schedule that it was trained with.
        preprocessing: Window, grid, spacing: plain JSON that sampling must repeat.
        training: Steps, recipe and the like: plain JSON.
        dtype: What weights are stored in, as `torch.float16` for half the bytes; None keeps theirs.
            Loaded, they are float32 again, of the values that were stored.

    Raises:
        CheckpointError: `path` exists and is no checkpoint.
        OSError: It cannot be written: the disk is full, say.
        TypeError: `preprocessing` or `training` is not plain JSON.
        ValueError: `preprocessing` or `training` holds a number that is not finite.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    path = Path(path)
    _check_replaceable(path)
    weights = dict(denoiser.named_parameters())
    tensors = {
        name: value.detach().to("cpu", dtype if name in weights else None)
        for name, value in denoiser.state_dict().items()
    }
    # Through JSON and back, so that a key that is a number sorts as it will when read.
    plain = json.loads(json.dumps(dict(preprocessing), allow_nan=False))
    identity = identity_of(denoiser.config, schedule.config, plain)
    digest = _digest(identity, tensors)
    card = {**identity, "digest": digest, "training": dict(training)}
    text = json.dumps(card, indent=2, allow_nan=False) + "\n"
    partial = _sibling(path, "tmp")
    partial.mkdir(parents=True)
    try:
        try:
            save_file({k: v.contiguous() for k, v in tensors.items()}, partial / WEIGHTS_NAME)
        except SafetensorError as error:
            # Its library has one error for all, and the disk is what fails.
            raise OSError(f"{path / WEIGHTS_NAME} cannot be written: {error}") from error
        (partial / CARD_NAME).write_text(text, encoding="utf-8")
        for written in (partial / WEIGHTS_NAME, partial / CARD_NAME, partial):
            flush_to_disk(written)
        _put_in_place(partial, path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return digest


def load_checkpoint(
    path: str | os.PathLike[str],
    device: str | torch.device = "cpu",
    expect_digest: str | None = None,
) -> Checkpoint:
    """Load a checkpoint and verify its digest.

    Args:
        path: Directory that `save_checkpoint` made.
        device: Where the network goes.
        expect_digest: The digest that a plan or a manifest names; another one is an error.

    Raises:
        CheckpointError: Something is missing, torn, of another format, or has another digest.
    """
    path = Path(path)
    card = read_model_card(path)
    if expect_digest is not None and card.digest != expect_digest:
        raise CheckpointError(
            f"checkpoint {path}: its digest is {card.digest} but {expect_digest} was expected. "
            "Give the checkpoint that this work was planned with, or plan it anew"
        )
    tensors = _read_tensors(path)
    with torch.device("meta"):
        denoiser = UNet3D(card.unet, NoiseSchedule(card.schedule))
    _check_tensors(path, tensors, denoiser.state_dict())
    found = _digest(identity_of(card.unet, card.schedule, card.preprocessing), tensors)
    if found != card.digest:
        raise CheckpointError(
            f"checkpoint {path}: its contents have digest {found} but {CARD_NAME} says "
            f"{card.digest}; it was altered after it was written. {WAY_OUT}"
        )
    # Copied, not assigned: the tensors that were read may be a map of the file.
    denoiser.to_empty(device=device).load_state_dict(tensors)
    return Checkpoint(denoiser=denoiser.eval(), schedule=NoiseSchedule(card.schedule), card=card)


def flush_to_disk(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _digest(identity: Mapping[str, object], tensors: Mapping[str, Tensor]) -> str:
    sha = hashlib.sha256()
    sha.update(_canonical(identity))
    for name, tensor in sorted(tensors.items()):
        dtype = str(tensor.dtype).removeprefix("torch.")
        sha.update(_canonical([name, dtype, list(tensor.shape)]))
        sha.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return sha.hexdigest()


def _canonical(value: object) -> bytes:
    # The line break ends each text, so that no two different sequences hash alike.
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return text.encode() + b"\n"


def _check_replaceable(path: Path) -> None:
    is_ours = path.is_dir() and ((path / CARD_NAME).is_file() or not any(path.iterdir()))
    if path.exists() and not is_ours:
        raise CheckpointError(
            f"checkpoint {path}: something else is there already; expected nothing, or an earlier "
            f"checkpoint (a directory with {CARD_NAME}) to replace. Give another path"
        )


def _put_in_place(partial: Path, path: Path) -> None:
    earlier = _sibling(path, "old")
    if path.exists():
        path.rename(earlier)
    try:
        partial.rename(path)
    except OSError:
        if earlier.exists():
            earlier.rename(path)
        raise
    flush_to_disk(path.parent)
    shutil.rmtree(earlier, ignore_errors=True)


def _sibling(path: Path, role: str) -> Path:
    return path.parent / f".{path.name}.{role}-{uuid.uuid4().hex[:12]}"


def _read_tensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    weights = existing_file(path, WEIGHTS_NAME)
    try:
        return load_file(weights, device="cpu")
    except SafetensorError as error:
        raise torn(weights, error) from error


def _check_tensors(path: Path, found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    problems = {
        "missing": sorted(expected.keys() - found.keys()),
        "unexpected": sorted(found.keys() - expected.keys()),
        "of another shape": [
            f"{name} {tuple(found[name].shape)} instead of {tuple(expected[name].shape)}"
            for name in sorted(expected.keys() & found.keys())
            if found[name].shape != expected[name].shape
        ],
    }
    listed = [
        f"{len(names)} {problem} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"
        for problem, names in problems.items()
        if names
    ]
    if listed:
        raise CheckpointError(
            f"checkpoint {path}: {WEIGHTS_NAME} does not fit the architecture in {CARD_NAME}, "
            f"which has {len(expected)} tensors: {'; '.join(listed)}. {WAY_OUT}"
        )
