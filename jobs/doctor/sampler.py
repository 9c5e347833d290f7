"""Five seconds of sampling, and what they say of an hour of `factory generate`.

model, recipe --load--> benchmark --> seconds a step ---+
phantom --read, check and write as an actor does--------+--> seconds a volume --> volumes an hour
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from factory.counted import counted
from factory.errors import FactoryError
from factory.refused import found_of
from factory.storage import Storage
from jobs.doctor.asked import Asked
from jobs.doctor.beside import seconds_beside
from jobs.doctor.finding import Finding, ok, problem, refused, warning
from jobs.doctor.machine import GIB, usable_cpus
from jobs.doctor.pace import Pace, benchmark
from jobs.doctor.torch_build import on_cuda
from jobs.generate.config import GenerateConfig
from jobs.generate.fetch import load_model
from jobs.options import recipe_name
from jobs.recipe import load_recipe
from manifests.read import is_url
from models.card import CARD_NAME
from models.checkpoint import Checkpoint
from models.engine import computes_in_bfloat16
from models.errors import CheckpointError
from models.weights import NAMES

_SECONDS_OF_A_LONG_VOLUME = 3600.0
_LEFT_OUT = "left out: starting the actors, and volumes that are drawn again"


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a volume takes of an actor, in seconds."""

    paces: Sequence[Pace]
    """Of the actors that drew at once."""
    num_steps: int
    """Of a volume."""
    beside: float
    """Reading, quality control and writing."""
    device: torch.device

    @property
    def steps(self) -> float:
        """Seconds of a volume's reverse steps."""
        each = [pace.seconds_a_step for pace in self.paces]
        return self.num_steps * sum(each) / len(each)

    @property
    def volume(self) -> float:
        """Seconds of a volume; a GPU draws one while the CPU has another."""
        if self.device.type == "cuda":
            return max(self.steps, self.beside)
        return self.steps + self.beside

    @property
    def num_timed(self) -> int:
        """Steps that it is from."""
        return sum(pace.num_steps for pace in self.paces)


def check(asked: Asked) -> Iterator[Finding]:
    """Draw with the model for five seconds, as the actors of `factory generate` would."""
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
    num_actors = actors_here(config, device)
    try:
        paces = benchmark(checkpoint, config, device, num_actors)
        beside = seconds_beside(checkpoint.card, config)
    except FactoryError as error:
        return refused("model", error)
    except OSError as error:
        return problem(
            "sampler, temporary folder",
            found_of(error),
            "room for a volume",
            "Make room there, or name another one with TMPDIR; then ask again.",
        )
    except torch.OutOfMemoryError as error:
        return problem(
            "sampler",
            f"model {asked.model} does not fit: {str(error).splitlines()[0]}",
            "memory for one volume of its grid",
            "End what else uses the GPU, or take a larger one, or a smaller grid.",
        )
    told = Estimate(paces, config.num_steps(checkpoint.schedule.num_steps), beside, device)
    found = (
        f"{_rate(told, config, num_actors)}: {told.volume:,.1f} s a volume of "
        f"{checkpoint.card.unet.grid}^3 by {asked.model}, recipe {recipe} ({told.num_steps} steps of "
        f"{config.sampler}, {config.precision}: {told.steps:,.1f} s, from {counted(told.num_timed, 'step')}; reading, "
        f"checking and writing to a disk of this machine: {told.beside:,.2f} s); {_LEFT_OUT}{_memory(device)}"
    )
    if config.compiled:
        found += "; the recipe compiles the network, and here it ran as it is"
    return _judged(told, found)


def _judged(told: Estimate, found: str) -> Finding:
    """Return the finding that an estimate makes, and a warning of volumes that take too long."""
    if told.volume <= _SECONDS_OF_A_LONG_VOLUME:
        return ok("sampler", found)
    return warning(
        "sampler",
        found,
        f"{_SECONDS_OF_A_LONG_VOLUME / 60:g} minutes a volume or less",
        "Take few steps with --recipe fast, a GPU, or a smaller grid.",
    )


def actors_here(config: GenerateConfig, device: torch.device) -> int:
    """Return how many actors `factory generate` starts on this machine by itself; of a GPU one."""
    return 1 if device.type == "cuda" else max(1, int(usable_cpus()) // config.num_threads)


def _rate(told: Estimate, config: GenerateConfig, num_actors: int) -> str:
    """Return volumes an hour, of how many actors, and what that leaves open."""
    each, count = 3600 / told.volume, len(told.paces)
    if told.device.type == "cuda":
        return f"{each:,.0f} volumes an hour for each GPU, one actor on {_gpu(told.device)}"
    threads = counted(config.num_threads, "CPU thread")
    if count == num_actors == 1:
        return (
            f"{each:,.0f} volumes an hour, by the one actor of {threads} that generate starts here"
        )
    if count == num_actors:
        return (
            f"{count * each:,.0f} volumes an hour, {each:,.0f} by each of the {count} actors of {threads} that "
            "generate starts here"
        )
    return (
        f"{count * each:,.0f} volumes an hour by {count} actors at once of {threads}, {each:,.0f} each; generate "
        f"starts {num_actors} here, more than were timed, which draw less than {num_actors / count:.3g} times as many"
    )


def _checkpoint(model: str) -> str:
    """Return the checkpoint of a run or a folder, or the name of a model that ships."""
    if model in NAMES:
        return model
    storage = Storage(model)
    inside = "" if storage.exists(CARD_NAME) or not storage.exists("model") else "model"
    checkpoint = storage.child(inside).rstrip("/")
    return checkpoint if is_url(model) else str(checkpoint)


def _gpu(device: torch.device) -> str:
    return torch.cuda.get_device_name(device)


def _memory(device: torch.device) -> str:
    if device.type != "cuda":
        return ""
    return f"; {torch.cuda.max_memory_allocated(device) / GIB:.1f} GiB of GPU memory at most"
