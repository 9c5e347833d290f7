"""The training loop, as each Ray Train worker runs it.

examples of my slots -> L1 on epsilon -> DDP mean -> Adam -> EMA -> every N steps: checkpoint
"""

import json
import math
import os
import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from factory.intensity import HuWindow
from jobs.train.config import TrainConfig
from jobs.train.examples import Examples
from models.checkpoint import save_checkpoint
from models.ddpm import eps_l1_loss
from models.ema import Ema
from models.schedule import NoiseSchedule
from models.unet3d import UNet3D

STATE, MODEL = "state.pt", "model"
"""In a checkpoint's folder: what training goes on from, and the averaged model."""

METRICS = "metrics.jsonl"


@dataclass(frozen=True, kw_only=True, slots=True)
class LoopSettings:
    """What a worker needs to know; small and plain, for Ray carries it."""

    config: TrainConfig
    cases_url: str
    image_paths: list[str]
    """Volumes of the training cases, inside the store."""
    ingest: dict[str, Any]
    """How the cases were brought to the grid; kept in the checkpoint."""
    run_dir: str
    """Where rank 0 appends `metrics.jsonl`."""
    notes: dict[str, Any]
    """For the model card."""
    num_threads: int = 1
    """CPU threads of a worker that has no GPU."""


@dataclass(slots=True)
class _Training:
    model: nn.Module
    ema: Ema
    optimizer: torch.optim.Optimizer
    autocasts: bool
    """Whether the network computes in bfloat16."""
    step: int = 0
    """Steps taken; the next one is number `step`."""


def train_loop(loop_config: dict[str, LoopSettings]) -> None:
    """Train from the newest checkpoint, or from the start, to the last step."""
    import ray.train
    import ray.train.torch

    settings = loop_config["settings"]
    config = settings.config
    world, rank = _world_and_rank()
    device = ray.train.torch.get_device()
    if device.type == "cpu":
        torch.set_num_threads(settings.num_threads)
    training = _start(config, device)
    _resume(training)
    parallel = ray.train.torch.prepare_model(
        training.model,
        # No static_graph: DDP asserts when no_sync comes before the first exchange.
        parallel_strategy_kwargs={"gradient_as_bucket_view": True},
    )
    schedule = NoiseSchedule(config.schedule)
    examples = Examples(
        settings.cases_url,
        settings.image_paths,
        window=HuWindow(*config.hu_window),
        num_diffusion_steps=config.schedule.num_steps,
        seed=config.seed,
        batch_size=config.batch_size,
    )
    slots = range(rank, config.batch_size, world)
    if rank == 0:
        _end_torn_line(Path(settings.run_dir, METRICS))
    while training.step < config.steps:
        start = time.monotonic()
        loss = _step(training, parallel, schedule, examples, slots, world)
        training.step += 1
        if not math.isfinite(loss):
            raise FloatingPointError(
                f"step {training.step}: the loss is {loss}; expected a finite one. Lower learning_rate"
            )
        if rank == 0:
            _log(settings, training.step, loss, time.monotonic() - start)
        if training.step % config.checkpoint_every == 0 or training.step == config.steps:
            _report(training, schedule, settings, rank, loss)


def _start(config: TrainConfig, device: torch.device) -> _Training:
    # Each worker draws the same weights: DDP then has nothing to repair.
    torch.manual_seed(config.seed)
    model = UNet3D(config.model).to(device)
    model.activation_checkpointing = config.activation_checkpointing
    return _Training(
        model=model,
        ema=Ema(model, **asdict(config.ema)),
        optimizer=torch.optim.Adam(model.parameters(), lr=config.learning_rate),
        autocasts=config.precision == "bfloat16",
    )


