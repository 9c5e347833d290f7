"""`factory report`."""

from pathlib import Path
from typing import Annotated

import typer

from factory.counted import counted
from jobs import options


def command(
    lake: options.LakeArgument = None,
    out: Annotated[
        options.Place | None,
        typer.Option(metavar="FILE", help="HTML file to write. [LAKE/report.html]"),
    ] = None,
    volumes: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=0,
            max=200,
            help="Volumes to show slices of: worst verdicts first, then evenly through the plan.",
        ),
    ] = 6,
    ids: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ID",
            help="Show this one instead: a work id, its beginning, or a case id; again for more.",
        ),
    ] = None,
    evaluation: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="What `factory evaluate` wrote. [evaluation in the lake or beside it, if of this lake]",
        ),
    ] = None,
    downstream: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="What `factory downstream`, or its sweep, wrote."),
    ] = None,
) -> None:
    """Write one page on what a lake holds, to open in a browser.

    Counts and ratio, verdicts with their reasons, lungs and nodules beside the
    real ones, slices with their donors, what was given up, and where it all
    comes from. One HTML file that needs no network; a lake half-way gets one
    too. It shows slices of real scans: protect it as you protect them.

    \b
    Example:
        factory report lake --out report.html
    """
    from jobs.console import command_line, conclude, give, say
    from jobs.report.job import report
    from jobs.workspace import path_of, place_of

    result = report(
        place_of("lake", lake),
        place_of("--out", out) if out else None,
        count=volumes,
        ids=ids or (),
        evaluation=path_of("--evaluation", evaluation) if evaluation else None,
        downstream=path_of("--downstream", downstream) if downstream else None,
    )
    for problem in result.problems:
        say(f"could not be read: {problem}")
    conclude(
        f"{result.num_real} real and {counted(result.num_synthetic, 'synthetic volume')}, slices of "
        f"{result.num_shown}, {result.num_bytes / 1e6:.1f} MB; open it in a browser",
        command_line("factory view", lake),
    )
    give(result.path)
