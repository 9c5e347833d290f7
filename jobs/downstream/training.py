"""The steps of a segmentation network, with or without Ray.

examples of my slots -> Dice + cross-entropy of each volume -> DDP mean -> finite? -> clip -> Adam
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from jobs.downstream.config import DownstreamConfig
from jobs.downstream.examples import Example
from jobs.downstream.networks import NetworkCall, build_network
from jobs.downstream.padded_network import PaddedNetwork
from jobs.downstream.workers import Workers
from jobs.train.accumulate import leave_mean_gradient

DDP_OPTIONS = {
    "gradient_as_bucket_view": True,
    # Statistics of batch norm are taken anew in the end, see `renew_norms`.
    "broadcast_buffers": False,
    # Some of MONAI's networks have weights that they do not use.
    "find_unused_parameters": True,
}


@dataclass(slots=True)
class Training:
    """What a step changes."""

    network: PaddedNetwork
    parallel: nn.Module
    """What is called: the network, or DDP around it."""
    optimizer: torch.optim.Optimizer
    loss: nn.Module
    """Of logits (B, 2, D, H, W) and labels (B, 1, D, H, W)."""
    step: int = 0
    """Steps taken."""


def start_training(
    call: NetworkCall, config: DownstreamConfig, seed: int, device: torch.device
) -> Training:
    """Return a training before its first step: of one seed the same weights, on each worker.

    Raises:
        UsageError: MONAI is not installed, or its network does not take the arguments.
    """
    torch.manual_seed(seed)
    network = build_network(call).to(device)
    from monai.losses.dice import DiceCELoss

    return Training(
        network=network,
        parallel=network,
        optimizer=torch.optim.Adam(
            network.parameters(),
            lr=config.learning_rate,
            weight_decay=config.weight_decay,
            fused=True,
        ),
        # Background is nearly everything: its Dice is 1 whatever is predicted.
        loss=DiceCELoss(include_background=False, to_onehot_y=True, softmax=True),
    )


def take_step(
    training: Training, config: DownstreamConfig, batch: Sequence[Example], workers: Workers
) -> float:
    """Take one optimizer step over this worker's slots; each worker must call this.

    A volume goes through the network by itself: batch norm sees one volume at a time, whatever the
    number of workers.

    Returns:
        The loss, the mean over the whole batch.

    Raises:
        FloatingPointError: The loss or its gradient is not finite, on all workers alike; the
            weights are still those of the last step.
    """
    device = next(training.network.parameters()).device
    training.parallel.train()
    training.optimizer.zero_grad(set_to_none=True)
    total = leave_mean_gradient(
        training.parallel,
        batch,
        lambda example: _loss(training, config, example, device),
        batch_size=config.batch_size,
        world=workers.world,
        device=device,
    )
    weights = list(training.network.parameters())
    norm = torch.nn.utils.get_total_norm([one.grad for one in weights if one.grad is not None])
    loss, size = workers.summed(torch.stack([total, norm / workers.world])).tolist()
    if not math.isfinite(loss) or not math.isfinite(size):
        raise FloatingPointError(
            f"the loss is {loss} and the L2 norm of its gradient {size}; expected finite ones"
        )
    if config.max_grad_norm:
        torch.nn.utils.clip_grads_with_norm_(
            weights, config.max_grad_norm, torch.tensor(size, device=device)
        )
    training.optimizer.step()
    training.step += 1
    return float(loss)


def renew_norms(network: nn.Module, volumes: Iterable[Tensor]) -> None:
    """Take the statistics of batch norm anew, over volumes under the trained weights.

    Those that training leaves are of its last volumes under weights that moved, and on several
    workers of a part of them; a mean over volumes is the same on any number of workers.

    Args:
        network: Changed in place; without batch norm nothing is.
        volumes: (1, 1, D, H, W) window units.
    """
    norms = [one for one in network.modules() if isinstance(one, _BatchNorm)]
    if not norms:
        return
    network.eval()
    for norm in norms:
        norm.reset_running_stats()
        # No momentum: the plain mean of all that follows.
        norm.momentum = None
        norm.train()
    device = next(network.parameters()).device
    with torch.no_grad():
        for units in volumes:
            network(units.to(device))
    network.eval()


def autocast(precision: str, device: torch.device) -> torch.autocast:
    """Return the context in which a network is called."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bfloat16")


def _loss(
    training: Training, config: DownstreamConfig, example: Example, device: torch.device
) -> Tensor:
    units, nodule = (one.to(device, non_blocking=True) for one in (example.units, example.nodule))
    # Nothing else draws from the process's generator once the weights are made.
    torch.manual_seed(example.dropout_seed)
    with autocast(config.precision, device):
        logits = training.parallel(units)
    loss: Tensor = training.loss(logits.float(), nodule.long())
    return loss
