"""The gradient of a batch, volume by volume, on one worker or several."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

ExampleT = TypeVar("ExampleT")


def leave_mean_gradient(
    parallel: nn.Module,
    batch: Sequence[ExampleT],
    loss_of: Callable[[ExampleT], Tensor],
    *,
    batch_size: int,
    world: int,
    device: torch.device,
) -> Tensor:
    """Leave the mean gradient of the whole batch in the weights.

    Args:
        parallel: What `loss_of` calls: the network, or DDP around it.
        batch: Examples of this worker's slots.
        loss_of: Loss of one of them.
        batch_size: Slots of a step, over all workers.
        world: Workers; each of them must call this.
        device: Of the network.

    Returns:
        This worker's share of the mean loss.
    """
    total = torch.zeros((), device=device)
    for slot, example in enumerate(batch, start=1):
        with _exchange(parallel, last=slot == len(batch)):
            loss = loss_of(example)
            # DDP averages over workers; with this factor the average is the batch's mean.
            (loss * world / batch_size).backward()  # type: ignore[no-untyped-call]
        total += loss.detach() / batch_size
    return total


def _exchange(parallel: nn.Module, *, last: bool) -> AbstractContextManager[None]:
    """Exchange gradients with the last slot only."""
    if isinstance(parallel, DistributedDataParallel) and not last:
        return parallel.no_sync()
    return nullcontext()
