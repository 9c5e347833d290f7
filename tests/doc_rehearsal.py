"""Makes what pages of the docs ask for small, and computed in this process."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import pytest
from evaluations import measure_in_process
from layout_folders import in_process as lay_out_in_process
from support import connect_alone, draw_in_process

from jobs.recipe import DEFAULT_RECIPE, Recipe, _merged, load_recipe

GRID = 32
_MODEL = {"base_channels": 16, "channel_mults": [1, 2], "attention_max_size": 8}
_NETWORK = {"channels": [4, 8], "strides": [2]}
_ANY = [-1e9, 1e9]

SMALL: Mapping[str, Any] = {
    "ingest": {"grid": GRID},
    "layouts": {"diameters": "uniform:14:18", "max_nodules": 2},
    "train": {
        "steps": 2,
        "num_probes": 1,
        "num_samples": 1,
        "num_loaders": 0,
        "decay_steps": 0,
        "warmup_steps": 0,
        "model": _MODEL,
        "schedule": {"num_steps": 4},
    },
    "generate": {
        "steps": 2,
        "max_redraws": 0,
        # Weights that nobody trained draw no lungs.
        "quality": {
            "min_changed_fraction": 0.0,
            "lung_median_hu": _ANY,
            "bone_median_hu": _ANY,
            "max_lung_shift_hu": 1e9,
            "lung_spread": _ANY,
            "min_nodule_contrast_hu": 0.0,
            "min_nodule_share": 0.0,
            "seam_score": _ANY,
            "max_saturated_fraction": 1.0,
        },
    },
    "downstream": {"network": "AttentionUnet", "network_args": _NETWORK, "steps": 2, "num_loaders": 0},
}  # fmt: skip
"""Stands above every recipe that a page names: what is left of it takes seconds."""

_whole = Recipe.table

ConfigT = TypeVar("ConfigT")


def small_config(verb: str, config: type[ConfigT]) -> ConfigT:
    """Return the settings of a verb that a page comes to where it names no recipe."""
    small: ConfigT = _small(load_recipe(DEFAULT_RECIPE), verb, config)
    return small


def make_recipes_small(patch: pytest.MonkeyPatch) -> None:
    """Make every recipe one for 32^3 and two steps, whatever its name."""
    patch.setattr(Recipe, "table", _small)


def _small(recipe: Recipe, verb: str, config: Any, **given: Any) -> Any:
    values = _merged(recipe.tables.get(verb, {}), SMALL.get(verb, {}))
    if values.get("variant") == "authors":
        # The published loop takes all steps of its schedule, and has no others.
        del values["steps"]
    return _whole(Recipe(recipe.name, {**recipe.tables, verb: values}), verb, config, **given)


def take_small_model(model: Path, patch: pytest.MonkeyPatch) -> None:
    """Put a model of 32^3 in the place of the one that ships."""
    from jobs.generate import model as choice

    patch.setattr(choice, "shipped", lambda _: model)
    # By its path: under its name, actors would load the one that ships.
    patch.setattr(choice, "_name", str)


def compute_in_process(patch: pytest.MonkeyPatch) -> None:
    """Make every verb but `train` compute in this process, where it needs no minutes to start."""
    from jobs.downstream import job as downstream
    from jobs.downstream.fit import fit_and_test
    from jobs.downstream.sweep import job as sweep
    from jobs.downstream.sweep.task import run_once
    from jobs.export import job as export
    from jobs.ingest import job as ingest
    from jobs.ingest.task import ingest_case

    def run_tasks(function: Any, calls: Iterable[Any], *, window: int) -> Iterator[Any]:
        for arguments in calls:
            yield arguments, function(*arguments)

    def stream(inputs: Iterable[Any], lake: Any, how: Any, _: Any) -> Iterator[Any]:
        for given in inputs:
            yield given, ingest_case(given.source, lake.url, *how)

    def ended(todo: Iterable[Any], aside: Path, _: Any) -> Iterator[Any]:
        for spec in todo:
            yield spec, run_once(spec, str(aside), "cpu")

    draw_in_process(patch)
    measure_in_process(patch)
    lay_out_in_process(patch)
    for job in (ingest, export, downstream, sweep):
        patch.setattr(job, "connect", connect_alone)
    patch.setattr(ingest, "stream", stream)
    patch.setattr(export, "run_tasks", run_tasks)
    patch.setattr(
        downstream, "fit_on_workers", lambda _, spec, *__: fit_and_test(spec, device="cpu")
    )
    patch.setattr(sweep, "bytes_of_the_largest_node", lambda: 2**40)
    patch.setattr(sweep, "_ended", ended)
