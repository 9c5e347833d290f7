"""What a training would be and cost, without writing anything."""

import json
import math
import os
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

import torch

from factory.counted import counted
from jobs.cases import CaseStore
from jobs.cluster import Cluster
from jobs.train.config import TrainConfig
from jobs.train.pace import StepTime, free_bytes, step_time
from jobs.train.workers import NumWorkers, fitting_workers, most_of, room_for_workers
from models.engine import Precision
from models.footprint import Footprint, training_footprint
from models.schedule import NoiseSchedule
from models.unet3d import UNet3D

_COPIES_IN_A_CHECKPOINT = 5
"""Weights, Adam's two moments, the average, and the average again as a model."""


def describe(
    config: TrainConfig,
    store: CaseStore,
    *,
    recipe: str = "",
    device: str = "auto",
    num_workers: NumWorkers | None = None,
    steps_done: int = 0,
    ray_address: str | None = None,
) -> str:
    """Return the resolved recipe and what it costs, as text; nothing is written to disk.

    The text is a recipe too: saved as TOML, it asks for this very training.

    Args:
        config: The recipe; its grid is the store's.
        store: Cases to train on.
        recipe: What the recipe is called.
        device: `auto`, `cpu` or `cuda`; where this machine has no GPU, its CPU is timed.
        num_workers: As asked for; None takes those that `train` would. On a CPU they share its cores.
        steps_done: Steps that the run has taken already.
        ray_address: Cluster to train on, which is not asked; None is one of this machine.

    Raises:
        ClusterError: This machine has not the workers or the device that were asked for.
    """
    workers = _planned_workers(config, num_workers, device, ray_address)
    wants_gpu = device != "cpu"
    place = torch.device("cuda" if wants_gpu and torch.cuda.is_available() else "cpu")
    network = _network(config)
    weight_bytes = sum(weight.nbytes for weight in network.parameters())
    footprint = _footprint(config)
    # On a CPU workers share the cores: together they are as fast as one.
    slots = math.ceil(config.batch_size / (1 if place.type == "cpu" else workers))
    pace = step_time(config, footprint, place, slots)
    comments = [
        f"{f'Recipe {recipe}' if recipe else 'The recipe'}, resolved. Nothing was written.",
        *_cases(store, config),
        "",
        *_costs(config, sum(weight.numel() for weight in network.parameters()), weight_bytes),
        *_memory(config, footprint, place, workers),
        *_duration(config, pace, place, workers, steps_done),
        *_assumption(num_workers, workers, ray_address),
    ]
    head = "\n".join(f"# {line}".rstrip() for line in comments)
    return f"{head}\n\n{resolved_toml(config)}"


def resolved_toml(config: TrainConfig) -> str:
    """Return every setting as TOML; what differs from the default is marked with it."""
    return "\n".join(_table("train", config, TrainConfig()))


def _planned_workers(
    config: TrainConfig, asked: NumWorkers | None, device: str, ray_address: str | None
) -> int:
    """Return the most workers that would train, without starting Ray."""
    if ray_address and asked is not None:
        return most_of(asked)
    num_gpus = torch.cuda.device_count()
    here = Cluster(num_cpus=os.cpu_count() or 1, num_gpus=num_gpus, is_local=True)
    # What this machine lacks, a cluster that it joins may have.
    use_gpu = here.use_gpu("auto" if ray_address and device == "cuda" else device)
    workers = fitting_workers(here, asked, batch_size=config.batch_size, use_gpu=use_gpu)
    return min(most_of(workers), room_for_workers(here, use_gpu=use_gpu))


def _table(name: str, config: Any, defaults: Any) -> Iterator[str]:
    yield f"[{name}]"
    inner = []
    for setting in fields(config):
        value, default = getattr(config, setting.name), getattr(defaults, setting.name)
        if is_dataclass(value):
            inner.append((f"{name}.{setting.name}", value, default))
            continue
        mark = "" if value == default else f"  # default {_toml(default)}"
        yield f"{setting.name} = {_toml(value)}{mark}"
    for table in inner:
        yield ""
        yield from _table(*table)


