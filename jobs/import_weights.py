"""`factory import-weights`: weights published with Lung-DDPM, as a checkpoint to generate with."""

from enum import StrEnum
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

from jobs import options

if TYPE_CHECKING:
    from models.published import Published

_LABELS = {3: ("lung", "nodule"), 2: ("nodule",)}
"""Labels of the layout by input channels; the first channel is the noisy volume."""

_RECIPE_GRID = 128
"""Grid of the published recipe; weights for another need the flag."""

_ORIGIN = ("sha256", "use", "num_steps")
"""What makes two imports the same; a file may be renamed."""


class Weights(StrEnum):
    """Which of the two sets of weights in a published file."""

    ema = "ema"
    model = "model"


def command(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="Torch file of Lung-DDPM or Lung-DDPM+.")
    ],
    out: Annotated[Path, typer.Option(metavar="CKPT", help="Checkpoint to write.")],
    use: Annotated[
        Weights, typer.Option(help="Moving average, or the weights of the last step.")
    ] = Weights.ema,
    timesteps: Annotated[
        int | None,
        typer.Option(
            metavar="T", min=1, max=100_000, help="Diffusion steps. [the file's, else 250]"
        ),
    ] = None,
) -> None:
    """Turn published Lung-DDPM weights into a checkpoint.

    Width, depth, labels and diffusion steps follow from the file. The
    checkpoint carries how published weights want their cases: ingest them
    with the published recipe.

    \b
    Example:
        factory import-weights model-250.pt --out published
    """
    from jobs.console import conclude, give
    from jobs.workspace import path_of
    from models.published import read_published

    target = path_of("checkpoint", out)
    published = read_published(file, use=use.value, timesteps=timesteps)
    replaced = write(published, file, target, use)
    conclude(
        f"{_described(published, use)}"
        f"{'; replaced what was imported from this file before' if replaced else ''}",
        f"factory ingest SCANS --recipe published{_grid_flag(published)} --out CASES, then factory "
        f"generate --cases CASES --model {quote(options.model_value(out))} --recipe published "
        "--ratio 0.25 --out LAKE",
    )
    give(str(target.resolve()))


def _described(published: "Published", use: Weights) -> str:
    config = published.denoiser.config
    assumed = " (assumed, see --timesteps)" if published.is_schedule_assumed else ""
    parameters = sum(weight.numel() for weight in published.denoiser.parameters())
    return (
        f"{parameters:,} parameters ({use.value}, step {published.step:,}), {config.in_channels} "
        f"channels (volume, {', '.join(_LABELS[config.in_channels])}), "
        f"T = {published.schedule.num_steps}{assumed}, grid {config.grid}^3"
    )


def _grid_flag(published: "Published") -> str:
    grid = published.denoiser.config.grid
    return "" if grid == _RECIPE_GRID else f" --grid {grid}"


def write(published: "Published", file: Path, out: Path, use: Weights) -> bool:
    """Write published weights as a checkpoint; return whether an earlier import was replaced.

    Raises:
        ModelError: The network takes other channels than those of a known set of labels.
        UsageError: `out` is a checkpoint that was made from something else.
        CheckpointError: `out` is something else altogether.
    """
    from factory.digests import sha256_of_file
    from factory.errors import ModelError
    from factory.preprocessing import published as published_preprocessing
    from models.checkpoint import save_checkpoint

    config = published.denoiser.config
    if config.in_channels not in _LABELS:
        raise ModelError(
            f"{file}: found a network of {config.in_channels} input channels; expected 3 (volume, "
            "lung, nodule) or 2 (volume, nodule). Import weights of Lung-DDPM or Lung-DDPM+."
        )
    origin: dict[str, object] = {
        "imported_from": file.name,
        "sha256": sha256_of_file(file),
        "use": use.value,
        "step": published.step,
        "num_steps": published.schedule.num_steps,
    }
    replaces = _replaces(out, origin)
    save_checkpoint(
        out,
        published.denoiser,
        schedule=published.schedule,
        preprocessing=published_preprocessing(_LABELS[config.in_channels], config.grid).as_json(),
        training=origin,
    )
    return replaces


def _replaces(out: Path, origin: dict[str, object]) -> bool:
    """Return whether an earlier import of the same weights is there; refuse other checkpoints."""
    from factory.errors import UsageError
    from models.card import CARD_NAME, read_model_card
    from models.errors import CheckpointError

    if not (out / CARD_NAME).exists():
        return False
    try:
        earlier = read_model_card(out).training
    except CheckpointError:
        found = "one that cannot be read"
    else:
        if all(earlier.get(key) == origin[key] for key in _ORIGIN):
            return True
        found = "one that was trained"
        if "imported_from" in earlier:
            found = (
                f"one imported from {earlier['imported_from']} ({earlier.get('use')}, "
                f"T = {earlier.get('num_steps')})"
            )
    raise UsageError(
        f"--out {out}: found a checkpoint there already, {found}; expected nothing, or what was "
        f"imported from this very file ({origin['use']}, T = {origin['num_steps']}) to replace. Choose another path, or "
        "delete it."
    )
