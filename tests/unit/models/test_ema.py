import pytest
import torch
from torch import nn

from models.ema import Ema


class Scalar(nn.Module):
    """One weight, and one buffer that follows it."""

    def __init__(self, weight: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(weight))
        self.register_buffer("seen", torch.tensor(0))


def set_weight(module: Scalar, weight: float) -> None:
    with torch.no_grad():
        module.weight.fill_(weight)


def test_the_average_follows_the_weights_then_averages_every_so_often() -> None:
    module = Scalar(0.0)
    ema = Ema(module, decay=0.9, start_step=2, update_every=2)
    found = []
    for step, weight in enumerate([1.0, 2.0, 3.0, 10.0, 5.0]):
        set_weight(module, weight)
        ema.update(step)
        found.append(ema.module.weight.item())
    # 0.9 * 2 + 0.1 * 3 = 2.1 at step 2, untouched at 3, then 0.9 * 2.1 + 0.1 * 5 = 2.39.
    assert found == pytest.approx([1.0, 2.0, 2.1, 2.1, 2.39])


def test_defaults_are_the_papers() -> None:
    module = Scalar(0.0)
    ema = Ema(module)
    ema.update(1999)
    set_weight(module, 1.0)
    ema.update(2001)
    assert ema.module.weight.item() == 0.0
    ema.update(2010)
    assert ema.module.weight.item() == pytest.approx(0.005)


def test_buffers_are_copied_not_averaged() -> None:
    module = Scalar(0.0)
    ema = Ema(module, start_step=0, update_every=1)
    module.seen.fill_(7)
    ema.update(0)
    assert ema.module.seen.item() == 7


def test_the_copy_is_for_evaluation_and_training_goes_on_untouched() -> None:
    module = Scalar(1.0).train()
    ema = Ema(module)
    assert not ema.module.training
    assert not ema.module.weight.requires_grad
    assert module.training
    assert module.weight.requires_grad
    ema.module.weight.fill_(5.0)
    assert module.weight.item() == 1.0


def test_a_resumed_average_goes_on_where_it_stopped() -> None:
    module = Scalar(0.0)
    ema = Ema(module, decay=0.5, start_step=0, update_every=1)
    set_weight(module, 4.0)
    ema.update(0)
    resumed = Ema(module, decay=0.5, start_step=0, update_every=1)
    resumed.load_state_dict(ema.state_dict())
    resumed.update(1)
    assert resumed.module.weight.item() == pytest.approx(3.0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"decay": 1.5}, r"EMA decay is 1.5; it must lie in \[0, 1\]"),
        ({"update_every": 0}, "EMA update_every is 0 steps; it must be at least 1"),
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Ema(Scalar(0.0), **settings)
