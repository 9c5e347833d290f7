"""Flags that a run and a sweep share. Light to import."""

from typing import Annotated

import typer

Network = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Network of monai.networks.nets. [the recipe's]"),
]
Steps = Annotated[
    int | None,
    typer.Option(metavar="N", min=1, help="Optimizer steps of a run. [the recipe's]"),
]
Folds = Annotated[
    int | None,
    typer.Option(
        metavar="K",
        min=2,
        help="Folds of the real patients that test in turn. [the manifest's split]",
    ),
]
