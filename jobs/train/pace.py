"""How long a training step takes on this machine: timed where that is quick, estimated elsewhere."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch.nn import functional as F

from factory.layouts import LABELS
from jobs.train.config import TrainConfig
from jobs.train.examples import Example
from jobs.train.steps import start_training, take_step
from models.footprint import Footprint, forward_flops
from models.schedule import NoiseSchedule

_PASSES = 3
"""A backward pass is worth two forward ones."""

_SHARE_OF_MATRIX_RATE = 0.4
"""Of a matrix product's operations a second, what the network reaches while it trains."""

_TIMED_STEPS = 3
_SECONDS_TO_SPEND = 60.0
_SHARE_OF_MEMORY = 0.8
"""Of the free memory, what a timing may take."""


@dataclass(frozen=True, slots=True)
class StepTime:
    """Seconds that a step takes, and where the number is from."""

    seconds: float
    how: str
    """For people: timed, or estimated and from what."""


def step_time(
    config: TrainConfig, footprint: Footprint, device: torch.device, num_slots: int
) -> StepTime:
    """Return how long a step of one worker takes.

    A few steps are taken for real where they fit into memory and end within a minute; otherwise
    the network's operations are divided by what a matrix product of the same precision reaches.
    Preparing examples does not count: other threads do it meanwhile.

    Args:
        config: The recipe; its grid is the cases'.
        footprint: Memory of one worker.
        device: Where.
        num_slots: Volumes that the worker takes a step.
    """
    flops = _PASSES * num_slots * forward_flops(config.model)
    rate = _matrix_rate(config, device)
    estimate = flops / (_SHARE_OF_MATRIX_RATE * rate)
    free = free_bytes(device)
    fits = footprint.total_bytes < _SHARE_OF_MEMORY * free
    if fits and (1 + _TIMED_STEPS) * estimate < _SECONDS_TO_SPEND:
        seconds = _timed(config, device, num_slots)
        note = ", not compiled" if config.compiled else ""
        return StepTime(
            seconds, f"timed, the median of {_TIMED_STEPS} steps on random voxels{note}"
        )
    why = "too long to try" if fits else f"too large for the {free / 1e9:.1f} GB that are free"
    return StepTime(
        estimate,
        f"estimated, for a step is {why} here: {flops / 1e12:.2f} TFLOP at "
        f"{_SHARE_OF_MATRIX_RATE:.0%} of the {rate / 1e12:.2f} TFLOP/s of a matrix product",
    )


def free_bytes(device: torch.device) -> float:
    """Return the memory that is free on a device; infinite where nobody knows."""
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0])
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return float("inf")
    available = (line.split()[1] for line in lines if line.startswith("MemAvailable:"))
    return float(next(available, "inf")) * 1024


def _timed(config: TrainConfig, device: torch.device, num_slots: int) -> float:
    """Return the median seconds of a few real steps, after one that tunes kernels and makes state."""
    # Compiling takes minutes.
    config = replace(config, compiled=False, batch_size=num_slots)
    # The seed of the weights is the process's, too.
    with torch.random.fork_rng():
        training = start_training(config, device)
        schedule = NoiseSchedule(config.schedule)
        batch = [_example(config) for _ in range(num_slots)]

        def step() -> None:
            take_step(training, config, schedule, batch)

        step()
        return statistics.median(_seconds(step, device) for _ in range(_TIMED_STEPS))


def _example(config: TrainConfig) -> Example:
    shape = (1, 1, *3 * (config.model.grid,))
    labels = torch.rand(1, len(LABELS), *shape[2:]) < 0.2
    return Example(
        x_start=torch.rand(shape) * 2 - 1,
        condition=torch.where(labels, 1.0, -1.0),
        t=torch.randint(config.schedule.num_steps, (1,)),
        noise=torch.randn(shape),
    )


def _matrix_rate(config: TrainConfig, device: torch.device) -> float:
    """Return the operations a second of a large product, done by the library that convolves."""
    size = 4096 if device.type == "cuda" else 1024
    dtype = torch.bfloat16 if config.precision == "bfloat16" else torch.float32
    voxels = torch.ones(1, size, size // 256, 16, 16, device=device, dtype=dtype)
    weights = torch.ones(size, size, 1, 1, 1, device=device, dtype=dtype)

    def product() -> None:
        F.conv3d(voxels, weights)

    product()
    return 2 * size**3 / min(_seconds(product, device) for _ in range(5))


def _seconds(call: Callable[[], None], device: torch.device) -> float:
    start = time.perf_counter()
    call()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start
