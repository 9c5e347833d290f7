"""The `factory generate` that goes on with a lake, as its `dataset.json` tells.

dataset.json --a recipe that ships, and flags above it--> factory generate --cases ... --out LAKE
"""

from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from factory.errors import RecipeError
from factory.lake import Lake
from jobs.console import command_line
from jobs.generate.config import GenerateConfig
from jobs.options import model_value
from jobs.recipe import load_recipe, read_table, recipe_names
from jobs.workspace import from_here
from manifests.read import is_url
from models.weights import NAMES

THE_SAME = "the same factory generate again"
"""What to say where no flags tell it."""

_FLAGS = {"steps": "--steps", "sampler": "--sampler", "precision": "--precision"}
"""Settings that a flag says above the recipe."""


def generate_line(lake: Lake) -> str:
    """Return the command that goes on with a lake, for this folder.

    Returns:
        The command; or, where no recipe that ships and no flags mean what made the lake, as after a release
        that changed them, `THE_SAME`.
    """
    said = lake.identity() or {}
    try:
        config = read_table(GenerateConfig, said["config"], "dataset.json")
        how = _recipe_flags(config)
        if how is None:
            return THE_SAME
        what = {
            **{f"--{key}": value for key, value in said["asked"].items()},
            "--cases": from_here(said["cases"]),
            "--model": _model(said["model"]),
            "--out": from_here(lake.url),
            **how,
            "--seed": said["settings"]["seed"] or None,
            "--nodules": from_here(said["nodules"]),
            "--layouts": from_here(said.get("layouts", "")),
        }
    except (RecipeError, LookupError, TypeError, AttributeError):
        return THE_SAME
    return command_line("factory generate", flags=what)


def _recipe_flags(config: GenerateConfig) -> Mapping[str, object] | None:
    """Return the recipe that ships and the fewest flags above it that mean a config."""
    found = list(_ways(config))
    return min(found, key=len) if found else None


def _ways(config: GenerateConfig) -> Iterator[dict[str, object]]:
    for name in recipe_names():
        recipe = load_recipe(name).table("generate", GenerateConfig)
        above = {
            one.name: getattr(config, one.name)
            for one in fields(config)
            if getattr(config, one.name) != getattr(recipe, one.name)
        }
        is_compiled = above.pop("compiled", None)
        if above.keys() <= _FLAGS.keys() and above.get("steps") != 0:
            flags: dict[str, Any] = {_FLAGS[key]: value for key, value in above.items()}
            if is_compiled is not None:
                flags["--compiled" if is_compiled else "--no-compiled"] = True
            yield {"--recipe": name, **flags}


def _model(model: str) -> str:
    if model in NAMES or is_url(model) or not model:
        return model
    return model_value(Path(from_here(model)))