def _resume(training: _Training) -> None:
    import ray.train

    checkpoint = ray.train.get_checkpoint()
    if checkpoint is None:
        return
    with checkpoint.as_directory() as folder:
        # To the CPU: Adam keeps its step counts there, and load_state_dict moves the rest.
        state = torch.load(Path(folder, STATE), map_location="cpu", weights_only=True)
    training.model.load_state_dict(state["model"])
    training.ema.load_state_dict(state["ema"])
    training.optimizer.load_state_dict(state["optimizer"])
    training.step = state["step"]


def _step(
    training: _Training,
    parallel: nn.Module,
    schedule: NoiseSchedule,
    examples: Examples,
    slots: range,
    world: int,
) -> float:
    """Take one optimizer step over this worker's slots; return the loss of the whole batch."""
    device = next(training.model.parameters()).device
    batch_size = examples.batch_size
    training.optimizer.zero_grad(set_to_none=True)
    total = torch.zeros((), device=device)
    for slot in slots:
        example = examples.example(training.step, slot)
        with _sync(parallel, last=slot == slots[-1]):
            with torch.autocast(device.type, dtype=torch.bfloat16, enabled=training.autocasts):
                loss = eps_l1_loss(
                    parallel,
                    schedule,
                    example.x_start.to(device),
                    example.condition.to(device),
                    example.t.to(device),
                    example.noise.to(device),
                )
            # DDP averages over workers; with this factor the average is the batch's mean.
            (loss * world / batch_size).backward()  # type: ignore[no-untyped-call]
        total += loss.detach() / batch_size
    training.optimizer.step()
    training.ema.update(training.step)
    return _sum_over_workers(total, world)


def _sync(parallel: nn.Module, *, last: bool) -> AbstractContextManager[None]:
    """Exchange gradients with the last slot only."""
    if isinstance(parallel, DistributedDataParallel) and not last:
        return parallel.no_sync()
    return nullcontext()


def _sum_over_workers(value: Tensor, world: int) -> float:
    if world > 1:
        torch.distributed.all_reduce(value)
    return float(value)


def _report(
    training: _Training,
    schedule: NoiseSchedule,
    settings: LoopSettings,
    rank: int,
    loss: float,
) -> None:
    """Hand a checkpoint to Ray Train; every rank must call this equally often."""
    import ray.train

    checkpoint = None
    if rank == 0:
        folder = mkdtemp(prefix="factory-train-")
        checkpoint = ray.train.Checkpoint.from_directory(folder)
        _write_checkpoint(Path(folder), training, schedule, settings)
    ray.train.report(
        {"step": training.step, "loss": loss},
        checkpoint=checkpoint,
        checkpoint_dir_name=f"step_{training.step:08d}",
        delete_local_checkpoint_after_upload=True,
    )


def _write_checkpoint(
    folder: Path, training: _Training, schedule: NoiseSchedule, settings: LoopSettings
) -> None:
    state = {
        "model": training.model.state_dict(),
        "ema": training.ema.state_dict(),
        "optimizer": training.optimizer.state_dict(),
        "step": training.step,
    }
    torch.save(state, folder / STATE)
    averaged = training.ema.module
    assert isinstance(averaged, UNet3D)
    config = settings.config
    save_checkpoint(
        folder / MODEL,
        averaged,
        schedule=schedule,
        preprocessing={"hu_window": list(config.hu_window), "ingest": settings.ingest},
        training={**settings.notes, "step": training.step},
    )


def _end_torn_line(metrics: Path) -> None:
    """A run that was killed can have left half a line: the next one begins on its own."""
    with metrics.open("a+b") as file:
        if file.tell():
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                file.write(b"\n")


def _log(settings: LoopSettings, step: int, loss: float, seconds: float) -> None:
    line = {
        "step": step,
        "loss": round(loss, 6),
        "lr": settings.config.learning_rate,
        "seconds": round(seconds, 4),
    }
    with Path(settings.run_dir, METRICS).open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def _world_and_rank() -> tuple[int, int]:
    import ray.train

    context = ray.train.get_context()
    return context.get_world_size(), context.get_world_rank()
