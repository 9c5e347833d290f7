"""Which samplers a recipe can ask for, and what they take when it says nothing."""

from typing import Any

import pytest

from factory.ingest.prepare import IngestConfig
from jobs.generate import config as module
from jobs.generate.config import GenerateConfig
from jobs.generate.synthesizers.choose import _MAKERS
from jobs.recipe import load_recipe
from jobs.train.config import TrainConfig
from models.aas import BLENDS, Blend, Variant
from models.engine import Precision
from models.solvers import Sampler, Variance


def test_every_choice_of_the_samplers_can_be_asked_for_and_no_other() -> None:
    known = {
        "synthesizer": tuple(_MAKERS),
        "sampler": Sampler.__args__,
        "variant": Variant.__args__,
        "blend": ("auto", *Blend.__args__),
        "sigma": Variance.__args__,
        "precision": Precision.__args__,
    }
    assert known == module._CHOICES


@pytest.mark.parametrize("sampler", ["ddpm", "ddim", "dpmpp_2m"])
def test_auto_blends_as_the_sampler_does_by_default(sampler: str) -> None:
    assert GenerateConfig(sampler=sampler).blend_taken == BLENDS[sampler]
    assert GenerateConfig(sampler=sampler, blend="level").blend_taken == "level"


@pytest.mark.parametrize(
    ("config", "total", "steps"),
    [
        (GenerateConfig(), 250, 250),
        (GenerateConfig(steps=40), 250, 40),
        (GenerateConfig(sampler="ddim"), 250, 25),
        (GenerateConfig(sampler="dpmpp_2m"), 20, 20),
        (GenerateConfig(sampler="dpmpp_2m", steps=10), 250, 10),
    ],
)
def test_steps_that_nobody_named_are_all_or_few(
    config: GenerateConfig, total: int, steps: int
) -> None:
    assert config.num_steps(total) == steps


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"sampler": "ddim"}, "sampler = 'ddim'"),
        ({"steps": 50}, "steps = 50"),
        ({"clip_x0": False}, "clip_x0 = False"),
        ({"sigma": "beta"}, "sigma = 'beta'"),
        ({"blend": "start"}, "blend = 'start'"),
    ],
)
def test_the_authors_loop_refuses_what_it_does_not_have(
    options: dict[str, object], name: str
) -> None:
    with pytest.raises(
        ValueError, match=f"the published loop, which has no {name}; leave that .* fast"
    ):
        GenerateConfig(variant="authors", **options)


def test_the_recipe_for_published_weights_takes_their_loop() -> None:
    config = load_recipe("published").table("generate", GenerateConfig)
    assert (config.variant, config.sampler, config.num_steps(250)) == ("authors", "ddpm", 250)


@pytest.mark.parametrize("sampler", ["ddim", "dpmpp_2m"])
def test_few_steps_are_clamped_whatever_the_recipe_says_of_algorithm_2(sampler: str) -> None:
    paper = load_recipe("paper")
    assert not paper.table("generate", GenerateConfig).clip_taken
    assert paper.table("generate", GenerateConfig, sampler=sampler).clip_taken


@pytest.mark.parametrize(
    ("config", "name"),
    [
        (GenerateConfig(), "ddpm"),
        (GenerateConfig(variant="authors"), "ddpm authors"),
        (GenerateConfig(sampler="dpmpp_2m", precision="bfloat16"), "dpmpp_2m bfloat16"),
    ],
)
def test_a_row_tells_the_authors_loop_and_the_precision(config: GenerateConfig, name: str) -> None:
    assert config.sampler_taken == name


@pytest.mark.parametrize(("verb", "config"), [("ingest", IngestConfig), ("train", TrainConfig)])
def test_the_fast_recipe_ingests_and_trains_as_the_paper_does(verb: str, config: Any) -> None:
    assert load_recipe("fast").table(verb, config) == load_recipe("paper").table(verb, config)


def test_the_fast_recipe_takes_a_tenth_of_the_steps() -> None:
    config = load_recipe("fast").table("generate", GenerateConfig)
    assert (config.sampler, config.num_steps(250), config.precision) == ("dpmpp_2m", 25, "bfloat16")
