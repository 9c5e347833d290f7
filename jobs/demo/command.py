"""`factory demo`."""

from pathlib import Path
from typing import Annotated

import typer

from jobs import complete, options


def command(
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for all that is made.")] = Path(
        "demo"
    ),
    recipe: Annotated[
        str,
        typer.Option(
            metavar="NAME|FILE",
            help="A recipe with small settings.",
            autocompletion=complete.recipes,
        ),
    ] = "demo",
    ray_address: options.RayAddress = None,
) -> None:
    """Take phantom scans through every verb.

    Needs no data: phantom thoraxes are drawn, ingested, trained on for a few
    steps, and mixed with synthetic volumes of them; ends with a picture. The
    volumes are drawn by the model that ships, which has seen real lungs.

    \b
    Example:
        factory demo --out demo
    """
    from jobs.console import give
    from jobs.demo.job import demo

    for line in demo(out, recipe, ray_address=ray_address):
        give(line)
