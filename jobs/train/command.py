"""`factory train`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from factory.counted import counted
from jobs import options


def command(
    context: typer.Context,
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
    from factory.ingest.prepare import IngestConfig
    from jobs.console import command_line, conclude, give
    from jobs.recipe import load_recipe
    from jobs.train import job
    from jobs.train.config import TrainConfig
    from jobs.train.workers import parse_num_workers
    from jobs.workspace import path_of, place_of

    name = options.recipe_name(recipe)
    store, run = place_of("cases", cases), path_of("run", out)
    tables = load_recipe(name)
    config = tables.table("train", TrainConfig, steps=steps)
    ingest = tables.table("ingest", IngestConfig) if "ingest" in tables.tables else None
    asked: dict[str, Any] = {
        "recipe": name,
        "ingest": ingest,
        "num_workers": parse_num_workers(num_workers),
        "device": device.value,
        "nodules": nodules,
        "fresh": fresh,
        "ray_address": ray_address,
    }
    if dry_run:
        give(job.dry_run(store, run, config, **asked))
        again = options.same_command(context, without="dry_run")
        conclude("nothing was written", again)
        return
    result = job.train(store, run, config, **asked)
    model = options.model_value(out) if out else None
    given = {"--cases": cases, "--model": model, "--recipe": recipe}
    conclude(
        f"{counted(result.step, 'step')}, last loss {result.loss:.4f}, model {result.digest[:12]}",
        command_line("factory generate --ratio 0.25", flags=given),
    )
    give(result.model)
