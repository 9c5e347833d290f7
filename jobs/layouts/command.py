"""`factory layouts`."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from factory.counted import counted
from jobs import options


class Cases(StrEnum):
    """Which cases get layouts."""

    train = "train"
    all = "all"


def command(
    cases: options.Cases = None,
    out: Annotated[
        Path, typer.Option(metavar="LAYOUTS", help="Folder of layouts to make or extend.")
    ] = Path("layouts"),
    per_case: Annotated[int, typer.Option(metavar="N", min=1, help="Layouts of each case.")] = 4,
    seed: Annotated[
        int, typer.Option(metavar="S", min=0, help="Another seed makes other layouts.")
    ] = 0,
    nodules: Annotated[
        Path | None,
        typer.Option(
            metavar="NPZ",
            exists=True,
            dir_okay=False,
            help="Nodule shapes to transplant; else a small set drawn by the code.",
        ),
    ] = None,
    lobes: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            exists=True,
            file_okay=False,
            help="Lobes of TotalSegmentator, a folder a case; else each lung by thirds of its height.",
        ),
    ] = None,
    split: Annotated[Cases, typer.Option(help="Cases to make them for.")] = Cases.train,
    case: Annotated[
        list[str] | None, typer.Option(metavar="ID", help="Only this case; may be repeated.")
    ] = None,
    recipe: options.Recipe = None,
    ray_address: options.RayAddress = None,
) -> None:
    """Make new nodule layouts for real cases, by rule.

    Shapes of a bank are scaled, turned and placed inside the lung, against the
    pleura or against a vessel, as [layouts] of the recipe says. Each case gets
    NIfTI files that open on its CT in 3D Slicer, and a picture; what is edited
    there is drawn too. Run again, it does what is missing.

    \b
    Example:
        factory layouts --cases cases --per-case 4 --out layouts
    """
    from factory.nodules.rules import LayoutsConfig
    from jobs.console import command_line, conclude, give, say
    from jobs.layouts.job import layouts
    from jobs.recipe import load_recipe
    from jobs.workspace import path_of, place_of

    config = load_recipe(options.recipe_name(recipe)).table("layouts", LayoutsConfig)
    result = layouts(
        place_of("cases", cases),
        path_of("out", out),
        config,
        per_case=per_case,
        seed=seed,
        nodules=nodules,
        lobes=lobes,
        split=split.value,
        only=case or (),
        ray_address=ray_address,
    )
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(result.num_by_attachment.items()))
    say(f"new nodules: {kinds}; {result.num_missing} found no room")
    if result.num_more:
        say(
            f"warning: found {counted(result.num_more, 'layout')} beyond --per-case {per_case}, of a run that "
            "asked for more; they stay, and are drawn after. To be without them delete their files, from "
            f"rule-{per_case:02d} on, and run again, or choose another --out."
        )
    edited = f", {result.num_edited} edited" if result.num_edited else ""
    given = {"--cases": cases, "--recipe": recipe, "--out": "lake-layouts"}
    conclude(
        f"{counted(result.num_layouts, 'layout')} of {counted(result.num_cases, 'case')}{edited}; "
        f"{result.num_quarantined} quarantined",
        command_line("factory generate", flags={"--layouts": out, "--ratio": 0.25, **given}),
    )
    give(result.table)
