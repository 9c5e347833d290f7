"""Who trains together: one process alone, or several that exchange gradients."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import torch.distributed
from torch import Tensor, nn

FoundT = TypeVar("FoundT")


def _as_it_is(network: nn.Module) -> nn.Module:
    return network


@dataclass(frozen=True, slots=True)
class Workers:
    """The place of a process among those that train one network."""

    rank: int = 0
    world: int = 1
    prepare: Callable[[nn.Module], nn.Module] = _as_it_is
    """Puts a network into DDP."""

    def united(self, found: Mapping[str, FoundT]) -> dict[str, FoundT]:
        """Return what all workers have found together; each of them must call this."""
        if self.world == 1:
            return dict(found)
        parts: list[dict[str, FoundT]] = [{} for _ in range(self.world)]
        torch.distributed.all_gather_object(parts, dict(found))
        return {name: one for part in parts for name, one in part.items()}

    def summed(self, numbers: Tensor) -> Tensor:
        """Return the sum over all workers, which may be written into `numbers`."""
        if self.world > 1:
            torch.distributed.all_reduce(numbers)
        return numbers


ALONE = Workers()
"""One process, and no other."""
