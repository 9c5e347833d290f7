"""`factory ingest`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from factory.counted import counted
from jobs import complete, options


def command(
    context: typer.Context,
    source: Annotated[
        Path,
        typer.Argument(metavar="SOURCE", help="Folder of DICOM or NIfTI scans, of any depth."),
    ],
    out: Annotated[
        options.Place | None,
        typer.Option(metavar="CASES", help="Case store to make or extend. [cases]"),
    ] = None,
    grid: Annotated[
        int | None,
        typer.Option(metavar="N", help="Voxels along each edge, a multiple of 16. [the recipe's]"),
    ] = None,
    series: Annotated[
        str,
        typer.Option(
            metavar="RULE",
            help="Of a DICOM study take: thinnest, most-slices, all, or a SeriesInstanceUID.",
            autocompletion=complete.series_rules,
        ),
    ] = "thinnest",
    points: Annotated[
        Path | None,
        typer.Option(
            metavar="CSV",
            exists=True,
            dir_okay=False,
            help="Nodules by centre and diameter: seriesuid, coordX, coordY, coordZ, diameter_mm.",
        ),
    ] = None,
    patients: Annotated[
        Path | None,
        typer.Option(
            metavar="CSV",
            exists=True,
            dir_okay=False,
            help="Columns case_id, patient_id; else each NIfTI case is its own patient.",
        ),
    ] = None,
    lungs: Annotated[
        str,
        typer.Option(
            metavar="METHOD",
            help="Of scans without a lung mask: threshold, or lungmask or totalsegmentator if installed.",
            autocompletion=complete.lung_methods,
        ),
    ] = "threshold",
    split: Annotated[
        str | None,
        typer.Option(metavar="A/B/C", help="Shares of train/val/test patients. [80/10/10]"),
    ] = None,
    private: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Keeps the key of patients' hashes, and what tags mean. [CASES.private]",
        ),
    ] = None,
    recipe: options.Recipe = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List what would happen to each input, and stop.")
    ] = False,
    ray_address: options.RayAddress = None,
) -> None:
    """Bring real CTs and their masks into a case store.

    Takes DICOM series with DICOM SEG, RTSTRUCT or LIDC-IDRI XML, and NIfTI in
    the layouts of nnU-Net, Lung-DDPM, TotalSegmentator, LUNA16, or by name:
    NAME_ct.nii.gz with NAME_lung* and NAME_nodule*. Lungs without a mask are
    segmented. Patients of DICOM files become keyed hashes. A broken case is
    quarantined with its reason and the rest goes on; what is left out by rule
    is listed. Run again, it does what is missing.

    \b
    Example:
        factory ingest scans --out cases --dry-run
        factory ingest scans --out cases --grid 64
    """
    from factory.ingest.prepare import IngestConfig
    from jobs.console import conclude, give, say
    from jobs.ingest import job
    from jobs.recipe import load_recipe
    from jobs.workspace import path_of, place_of

    config = load_recipe(options.recipe_name(recipe)).table("ingest", IngestConfig, grid=grid)
    folder, store = path_of("source", source), place_of("cases", out)
    given: dict[str, Any] = {
        "patients": patients,
        "points": points,
        "series": series,
        "lungs": lungs,
        "split": options.parse_split(split),
        "private": private,
    }
    if dry_run:
        table = job.dry_run(folder, store, config, **given)
        give(table)
        # Of its lines one is the head.
        found = counted(table.count("\n"), "input")
        again = options.same_command(context, without="dry_run")
        conclude(f"{found}, and nothing was written", again)
        return
    result = job.ingest(folder, store, config, ray_address=ray_address, **given)
    splits = ", ".join(f"{count} {split}" for split, count in result.num_by_split.items())
    say(
        f"cases: {splits}; {result.num_with_nodules} with nodules of their own; "
        f"{result.num_with_notes} with notes in the manifest"
    )
    conclude(
        f"{counted(result.num_cases, 'case')} in the store, {result.num_quarantined} quarantined",
        _next(recipe, grid, out),
    )
    give(result.manifest)


def _next(recipe: str | None, grid: int | None, out: options.Place | None) -> str:
    from jobs.console import command_line
    from jobs.recipe import DEFAULT_RECIPE

    flags: dict[str, object] = {"--cases": out}
    if recipe == "published":
        flags |= {"--model": "CKPT", "--recipe": recipe, "--ratio": 0.25, "--out": "LAKE"}
    elif options.recipe_name(recipe) == DEFAULT_RECIPE and grid is None:
        flags |= {"--ratio": 0.25}
    else:
        return command_line("factory train", flags={**flags, "--recipe": recipe})
    return command_line("factory generate", flags=flags)
