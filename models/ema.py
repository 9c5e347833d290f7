"""Exponential moving average of a network's weights: what is sampled from after training."""

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn


class Ema:
    """Keeps an averaged copy of `source`; the defaults are Lung-DDPM's.

    Until `start_step` the copy simply follows the weights: an average that remembers the random
    initialisation would be worse than none.

    Attributes:
        module: The averaged copy, in eval mode, without gradients.
    """

    def __init__(
        self,
        module: nn.Module,
        decay: float = 0.995,
        start_step: int = 2000,
        update_every: int = 10,
    ) -> None:
        """Copy `module`, which is then read at each update.

        Args:
            module: The network that is trained (not its data-parallel wrapper).
            decay: Weight of the old average at an update, in [0, 1].
            start_step: First step that averages.
            update_every: Average at steps that are multiples of this.

        Raises:
            ValueError: `decay` is outside [0, 1], or `update_every` is below 1.
        """
        if not 0.0 <= decay <= 1.0:
            raise ValueError(f"EMA decay is {decay}; it must lie in [0, 1]")
        if update_every < 1:
            raise ValueError(f"EMA update_every is {update_every} steps; it must be at least 1")
        self.decay, self.start_step, self.update_every = decay, start_step, update_every
        self._source = module
        self.module = copy.deepcopy(module).eval().requires_grad_(False)

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after training step `step`, counted from 0."""
        if step < self.start_step:
            self.module.load_state_dict(self._source.state_dict())
        elif step % self.update_every == 0:
            self._average()

    def _average(self) -> None:
        for average, weight in zip(
            self.module.parameters(), self._source.parameters(), strict=True
        ):
            average.lerp_(weight, 1.0 - self.decay)
        for kept, buffer in zip(self.module.buffers(), self._source.buffers(), strict=True):
            kept.copy_(buffer)

    def state_dict(self) -> dict[str, Tensor]:
        """Return the averaged weights, by name."""
        return self.module.state_dict()

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Set the averaged weights to those that `state_dict` returned."""
        self.module.load_state_dict(state)
