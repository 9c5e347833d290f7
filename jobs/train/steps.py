"""One optimizer step, with or without Ray.

examples of my slots -> loss on epsilon -> DDP mean -> finite? -> clip -> Adam -> EMA
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from jobs.train.accumulate import leave_mean_gradient
from jobs.train.config import TrainConfig
from jobs.train.examples import Example
from jobs.train.learning_rate import learning_rate_at
from jobs.train.told import told
from models.ddpm import LossKind, eps_loss
from models.ema import Ema
from models.schedule import NoiseSchedule, Prediction
from models.unet3d import UNet3D


@dataclass(slots=True)
class Training:
    """What a step changes."""

    model: UNet3D
    parallel: nn.Module
    """What is called: the model, or DDP around it."""
    ema: Ema
    optimizer: torch.optim.Optimizer
    step: int = 0
    """Steps taken; the next one is number `step`, counted from 0."""

    def state_dict(self) -> dict[str, Any]:
        """Return all that the next step depends on."""
        return {
            "model": self.model.state_dict(),
            "ema": self.ema.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            # bfloat16 has float32's exponents, so losses are not scaled.
            "scaler": None,
            "step": self.step,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go back to where `state_dict` was taken."""
        self.model.load_state_dict(state["model"])
        self.ema.load_state_dict(state["ema"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step = state["step"]


@dataclass(frozen=True, slots=True)
class Taken:
    """What a step tells."""

    loss: float
    """Mean over the whole batch."""
    learning_rate: float
    flagged: bool
    """Whether any worker raised its flag."""


def start_training(config: TrainConfig, device: torch.device) -> Training:
    """Return a training before its first step, the same on each worker."""
    # Each worker draws the same weights: DDP then has nothing to repair.
    torch.manual_seed(config.seed)
    model = UNet3D(config.model, NoiseSchedule(config.schedule)).to(device)
    model.activation_checkpointing = config.activation_checkpointing
    ema = Ema(model, **asdict(config.ema))
    if config.compiled:
        # In place, so that weights keep their names, and after the average was copied.
        model.compile(dynamic=False)
    return Training(
        model=model,
        parallel=model,
        ema=ema,
        optimizer=torch.optim.Adam(model.parameters(), lr=config.learning_rate, fused=True),
    )


def settle(
    training: Training,
    config: TrainConfig,
    schedule: NoiseSchedule,
    batch: Sequence[Example],
    *,
    world: int,
) -> None:
    """Make a training that goes on add as one that never stopped; each worker must call this.

    DDP arranges its buckets anew after the first exchange, of a static graph after the second, and
    where in a bucket a gradient lies says in which order three or more workers add it. So the first
    exchanges are some that count for nothing. The sum of two has one order.
    """
    if world > 2:
        for _ in range(2 if ddp_options(config, world)["static_graph"] else 1):
            training.optimizer.zero_grad(set_to_none=True)
            _backward(training, config, schedule, batch, world)


def ddp_options(config: TrainConfig, world: int) -> dict[str, bool]:
    """Return the options of DDP for `world` workers."""
    # With a static graph DDP asserts that the first backward pass exchanges, which is so only where
    # no worker leaves an exchange to the second of its slots.
    return {
        "gradient_as_bucket_view": True,
        "static_graph": config.batch_size <= world,
    }


def take_step(
    training: Training,
    config: TrainConfig,
    schedule: NoiseSchedule,
    batch: Sequence[Example],
    *,
    world: int = 1,
    flag: bool = False,
) -> Taken:
    """Take one optimizer step over this worker's slots.

    Args:
        training: Changed in place.
        config: The recipe.
        schedule: Its noise schedule.
        batch: Examples of this worker's slots.
        world: Workers; each of them must call this.
        flag: Told to all workers with the loss.

    Raises:
        FloatingPointError: The loss or its gradient is not finite, on all workers alike; the
            weights are still those of the last step.
    """
    rate = learning_rate_at(config, training.step)
    training.optimizer.zero_grad(set_to_none=True)
    total = _backward(training, config, schedule, batch, world)
    norm = torch.nn.utils.get_total_norm(_gradients(training.model))
    # One exchange. After DDP's the norm is the same on each worker, up to what is not finite.
    numbers = torch.stack([total, norm / world, torch.full_like(total, flag)])
    if world > 1:
        torch.distributed.all_reduce(numbers)
    loss, size, flags = numbers.tolist()
    if not math.isfinite(loss) or not math.isfinite(size):
        raise FloatingPointError(
            f"the loss is {loss} and the L2 norm of its gradient {size}; expected finite ones"
        )
    if config.max_grad_norm:
        weights = training.model.parameters()
        torch.nn.utils.clip_grads_with_norm_(weights, config.max_grad_norm, numbers[1])
    for group in training.optimizer.param_groups:
        group["lr"] = rate
    training.optimizer.step()
    training.ema.update(training.step)
    training.step += 1
    return Taken(loss=loss, learning_rate=rate, flagged=flags > 0)


def voxel_weight(condition: Tensor, lung_weight: float) -> Tensor | None:
    """Return what each voxel counts in the loss; None where all count alike.

    Args:
        condition: (B, 2, D, H, W) lung and nodule, -1 or +1.
        lung_weight: Of voxels of either; all others have 1.

    Returns:
        (B, 1, D, H, W).
    """
    if lung_weight == 1.0:
        return None
    inside = condition.amax(dim=1, keepdim=True) > 0
    return 1.0 + (lung_weight - 1.0) * inside


def autocast(config: TrainConfig, device: torch.device) -> torch.autocast:
    """Return the context in which the network is called."""
    enabled = config.precision == "bfloat16"
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=enabled)


def _backward(
    training: Training,
    config: TrainConfig,
    schedule: NoiseSchedule,
    batch: Sequence[Example],
    world: int,
) -> Tensor:
    """Leave the mean gradient of the whole batch; return this worker's share of the loss."""
    device = next(training.model.parameters()).device
    return leave_mean_gradient(
        training.parallel,
        batch,
        lambda example: _loss(training.parallel, config, schedule, example, device),
        batch_size=config.batch_size,
        world=world,
        device=device,
    )


def _loss(
    network: nn.Module,
    config: TrainConfig,
    schedule: NoiseSchedule,
    example: Example,
    device: torch.device,
) -> Tensor:
    x_start, condition, t, noise = (
        tensor.to(device, non_blocking=True)
        for tensor in (example.x_start, example.condition, example.t, example.noise)
    )
    weight = voxel_weight(condition, config.lung_weight)
    if config.model.dropout:
        # Nothing else draws from the process's generator once the weights are made.
        torch.manual_seed(example.dropout_seed)
    with autocast(config, device):
        return eps_loss(
            network,
            schedule,
            x_start,
            told(condition, config.labels),
            t,
            noise,
            kind=cast("LossKind", config.loss),
            weight=weight,
            prediction=cast("Prediction", config.model.prediction),
        )


def _gradients(model: nn.Module) -> Iterator[Tensor]:
    return (weight.grad for weight in model.parameters() if weight.grad is not None)
