"""`factory ingest`."""

from pathlib import Path
from typing import Annotated

import typer

from jobs import options


def command(
    source: Annotated[
        Path, typer.Argument(metavar="SOURCE", help="Folder of NIfTI scans, searched to any depth.")
    ],
    out: Annotated[
        options.Place | None,
        typer.Option(metavar="CASES", help="Case store to make or extend. [cases]"),
    ] = None,
    grid: Annotated[
        int | None,
        typer.Option(metavar="N", help="Voxels along each edge, a multiple of 16. [the recipe's]"),
    ] = None,
    patients: Annotated[
        Path | None,
        typer.Option(
            metavar="CSV",
            exists=True,
            dir_okay=False,
            help="Columns case_id, patient_id; else each case is its own patient.",
        ),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(metavar="A/B/C", help="Shares of train/val/test patients. [80/10/10]"),
    ] = None,
    recipe: options.Recipe = None,
    ray_address: options.RayAddress = None,
) -> None:
    """Bring real CTs and their masks into a case store.

    Takes NAME_ct.nii.gz with NAME_lung*.nii.gz (segmented automatically where
    it is missing) and NAME_nodule* or NAME_tumor*, or CT/ID.nii.gz with
    SEG/ID.nii.gz of labels 0, 1, 2. A broken case is quarantined with its
    reason and the rest goes on. Run again, it does what is missing.

    \b
    Example:
        factory ingest scans --out cases --grid 64
    """
    from factory.ingest.prepare import IngestConfig
    from jobs.console import give, say
    from jobs.ingest.job import ingest
    from jobs.recipe import load_recipe
    from jobs.workspace import path_of, place_of

    config = load_recipe(options.recipe_name(recipe)).table("ingest", IngestConfig, grid=grid)
    result = ingest(
        path_of("source", source),
        place_of("cases", out),
        config,
        patients=patients,
        split=options.parse_split(split),
        ray_address=ray_address,
    )
    splits = ", ".join(f"{count} {split}" for split, count in result.num_by_split.items())
    say(
        f"cases: {splits}; {result.num_with_nodules} with nodules of their own; "
        f"{result.num_with_notes} with notes in the manifest"
    )
    say(
        f"{result.num_cases} cases in the store, {result.num_quarantined} quarantined. "
        f"Next: {_next(recipe, grid, out)}"
    )
    give(result.manifest)


def _next(recipe: str | None, grid: int | None, out: options.Place | None) -> str:
    from jobs.recipe import DEFAULT_RECIPE

    cases = f" --cases {out}" if out else ""
    if recipe == "published":
        return f"factory generate{cases} --model CKPT --recipe published --ratio 0.25 --out LAKE"
    if options.recipe_name(recipe) == DEFAULT_RECIPE and grid is None:
        return f"factory generate{cases} --ratio 0.25"
    return f"factory train{cases}{f' --recipe {recipe}' if recipe else ''}"
