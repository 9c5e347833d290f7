"""`factory downstream`, and `factory downstream sweep`."""

from math import floor
from pathlib import Path
from typing import Annotated

import typer

from factory.errors import UsageError
from jobs import options
from jobs.downstream import flags
from jobs.downstream.sweep import command as sweep
from jobs.strict_flags import Verb, VerbGroup

app = typer.Typer(cls=VerbGroup, rich_markup_mode=None, invoke_without_command=True)
"""A group: without `sweep` it is one run."""


@app.callback()
def command(
    context: typer.Context,
    manifest: Annotated[
        options.Place | None,
        typer.Option(
            metavar="FILE|LAKE", help="Manifest of `factory mix`, or a lake or case store. [lake]"
        ),
    ] = None,
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="Folder to make, or to go on with.")
    ] = Path("downstream"),
    recipe: options.Recipe = None,
    network: flags.Network = None,
    steps: flags.Steps = None,
    seed: Annotated[
        int,
        typer.Option(metavar="N", min=0, max=2**63 - 1, help="Of weights, order and augmentation."),
    ] = 0,
    folds: flags.Folds = None,
    keep_predictions: Annotated[
        bool,
        typer.Option("--keep-predictions", help="Write predicted nodules of test cases as NIfTI."),
    ] = False,
    num_workers: Annotated[
        str | None,
        typer.Option(
            metavar="N|MIN-MAX",
            help="Ray Train workers; with 1-4, as many as there is room for. [one a GPU, or one]",
        ),
    ] = None,
    device: options.DeviceOption = options.Device.auto,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Start anew; an earlier DIR becomes DIR.old-1.")
    ] = False,
    ray_address: options.RayAddress = None,
) -> None:
    """Train a nodule segmentation network on a mix, and test it on real cases.

    Real and synthetic volumes of the training split train; real ones of the
    test split, or of the validation split where there is none, test. No volume
    trains whose patient tests. Run again, a finished run is kept and a stopped
    one begins anew. `sweep` does it for several mixes and seeds.

    \b
    Example:
        factory downstream --manifest mix.parquet --out downstream
    """
    if context.invoked_subcommand:
        _refuse_flags(context, context.invoked_subcommand)
        return
    from jobs.console import command_line, conclude, give
    from jobs.downstream.config import DownstreamConfig
    from jobs.downstream.job import downstream
    from jobs.recipe import load_recipe
    from jobs.train.workers import parse_num_workers
    from jobs.workspace import path_of, place_of

    table = load_recipe(options.recipe_name(recipe))
    config = table.table("downstream", DownstreamConfig, network=network, steps=steps)
    result = downstream(
        place_of("lake", manifest),
        path_of("out", out),
        config,
        seed=seed,
        num_folds=folds or 1,
        num_workers=parse_num_workers(num_workers),
        device=device.value,
        keep_predictions=keep_predictions,
        fresh=fresh,
        ray_address=ray_address,
    )
    given = {
        "--manifest": manifest,
        "--recipe": recipe,
        "--network": network,
        "--steps": steps,
        "--folds": folds,
    }
    mixes = _mixes(result.extra)
    conclude(result.told(), f"{command_line('factory downstream sweep', flags=given)} {mixes}")
    give(result.path)


def _mixes(extra: float) -> str:
    """Return flags of a sweep that as many synthetic volumes for each real one are enough for."""
    # Rounded down, so that it can be asked for.
    most = min(1.0, floor(extra * 100) / 100)
    if not most:
        return "--real-fraction 0.25,0.5,1"
    parts = dict.fromkeys(f"{floor(most * part * 100) / 100:g}" for part in (0, 0.25, 0.5, 1))
    return f"--ratios {','.join(parts)} --extra"


def _refuse_flags(context: typer.Context, subcommand: str) -> None:
    """Refuse what stands before a subcommand, which would not have it."""
    for parameter in context.command.params:
        name, flag = parameter.name, parameter.opts[0]
        source = context.get_parameter_source(str(name))
        if source is not None and source.name == "COMMANDLINE":
            raise UsageError(
                f"{flag}: found before `{subcommand}`, which would not see it; expected flags after it. Move it "
                f"there, if `factory downstream {subcommand} --help` has it, or leave it out."
            )


app.command("sweep", cls=Verb)(sweep.command)
