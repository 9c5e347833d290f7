"""Flags that several verbs share, and what they mean. Light to import."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from jobs import complete
from models.weights import NAMES

if TYPE_CHECKING:
    from jobs.amount import Amount
    from manifests.split import SplitFractions


class Device(StrEnum):
    """Where a job computes."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


Recipe = Annotated[
    str | None,
    typer.Option(
        metavar="NAME|FILE",
        help="How: demo, shipped, paper, fast, published, tiny, med-ddpm, copy-paste, noise, "
        "ablation-no-aas, -no-lung-layout, -no-both, or a TOML file. [demo]",
        autocompletion=complete.recipes,
    ),
]
RayAddress = Annotated[
    str | None,
    typer.Option(metavar="ADDRESS", help="Ray cluster to join, or `auto`; else one is started."),
]
DeviceOption = Annotated[
    Device, typer.Option(help="`cuda` fails at once where the cluster has no GPU.")
]
Place = str
"""A path, or a URL such as s3://BUCKET/FOLDER: a `Path` would take one of its slashes."""

Cases = Annotated[Place | None, typer.Option(metavar="CASES", help="Case store. [cases]")]
LakeArgument = Annotated[
    Place | None, typer.Argument(metavar="[LAKE]", help="Lake of generated volumes. [lake]")
]
Ratio = Annotated[
    float | None, typer.Option(metavar="F", help="Synthetic share of the mixed set, as 0.25.")
]
Extra = Annotated[
    float | None, typer.Option(metavar="F", help="Synthetic volumes per real one, as 0.5.")
]
Count = Annotated[int | None, typer.Option(metavar="N", help="Number of synthetic volumes.")]


def amount(ratio: float | None, extra: float | None, count: int | None) -> "Amount":
    """Return what the three flags mean together.

    Raises:
        UsageError: None or several are given, or the number is outside its range.
    """
    from jobs.amount import Amount

    return Amount(ratio=ratio, extra=extra, count=count)


def same_command(context: typer.Context, *, without: str = "") -> str:
    """Return the command that was typed, as a shell takes it.

    Args:
        context: Of the command.
        without: Name of a parameter that is to be left out, as `dry_run`.
    """
    from jobs.console import command_line

    arguments, flags = list[object](), dict[str, object]()
    for parameter in context.command.params:
        name = str(parameter.name)
        source = context.get_parameter_source(name)
        if name == without or source is None or source.name != "COMMANDLINE":
            continue
        value = context.params[name]
        if parameter.param_type_name == "argument":
            arguments += value if isinstance(value, list | tuple) else [value]
        else:
            is_off = value is False and bool(parameter.secondary_opts)
            opts = parameter.secondary_opts if is_off else parameter.opts
            flags[opts[-1]] = True if is_off else value
    words = ["factory", *context.command_path.split()[1:]]
    return command_line(" ".join(words), *arguments, flags=flags)


def recipe_name(given: str | None) -> str:
    """Return the recipe that a flag or the workspace names, else that of the model that ships."""
    from jobs.recipe import DEFAULT_RECIPE
    from jobs.workspace import recipe_of

    return recipe_of(given, DEFAULT_RECIPE)


def model_value(path: Path) -> str:
    """Return what to type after --model for a folder, also for one named like a model that ships."""
    return f"./{path}" if str(path) in NAMES else str(path)


def parse_split(text: str | None) -> "SplitFractions | None":
    """Return the split that `80/10/10` means; None where the flag was not given."""
    from factory.errors import UsageError
    from manifests.errors import ManifestError
    from manifests.split import SplitFractions

    try:
        return SplitFractions.parse(text) if text else None
    except ManifestError as error:
        raise UsageError(f"--split: {error}") from error
