"""Settings of a training run."""

import pytest

from jobs.train.config import EmaConfig, TrainConfig


def test_the_defaults_are_the_papers() -> None:
    config = TrainConfig()
    assert (config.steps, config.batch_size, config.learning_rate) == (100_000, 1, 1e-5)
    assert config.hu_window == (-1024.0, 600.0)
    assert config.schedule.num_steps == 250
    assert config.ema == EmaConfig(decay=0.995, start_step=2000, update_every=10)


@pytest.mark.parametrize("name", ["steps", "batch_size", "checkpoint_every", "num_checkpoints"])
def test_a_count_below_one_is_refused_by_name(name: str) -> None:
    with pytest.raises(ValueError, match=rf"^{name} is 0; it must be at least 1$"):
        TrainConfig(**{name: 0})


@pytest.mark.parametrize("rate", [0.0, -1e-5, float("nan")])
def test_a_learning_rate_must_be_above_zero(rate: float) -> None:
    with pytest.raises(ValueError, match=r"^learning_rate is .*; it must be above 0$"):
        TrainConfig(learning_rate=rate)


@pytest.mark.parametrize("window", [(600.0, -1024.0), (0.0, 0.0), (float("nan"), 600.0)])
def test_a_window_must_go_up(window: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match=r"^hu_window is \(.*\) HU; the first must be the lower$"):
        TrainConfig(hu_window=window)
