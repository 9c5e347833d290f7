"""Five seconds of sampling, and what they say of an hour.

model, recipe --load--> engine --aas_sample, until the time is up--> seconds a step --> volumes an hour
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from factory.errors import FactoryError
from factory.storage import Storage
from jobs.doctor.asked import Asked
from jobs.doctor.finding import Finding, ok, problem, refused, warning
from jobs.doctor.machine import GIB
from jobs.doctor.torch_build import on_cuda
from jobs.generate.config import GenerateConfig
from jobs.generate.fetch import load_model
from jobs.generate.surroundings import make_deterministic
from jobs.options import recipe_name
from jobs.recipe import load_recipe
from manifests.read import is_url
from models.aas import aas_sample
from models.card import CARD_NAME
from models.checkpoint import Checkpoint
from models.engine import SamplingEngine, computes_in_bfloat16
from models.errors import CheckpointError
from models.weights import NAMES

SECONDS = 5.0
"""That a benchmark takes, and the rest of the step that is under way."""

_SECONDS_OF_A_LONG_VOLUME = 3600.0
_LEFT_OUT = (
    "left out: loading, reading a case, its quality control, writing, volumes that are drawn again"
)


@dataclass
class Pace:
    """When reverse steps ended; the first of them, which warms up, counts only where it is alone."""

    device: torch.device
    until: float = 0.0
    ends: list[float] = field(default_factory=list)

    def start(self) -> None:
        """Begin to count."""
        self.ends = [time.perf_counter()]
        self.until = self.ends[0] + SECONDS

    def step(self, t: int) -> None:
        """Take note of a step that ended.

        Raises:
            EnoughError: The time is up.
        """
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        self.ends.append(time.perf_counter())
        if self.ends[-1] >= self.until:
            raise EnoughError

    @property
    def num_steps(self) -> int:
        """Steps that count."""
        return max(1, len(self.ends) - 2)

    @property
    def seconds_a_step(self) -> float:
        """Mean of those that count."""
        return (self.ends[-1] - self.ends[-1 - self.num_steps]) / self.num_steps


class EnoughError(Exception):
    """A benchmark has run for as long as it may."""


def check(asked: Asked) -> Iterator[Finding]:
    """Draw with the model for five seconds, as one actor of `factory generate` would."""
    name = recipe_name(None)
    config = load_recipe(name).table("generate", GenerateConfig)
    if not config.traits.needs_model:
        yield ok("sampler", f"recipe {name} draws with {config.synthesizer}, which runs no network")
        return
    device = torch.device("cuda" if on_cuda(asked) else "cpu")
    if config.precision == "bfloat16" and not computes_in_bfloat16(device):
        yield problem(
            "sampler",
            f"recipe {name} has precision bfloat16, and this {device.type} does not compute in it",
            "a device that does, or float32",
            "Take --precision float32 of factory generate, or set it in the recipe.",
        )
        return
    try:
        checkpoint = load_model(_checkpoint(asked.model), device)
    except (FactoryError, CheckpointError, OSError) as error:
        yield refused("model", error)
        return
    total = checkpoint.schedule.num_steps
    if config.steps > total:
        yield problem(
            "sampler",
            f"recipe {name} takes {config.steps} steps, and the schedule of {asked.model} has {total}",
            f"1 to {total}",
            "Ask for fewer with --steps of factory generate, or take another recipe.",
        )
        return
    yield _timed(asked, name, config, checkpoint, device)


def _timed(
    asked: Asked, recipe: str, config: GenerateConfig, checkpoint: Checkpoint, device: torch.device
) -> Finding:
    num_steps = config.num_steps(checkpoint.schedule.num_steps)
    try:
        pace = benchmark(checkpoint, config, device)
    except torch.OutOfMemoryError as error:
        return problem(
            "sampler",
            f"model {asked.model} does not fit: {str(error).splitlines()[0]}",
            "memory for one volume of its grid",
            "End what else uses the GPU, or take a larger one, or a smaller grid.",
        )
    a_volume = pace.seconds_a_step * num_steps
    found = (
        f"{3600 / a_volume:,.0f} volumes an hour, one actor on {_where(device, config)}: "
        f"{a_volume:,.1f} s a volume of {checkpoint.card.unet.grid}^3 by {asked.model}, recipe {recipe} "
        f"({num_steps} steps of {config.sampler}, {config.precision}), from {pace.num_steps} steps; "
        f"{_LEFT_OUT}{_memory(device)}"
    )
    if config.compiled:
        found += "; the recipe compiles the network, and here it ran as it is"
    if device.type == "cpu":
        found += "; actors share the memory's bandwidth: N of them draw less than N times as many"
    if a_volume <= _SECONDS_OF_A_LONG_VOLUME:
        return ok("sampler", found)
    return warning(
        "sampler",
        found,
        f"{_SECONDS_OF_A_LONG_VOLUME / 60:g} minutes a volume or less",
        "Take few steps with --recipe fast, a GPU, or a smaller grid.",
    )


def benchmark(checkpoint: Checkpoint, config: GenerateConfig, device: torch.device) -> Pace:
    """Time reverse steps of a model for `SECONDS`, and the step that is then under way.

    Args:
        checkpoint: Model, on the device.
        config: How a step is taken, with how many CPU threads.
        device: Where the network computes.
    """
    # As an actor does: the fastest kernels are not those that it takes.
    make_deterministic()
    torch.set_num_threads(config.num_threads)
    engine = SamplingEngine(checkpoint.denoiser, precision=config.precision)  # type: ignore[arg-type]
    unet = checkpoint.card.unet
    x_known, layout = _scene(unet.grid, unet.in_channels - 1, device)
    generator, pace = torch.Generator().manual_seed(0), Pace(device)
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


def _checkpoint(model: str) -> str:
    """Return the checkpoint of a run or a folder, or the name of a model that ships."""
    if model in NAMES:
        return model
    storage = Storage(model)
    inside = "" if storage.exists(CARD_NAME) or not storage.exists("model") else "model"
    checkpoint = storage.child(inside).rstrip("/")
    return checkpoint if is_url(model) else str(checkpoint)


def _where(device: torch.device, config: GenerateConfig) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{config.num_threads} CPU thread{'s' if config.num_threads > 1 else ''}"


def _memory(device: torch.device) -> str:
    if device.type != "cuda":
        return ""
    return f"; {torch.cuda.max_memory_allocated(device) / GIB:.1f} GiB of GPU memory at most"
