"""`factory generate`."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from factory.counted import counted
from jobs import complete, options


class SamplerName(StrEnum):
    """How a reverse step is taken."""

    ddpm = "ddpm"
    ddim = "ddim"
    dpmpp_2m = "dpmpp_2m"


class Precision(StrEnum):
    """What the network computes in."""

    float32 = "float32"
    bfloat16 = "bfloat16"


def command(
    ratio: options.Ratio = None,
    extra: options.Extra = None,
    count: options.Count = None,
    cases: options.Cases = None,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="RUN|CKPT|NAME",
            help="Run of `factory train`, checkpoint, or `demo`, the model that ships (./demo is a "
            "folder). [run if it has a model, else demo]",
            autocompletion=complete.models,
        ),
    ] = None,
    out: Annotated[
        str | None, typer.Option(metavar="LAKE", help="Lake to make, go on with or extend. [lake]")
    ] = None,
    recipe: options.Recipe = None,
    sampler: Annotated[
        SamplerName | None,
        typer.Option(
            help="How a reverse step is taken: ddim and dpmpp_2m need few. [recipe's, or ddpm]"
        ),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=1, help="Reverse steps. [the recipe's; or all of the model's, else 25]"
        ),
    ] = None,
    precision: Annotated[
        Precision | None, typer.Option(help="Of the network. [recipe's, or float32]")
    ] = None,
    compiled: Annotated[
        bool | None,
        typer.Option(
            "--compiled/--no-compiled",
            help="Compile the network first: minutes that many volumes on a GPU repay.",
            show_default=False,
        ),
    ] = None,
    seed: Annotated[
        int, typer.Option(metavar="S", min=0, help="Another seed draws other volumes.")
    ] = 0,
    nodules: Annotated[
        Path | None,
        typer.Option(
            metavar="NPZ",
            exists=True,
            dir_okay=False,
            help="Nodule shapes for cases without nodules, or crops for recipe copy-paste; else a small set drawn by the code.",
        ),
    ] = None,
    layouts: Annotated[
        Path | None,
        typer.Option(
            metavar="LAYOUTS",
            exists=True,
            file_okay=False,
            help="Draw after the layouts of `factory layouts`, edited or not.",
        ),
    ] = None,
    actors: Annotated[
        str | None,
        typer.Option(
            metavar="N|MIN:MAX",
            help="Sampler actors; with 1:8, as many as the queue needs. [one a GPU, or one a CPU]",
        ),
    ] = None,
    num_gpus_per_actor: Annotated[
        float, typer.Option(metavar="G", help="A whole number, or a share of a GPU, as 0.5.")
    ] = 1.0,
    device: options.DeviceOption = options.Device.auto,
    retry_quarantined: Annotated[
        bool, typer.Option("--retry-quarantined", help="Try again all that was given up.")
    ] = False,
    retry_class: Annotated[
        str | None,
        typer.Option(
            metavar="CLASS", help="Try again what was given up with this error, as CaseError."
        ),
    ] = None,
    ray_address: options.RayAddress = None,
) -> None:
    """Draw synthetic CTs into a lake, with a mixed manifest.

    Exactly one of --ratio, --extra and --count says how many. Killed at any
    time, the same command goes on where it was and ends with the same set;
    asked for more, it extends the lake.
    Nothing need be trained: a model ships for cases of the demo recipe.

    \b
    Example:
        factory generate --cases cases --model demo --out lake --ratio 0.25
    """
    from jobs.console import command_line, conclude, give
    from jobs.generate.actors import parse_num_actors
    from jobs.generate.config import GenerateConfig
    from jobs.generate.job import EVERY_CLASS, generate
    from jobs.generate.model import find_model, refuse_flags
    from jobs.recipe import load_recipe
    from jobs.workspace import place_of

    config = load_recipe(options.recipe_name(recipe)).table(
        "generate",
        GenerateConfig,
        steps=steps,
        sampler=sampler.value if sampler else None,
        precision=precision.value if precision else None,
        compiled=compiled,
    )
    if not config.traits.needs_model:
        flags = {"--model": model, "--sampler": sampler, "--steps": steps, "--precision": precision}
        refuse_flags(config, flags | {"--compiled": compiled, "--device cuda": device == "cuda"})
    result = generate(
        place_of("cases", cases),
        find_model(model) if config.traits.needs_model else None,
        place_of("lake", out),
        options.amount(ratio, extra, count),
        config,
        seed=seed,
        nodules=nodules,
        layouts=layouts,
        actors=parse_num_actors(actors),
        num_gpus_per_actor=num_gpus_per_actor,
        device=device.value,
        retry_quarantined=retry_class or (EVERY_CLASS if retry_quarantined else None),
        ray_address=ray_address,
    )
    rejected = f", {result.num_rejected} of them rejected" if result.num_rejected else ""
    conclude(
        f"{result.num_real} real + {counted(result.num_synthetic, 'synthetic training volume')} "
        f"({result.synthetic_fraction:.2%} synthetic){rejected}, {result.num_quarantined} quarantined",
        command_line("factory verify", out),
    )
    give(result.manifest)
