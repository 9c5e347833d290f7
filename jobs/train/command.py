"""`factory train`."""

from pathlib import Path
from typing import Annotated

import typer

from jobs import options


def command(
    cases: options.Cases = None,
    out: Annotated[
        Path | None, typer.Option(metavar="RUN", help="Run to make or go on with. [run]")
    ] = None,
    recipe: options.Recipe = None,
    steps: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Optimizer steps. [the recipe's]")
    ] = None,
    num_workers: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Ray Train workers. [one a GPU, or one]")
    ] = None,
    device: options.DeviceOption = options.Device.auto,
    ray_address: options.RayAddress = None,
) -> None:
    """Train the model on the training cases of a store.

    Checkpoints as it goes; the same command run again goes on from the last
    one, and with more --steps it trains further.

    \b
    Example:
        factory train --cases cases --out run --recipe tiny --steps 20
    """
    from jobs.console import give, say
    from jobs.recipe import load_recipe
    from jobs.train.config import TrainConfig
    from jobs.train.job import train
    from jobs.workspace import path_of

    name = options.recipe_name(recipe)
    result = train(
        path_of("cases", cases),
        path_of("run", out),
        load_recipe(name).table("train", TrainConfig, steps=steps),
        recipe=name,
        num_workers=num_workers,
        device=device.value,
        ray_address=ray_address,
    )
    say(
        f"{result.step} steps, last loss {result.loss:.4f}, model {result.digest[:12]}. "
        f"Next: factory generate --ratio 0.25{f' --recipe {recipe}' if recipe else ''}"
    )
    give(result.model)