def _toml(value: Any) -> str:
    # JSON writes what TOML reads: strings, lists, true and false; no setting is null.
    return json.dumps(value)


def _network(config: TrainConfig) -> UNet3D:
    with torch.device("meta"):
        return UNet3D(config.model, NoiseSchedule(config.schedule))


def _footprint(config: TrainConfig) -> Footprint:
    precision: Precision = "bfloat16" if config.precision == "bfloat16" else "float32"
    return training_footprint(
        config.model,
        precision=precision,
        activation_checkpointing=config.activation_checkpointing,
    )


def _cases(store: CaseStore, config: TrainConfig) -> Iterator[str]:
    num_training = len(store.training_rows())
    num_validation = sum(row["split"] == "val" for row in store.rows)
    yield (
        f"{num_training} training and {num_validation} validation cases of {store.grid}^3 voxels in "
        f"{store.url}; each is seen {_times(config.steps * config.batch_size / num_training)} times."
    )


def _costs(config: TrainConfig, num_weights: int, weight_bytes: int) -> Iterator[str]:
    checkpoint = _COPIES_IN_A_CHECKPOINT * weight_bytes
    # Beside those that are kept, one is being written.
    num_kept = config.num_checkpoints + (config.num_probes > 0)
    most = (num_kept + 1) * checkpoint + weight_bytes
    yield f"parameters: {num_weights / 1e6:.2f} million"
    yield (
        f"disk: {_gb(checkpoint)} a checkpoint, every {config.checkpoint_every} steps; with "
        f"{num_kept} of them and the model the run takes up to {_gb(most)}, pictures aside"
    )


def _memory(
    config: TrainConfig, footprint: Footprint, device: torch.device, num_workers: int
) -> Iterator[str]:
    yield (
        f"memory of a worker: {_gb(footprint.total_bytes)}, {_gb(footprint.state_bytes)} of it "
        "weights, gradients, Adam and average (estimated; volumes go through one at a time)"
    )
    needed, free = footprint.total_bytes, free_bytes(device)
    if device.type == "cpu":
        needed *= num_workers
    if needed > free:
        advice = "" if config.activation_checkpointing else "activation_checkpointing, "
        yield (
            f"warning: {_gb(free)} are free on this {device.type}. Try {advice}"
            "a smaller grid or fewer channels."
        )


def _duration(
    config: TrainConfig, pace: StepTime, device: torch.device, num_workers: int, steps_done: int
) -> Iterator[str]:
    exchange = "; what they exchange is not counted" if num_workers > 1 else ""
    left = max(0, config.steps - steps_done)
    yield (
        f"speed: {3600 / pace.seconds:,.0f} steps an hour, {pace.seconds:.3g} s each, with "
        f"{_workers(num_workers)} on {device.type} ({pace.how}{exchange})"
    )
    yield f"last step: number {config.steps}, {_span(left * pace.seconds)} from {_start(steps_done)}"


def _assumption(asked: NumWorkers | None, workers: int, ray_address: str | None) -> Iterator[str]:
    """Say what is not known of a cluster that is only named."""
    if ray_address is None:
        return
    assumed = "it has the GPUs of this machine" if asked is None else "there is room for them"
    yield (
        f"assumed: the cluster at {ray_address} was not asked; {_workers(workers)}, as if {assumed}. "
        "Memory and speed are those of this machine."
    )


def _workers(number: int) -> str:
    return counted(number, "worker")


def _start(steps_done: int) -> str:
    return f"step {steps_done}" if steps_done else "the start"


def _gb(num_bytes: float) -> str:
    return f"{num_bytes / 1e9:.2f} GB"


def _span(seconds: float) -> str:
    for unit, length in (("days", 86_400.0), ("hours", 3600.0), ("minutes", 60.0)):
        if seconds >= length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.0f} seconds"


def _times(number: float) -> str:
    return f"{number:,.1f}".removesuffix(".0")
