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
        str | None,
        typer.Option(
            metavar="N|MIN-MAX",
            help="Ray Train workers; with 1-4, as many as there is room for. [one a GPU, or one]",
        ),
    ] = None,
    device: options.DeviceOption = options.Device.auto,
    nodules: Annotated[
        Path | None,
        typer.Option(metavar="NPZ", help="Crops of real nodules that the recipe grafts."),
    ] = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Start anew; an earlier RUN becomes RUN.old-1.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show settings, memory and time, and stop.")
    ] = False,
    ray_address: options.RayAddress = None,
) -> None:
    """Train the model on the training cases of a store.

    Checkpoints as it goes; the same command run again goes on from the newest
    whole checkpoint, on any number of workers, and with more --steps it trains
    further.

    \b
    Example:
        factory train --cases cases --out run --recipe tiny --steps 20
    """
    from jobs.console import give, say
    from jobs.recipe import load_recipe
    from jobs.train import job
    from jobs.train.config import TrainConfig
    from jobs.train.workers import parse_num_workers
    from jobs.workspace import path_of, place_of

    name = options.recipe_name(recipe)
    store, run = place_of("cases", cases), path_of("run", out)
    config = load_recipe(name).table("train", TrainConfig, steps=steps)
    workers = parse_num_workers(num_workers)
    if dry_run:
        give(
            job.dry_run(
                *(store, run, config),
                recipe=name,
                num_workers=workers,
                device=device.value,
                nodules=nodules,
                fresh=fresh,
                ray_address=ray_address,
            )
        )
        return
    result = job.train(
        *(store, run, config),
        recipe=name,
        num_workers=workers,
        device=device.value,
        nodules=nodules,
        fresh=fresh,
        ray_address=ray_address,
    )
    given = [f"--cases {cases}"] if cases else []
    given += [f"--model {options.model_value(out)}"] if out else []
    given += [f"--recipe {recipe}"] if recipe else []
    say(
        f"{result.step} steps, last loss {result.loss:.4f}, model {result.digest[:12]}. "
        f"Next: {' '.join(['factory generate --ratio 0.25', *given])}"
    )
    give(result.model)
