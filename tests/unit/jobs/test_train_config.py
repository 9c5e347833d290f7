"""Settings of a training run."""

from pathlib import Path

import pytest
import torch

from factory.errors import RecipeError
from jobs.recipe import load_recipe
from jobs.train.config import EmaConfig, TrainConfig
from jobs.train.steps import start_training
from models.unet3d_config import UNet3DConfig


def test_the_defaults_are_the_papers() -> None:
    config = TrainConfig()
    assert (config.steps, config.batch_size, config.learning_rate) == (100_000, 1, 1e-5)
    assert config.hu_window == (-1024.0, 600.0)
    assert config.schedule.num_steps == 250
    assert (config.precision, config.activation_checkpointing) == ("float32", False)
    assert config.ema == EmaConfig(decay=0.995, start_step=2000, update_every=10)


@pytest.mark.parametrize("name", ["steps", "batch_size", "checkpoint_every", "num_checkpoints"])
def test_a_count_below_one_is_refused_by_name(name: str) -> None:
    with pytest.raises(ValueError, match=rf"^{name} is 0; it must be at least 1$"):
        TrainConfig(**{name: 0})


def test_a_count_below_zero_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"^max_failures is -1; it must be 0 or more$"):
        TrainConfig(max_failures=-1)
    with pytest.raises(ValueError, match=r"^start_step is -1; it must be 0 or more$"):
        EmaConfig(start_step=-1)
    assert TrainConfig(max_failures=0, ema=EmaConfig(start_step=0)).max_failures == 0


@pytest.mark.parametrize("in_channels", [2, 4])
def test_a_network_for_other_channels_than_training_feeds_is_refused(in_channels: int) -> None:
    message = rf"^model\.in_channels is {in_channels}; training feeds 3: the noisy volume, lung"
    with pytest.raises(ValueError, match=message):
        TrainConfig(model=UNet3DConfig(in_channels=in_channels))


@pytest.mark.parametrize("rate", [0.0, -1e-5, float("nan")])
def test_a_learning_rate_must_be_above_zero(rate: float) -> None:
    with pytest.raises(ValueError, match=r"^learning_rate is .*; it must be above 0$"):
        TrainConfig(learning_rate=rate)


@pytest.mark.parametrize("window", [(600.0, -1024.0), (0.0, 0.0), (float("nan"), 600.0)])
def test_a_window_must_go_up(window: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match=r"^hu_window is \(.*\) HU; the first must be the lower$"):
        TrainConfig(hu_window=window)


@pytest.mark.parametrize("precision", ["float16", "bf16", ""])
def test_a_precision_that_no_one_knows_is_refused_with_those_that_are(precision: str) -> None:
    message = rf"^precision is '{precision}'; known are float32, bfloat16$"
    with pytest.raises(ValueError, match=message):
        TrainConfig(precision=precision)


@pytest.mark.parametrize("activation_checkpointing", [False, True])
def test_the_network_that_trains_has_the_recipes_checkpointing_and_its_average_never_recomputes(
    activation_checkpointing: bool,
) -> None:
    small = UNet3DConfig(grid=8, base_channels=8, channel_mults=(1, 2))
    config = TrainConfig(model=small, activation_checkpointing=activation_checkpointing)
    training = start_training(config, torch.device("cpu"))
    assert training.model.activation_checkpointing is activation_checkpointing
    assert not training.ema.module.training


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('precision = "half"', r"\[train\]: precision is 'half'; known are float32, bfloat16"),
        ("precision = 16", r"\[train\] precision: found 16; expected str"),
        ("activation_checkpointing = 1", r"activation_checkpointing: found 1; expected bool"),
    ],
)
def test_a_recipe_with_a_wrong_precision_or_switch_is_refused(
    line: str, message: str, tmp_path: Path
) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(f"[train]\n{line}\n")
    with pytest.raises(RecipeError, match=message):
        load_recipe(str(recipe)).table("train", TrainConfig)
