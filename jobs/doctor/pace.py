"""Reverse steps of a model, timed as `factory generate` takes them: by several actors at once.

one step alone --its time and memory--> as many actors as there is room for --until the time is up--> paces
"""

import resource
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import torch
from torch import Tensor

from jobs.doctor.machine import memory_left
from jobs.generate.config import GenerateConfig
from jobs.generate.surroundings import make_deterministic
from models.aas import aas_sample
from models.checkpoint import Checkpoint
from models.engine import SamplingEngine

SECONDS = 5.0
"""That a benchmark takes, and the rest of the step that is under way."""

MOST_AT_ONCE = 8
"""Actors that are timed: they are threads here, and of many one would wait for another's Python."""

_LEAST_BYTES = 256 * 2**20
"""Of an actor that draws, as it is counted: what loading took before hides as much."""

_OF_MEMORY = 0.5
"""Share of what is left that a benchmark may take."""


class EnoughError(Exception):
    """A benchmark has run for as long as it may."""


@dataclass
class Pace:
    """When reverse steps of one actor ended; the first warms up, and counts only where it is alone."""

    device: torch.device
    seconds: float
    """How long it goes on, to the end of the step that is then under way."""
    ends: list[float] = field(default_factory=list)

    def start(self) -> None:
        """Begin to count."""
        self.ends = [time.perf_counter()]

    def step(self, t: int) -> None:
        """Take note of a step that ended.

        Raises:
            EnoughError: The time is up.
        """
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        self.ends.append(time.perf_counter())
        if self.taken >= self.seconds:
            raise EnoughError

    @property
    def taken(self) -> float:
        """Seconds so far."""
        return self.ends[-1] - self.ends[0]

    @property
    def num_steps(self) -> int:
        """Steps that count."""
        return max(1, len(self.ends) - 2)

    @property
    def seconds_a_step(self) -> float:
        """Mean of those that count."""
        return (self.ends[-1] - self.ends[-1 - self.num_steps]) / self.num_steps


def benchmark(
    checkpoint: Checkpoint, config: GenerateConfig, device: torch.device, num_actors: int = 1
) -> Sequence[Pace]:
    """Time reverse steps of a model for `SECONDS`, and the step that is then under way.

    Actors share the memory's bandwidth and the cores that two CPUs may be threads of: how fast one
    is beside others, one alone does not tell.

    Args:
        checkpoint: Model, on the device.
        config: How a step is taken, with how many CPU threads.
        device: Where the network computes.
        num_actors: Actors that draw at once; fewer do where memory or time is short.

    Returns:
        The pace of each actor that drew.
    """
    # As an actor does: the fastest kernels are not those that it takes.
    make_deterministic()
    before = _peak_bytes()
    first = _drawn(checkpoint, config, Pace(device, seconds=0.0))
    needed = max(_peak_bytes() - before, _LEAST_BYTES)
    if first.taken >= SECONDS:
        return [first]
    count = max(1, int(min(num_actors, MOST_AT_ONCE, _OF_MEMORY * memory_left() / needed)))
    paces = [Pace(device, SECONDS - first.taken) for _ in range(count)]
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(lambda pace: _drawn(checkpoint, config, pace), paces))


def _drawn(checkpoint: Checkpoint, config: GenerateConfig, pace: Pace) -> Pace:
    """Draw volume after volume until the time of a pace is up; return it."""
    torch.set_num_threads(config.num_threads)
    engine = SamplingEngine(checkpoint.denoiser, precision=config.precision)  # type: ignore[arg-type]
    unet = checkpoint.card.unet
    x_known, layout = _scene(unet.grid, unet.in_channels - 1, pace.device)
    generator = torch.Generator().manual_seed(0)
    pace.start()
    try:
        while True:
            aas_sample(
                engine,
                checkpoint.schedule,
                layout=layout,
                x_known=x_known,
                draw_noise=lambda shape: torch.randn(shape, generator=generator),
                variant=config.variant,  # type: ignore[arg-type]
                sampler=config.sampler,  # type: ignore[arg-type]
                blend=config.blend_taken,  # type: ignore[arg-type]
                num_steps=config.num_steps(checkpoint.schedule.num_steps),
                clip_x0=config.clip_taken,
                sigma=config.sigma,  # type: ignore[arg-type]
                on_step=pace.step,
            )
    except EnoughError:
        return pace


def _scene(grid: int, num_labels: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return (1, 1, D, H, W) of a ramp, and (1, L, D, H, W) with a block of the first label."""
    x_known = torch.linspace(-1, 1, grid**3, device=device).reshape(1, 1, grid, grid, grid)
    layout = torch.full((1, num_labels, grid, grid, grid), -1.0, device=device)
    low, high = grid // 5, grid - grid // 5
    layout[:, 0, low:high, low:high, low:high] = 1.0
    return x_known, layout


def _peak_bytes() -> int:
    """Return the most memory that this process has had."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
