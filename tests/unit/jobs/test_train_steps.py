"""One optimizer step: what it adds up, what it refuses, and that it can be gone on from."""

import copy
import io
from dataclasses import replace
from typing import Any

import pytest
import torch

from jobs.train.config import EmaConfig, TrainConfig
from jobs.train.examples import Example
from jobs.train.steps import Training, ddp_options, start_training, take_step, voxel_weight
from models.schedule import NoiseSchedule
from models.unet3d_config import UNet3DConfig

CPU = torch.device("cpu")
CONFIG = TrainConfig(
    batch_size=2,
    learning_rate=1e-3,
    warmup_steps=3,
    max_grad_norm=1.0,
    lung_weight=3.0,
    ema=EmaConfig(decay=0.5, start_step=1, update_every=1),
    model=UNet3DConfig(grid=8, base_channels=8, channel_mults=(1, 2)),
)
DROPPING = replace(CONFIG, model=replace(CONFIG.model, dropout=0.3))
SCHEDULE = NoiseSchedule(CONFIG.schedule)


def example(seed: int) -> Example:
    generator = torch.Generator().manual_seed(seed)
    shape = (1, 1, 8, 8, 8)
    condition = -torch.ones(1, 2, 8, 8, 8)
    condition[0, 0, 2:6] = 1.0
    return Example(
        x_start=torch.rand(shape, generator=generator) * 2 - 1,
        condition=condition,
        t=torch.randint(CONFIG.schedule.num_steps, (1,), generator=generator),
        noise=torch.randn(shape, generator=generator),
        dropout_seed=seed,
    )


def batch(step: int) -> list[Example]:
    return [example(10 * step), example(10 * step + 1)]


def take(training: Training, num_steps: int, config: TrainConfig = CONFIG) -> list[float]:
    return [
        take_step(training, config, SCHEDULE, batch(training.step)).loss for _ in range(num_steps)
    ]


def weights(training: Training) -> list[torch.Tensor]:
    return [weight.detach().clone() for weight in training.model.parameters()]


def test_a_training_that_was_written_and_read_goes_on_bit_for_bit() -> None:
    calm = start_training(CONFIG, CPU)
    losses = take(calm, 3)
    file = io.BytesIO()
    torch.save(calm.state_dict(), file)
    file.seek(0)
    losses += take(calm, 3)

    other = start_training(replace(CONFIG, seed=5), CPU)
    other.load_state_dict(torch.load(file, weights_only=True))
    assert take(other, 3) == losses[3:]
    for ours, theirs in zip(weights(other), weights(calm), strict=True):
        assert torch.equal(ours, theirs)
    averaged = other.ema.state_dict()
    assert all(torch.equal(value, averaged[key]) for key, value in calm.ema.state_dict().items())


def test_two_trainings_on_a_cpu_are_the_same_bit_for_bit() -> None:
    first, second = (start_training(CONFIG, CPU) for _ in range(2))
    assert take(first, 3) == take(second, 3)
    pairs = zip(weights(first), weights(second), strict=True)
    assert all(torch.equal(ours, theirs) for ours, theirs in pairs)


def test_a_training_with_dropout_that_goes_on_drops_what_a_calm_one_does() -> None:
    calm = start_training(DROPPING, CPU)
    losses = take(calm, 2, DROPPING)
    state = copy.deepcopy(calm.state_dict())
    losses += take(calm, 2, DROPPING)

    other = start_training(replace(DROPPING, seed=5), CPU)
    other.load_state_dict(state)
    torch.rand(7)  # As whatever else a worker draws.
    assert take(other, 2, DROPPING) == losses[2:]


def test_each_slot_drops_by_its_own_seed_and_what_is_recomputed_alike() -> None:
    config = replace(DROPPING, batch_size=1, max_grad_norm=0.0)

    def taken(seed: int, *, recomputed: bool = False) -> tuple[float, list[torch.Tensor]]:
        training = start_training(config, CPU)
        training.model.activation_checkpointing = recomputed
        # Layers that are 0 before the first step would hide what is dropped.
        with torch.no_grad():
            for weight in training.model.parameters():
                weight.add_(0.01)
        loss = take_step(training, config, SCHEDULE, [replace(example(1), dropout_seed=seed)]).loss
        return loss, [w.grad for w in training.model.parameters() if w.grad is not None]

    (loss, gradients), (other, _) = taken(3), taken(4)
    again, recomputed = taken(3, recomputed=True)
    assert again == loss != other
    for gradient, same in zip(gradients, recomputed, strict=True):
        torch.testing.assert_close(same, gradient)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e38])
