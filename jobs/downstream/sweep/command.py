"""`factory downstream sweep`."""

from pathlib import Path
from typing import Annotated

import typer

from factory.counted import counted
from jobs import options
from jobs.downstream import flags


def command(
    context: typer.Context,
    manifest: Annotated[
        options.Place | None,
        typer.Option(
            metavar="LAKE|FILE",
            help="Lake, or manifest of `factory mix`, with as many synthetic volumes as the largest mix. [lake]",
        ),
    ] = None,
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="Sweep to make, go on with, or extend.")
    ] = Path("sweep"),
    ratios: Annotated[
        str | None,
        typer.Option(metavar="F,F,...", help="Synthetic shares of the mixed sets, as 0,0.25,0.5."),
    ] = None,
    extra: Annotated[
        bool, typer.Option("--extra", help="Ratios are synthetic volumes per real one.")
    ] = False,
    real_fraction: Annotated[
        str | None,
        typer.Option(metavar="F,F,...", help="Parts of the real training cases, each alone."),
    ] = None,
    seeds: Annotated[
        int, typer.Option(metavar="N", min=1, max=1000, help="Runs of each mix, from seed 0 on.")
    ] = 3,
    folds: flags.Folds = None,
    recipe: options.Recipe = None,
    network: flags.Network = None,
    steps: flags.Steps = None,
    device: options.DeviceOption = options.Device.auto,
    ray_address: options.RayAddress = None,
) -> None:
    """Train a segmentation network on several mixes, and draw what they are worth.

    Each mix with each seed in each fold is a run of its own, a Ray task of one
    GPU or one CPU. All real cases alone are always among the mixes: gains are
    measured from them. Run again, no finished run is repeated; more ratios and
    more seeds extend a sweep. A run that fails is told, kept in failed.parquet
    and tried again by the same command; the rest goes on.

    \b
    Example:
        factory downstream sweep --manifest lake --ratios 0,0.25,0.5,0.75,1.0 --extra --out sweep
    """
    from jobs.console import conclude, give, say
    from jobs.downstream.config import DownstreamConfig
    from jobs.downstream.sweep.job import sweep
    from jobs.downstream.sweep.mixes import parse_mixes
    from jobs.downstream.tables import headline
    from jobs.recipe import load_recipe
    from jobs.workspace import path_of, place_of

    mixes = parse_mixes(ratios, real_fraction, extra=extra)
    table = load_recipe(options.recipe_name(recipe))
    config = table.table("downstream", DownstreamConfig, network=network, steps=steps)
    place = place_of("lake", manifest)
    result = sweep(
        place,
        path_of("out", out),
        config,
        mixes,
        num_seeds=seeds,
        num_folds=folds or 1,
        device=device.value,
        ray_address=ray_address,
    )
    for mix in result.mixes:
        say(f"{mix.title} ({mix.label}): {headline(mix)}")
    failed = f", {result.num_failed} failed: see failed.parquet" if result.num_failed else ""
    told = (
        f"{counted(result.num_runs, 'run')} finished{failed}; differences from R in {result.table}"
    )
    if result.figures:
        told += f", curves in {result.figures[0]}"
    conclude(told, options.same_command(context) if result.num_failed else _next(place, out))
    give(result.table)
    if result.num_failed:
        raise typer.Exit(1)


def _next(place: str, out: Path) -> str:
    """Return the report of the lake with the sweep in it; of what is no lake, the export of it for nnU-Net."""
    from factory.lake import Lake
    from jobs.console import command_line

    is_lake = (
        not place.endswith(".parquet") and (Lake(place).identity() or {}).get("kind") == "lake"
    )
    if is_lake:
        return command_line("factory report", place, flags={"--downstream": out})
    return command_line("factory export", place, flags={"--format": "nnunet", "--out": "nnunet"})