def test_a_loss_that_is_not_finite_is_refused_before_it_spoils_the_weights(value: float) -> None:
    training = start_training(replace(CONFIG, loss="l2"), CPU)
    take(training, 1)
    before, average = weights(training), dict(training.ema.state_dict())
    bad = batch(1)
    bad[1].noise[0, 0, 3, 3, 3] = value
    with pytest.raises(
        FloatingPointError, match=r"^the loss is (nan|inf) and the L2 norm of its g"
    ):
        take_step(training, replace(CONFIG, loss="l2"), SCHEDULE, bad)
    assert training.step == 1
    assert all(torch.equal(a, b) for a, b in zip(before, weights(training), strict=True))
    assert all(torch.equal(average[key], value) for key, value in training.ema.state_dict().items())


def test_a_gradient_that_is_not_finite_is_refused_too() -> None:
    training = start_training(CONFIG, CPU)
    first = next(training.model.parameters())
    first.register_hook(lambda gradient: gradient * float("inf"))
    with pytest.raises(
        FloatingPointError, match=r"^the loss is 0\.\d+ and the L2 norm of its gradie"
    ):
        take(training, 1)


def gradient_norm(config: TrainConfig) -> float:
    training = start_training(config, CPU)
    seen: list[float] = []
    step = training.optimizer.step

    def look(*args: Any, **given: Any) -> Any:
        gradients = [w.grad for w in training.model.parameters() if w.grad is not None]
        seen.append(float(torch.nn.utils.get_total_norm(gradients)))
        return step(*args, **given)

    training.optimizer.step = look  # type: ignore[method-assign]
    take(training, 1, config)
    return seen[0]


def test_gradients_are_scaled_down_to_the_norm_and_never_up() -> None:
    free = gradient_norm(replace(CONFIG, max_grad_norm=0.0))
    assert gradient_norm(replace(CONFIG, max_grad_norm=free / 4)) == pytest.approx(free / 4, 1e-4)
    assert gradient_norm(replace(CONFIG, max_grad_norm=free * 4)) == free


def test_a_step_uses_the_rate_of_its_number() -> None:
    training = start_training(CONFIG, CPU)
    rates = [take_step(training, CONFIG, SCHEDULE, batch(k)).learning_rate for k in range(4)]
    assert rates == pytest.approx([1e-3 / 3, 2e-3 / 3, 1e-3, 1e-3], rel=1e-12)
    assert training.optimizer.param_groups[0]["lr"] == 1e-3


def test_the_loss_of_a_batch_is_the_mean_over_its_volumes_each_weighted_by_its_lungs() -> None:
    training = start_training(CONFIG, CPU)
    means = []
    for one in batch(0):
        x_t = SCHEDULE.q_sample_batch(one.x_start, one.t, one.noise)
        with torch.no_grad():
            error = (training.model(torch.cat([x_t, one.condition], 1), one.t) - one.noise).abs()
        lung = error[0, 0, 2:6].mean()
        rest = torch.cat([error[0, 0, :2], error[0, 0, 6:]]).mean()
        means.append(float(3 * lung + rest) / 4)  # As many voxels inside as outside.
    assert take(training, 1)[0] == pytest.approx(sum(means) / 2, rel=1e-5)


def test_lungs_and_nodules_weigh_more_and_one_means_no_weights() -> None:
    condition = torch.tensor([[-1.0, 1.0, -1.0], [-1.0, -1.0, 1.0]]).reshape(1, 2, 1, 1, 3)
    found = voxel_weight(condition, 2.5)
    assert found is not None
    assert found.flatten().tolist() == [1.0, 2.5, 2.5]
    assert voxel_weight(condition, 1.0) is None


def test_a_flag_is_told() -> None:
    training = start_training(CONFIG, CPU)
    told = [take_step(training, CONFIG, SCHEDULE, batch(k), flag=k == 1).flagged for k in range(3)]
    assert told == [False, True, False]


@pytest.mark.parametrize(
    ("batch_size", "world", "is_static"), [(2, 2, True), (3, 2, False), (4, 2, False), (3, 3, True)]
)
def test_the_graph_is_static_only_where_each_worker_has_one_volume_a_step(
    batch_size: int, world: int, is_static: bool
) -> None:
    assert ddp_options(TrainConfig(batch_size=batch_size), world)["static_graph"] is is_static
