"""A network that is fed with volumes of any grid.

(B, 1, D, H, W) --pad with air--> what its strides divide --network--> logits --crop--> (B, 2, D, H, W)
"""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from factory.errors import UsageError

NUM_CLASSES = 2
"""Background, and nodule."""

AIR = -1.0
"""The lower end of the window, in its units."""


class PaddedNetwork(nn.Module):
    """A network that takes volumes of any grid.

    Args:
        network: Takes (B, 1, D, H, W) and gives (B, 2, D, H, W), where `divisors` divide the grid.
        divisors: Of (z, y, x).
        name: For messages.
    """

    def __init__(self, network: nn.Module, divisors: Sequence[int], name: str) -> None:
        super().__init__()
        self.network = network
        self.name = name
        self._divisors = tuple(divisors)

    def forward(self, units: Tensor) -> Tensor:
        """Return the logits of background and nodule.

        Args:
            units: (B, 1, D, H, W) CTs, in window units.

        Returns:
            (B, 2, D, H, W).

        Raises:
            UsageError: The network gives something else.
        """
        grid = units.shape[2:]
        before, after = _padding(grid, self._divisors)
        # F.pad begins with the last axis.
        ends = [end for pair in zip(before, after, strict=True) for end in reversed(pair)][::-1]
        padded = F.pad(units, ends, value=AIR)
        logits = self.network(padded)
        expected = (units.shape[0], NUM_CLASSES, *padded.shape[2:])
        if not isinstance(logits, Tensor) or tuple(logits.shape) != expected:
            found = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
            raise UsageError(
                f"[downstream] network {self.name}: found {found} out of {tuple(padded.shape)}; expected "
                f"{expected}, background and nodule for each voxel. Choose a network for segmentation, "
                "and turn deep supervision off."
            )
        z, y, x = (slice(first, first + num) for first, num in zip(before, grid, strict=True))
        return logits[:, :, z, y, x]


def _padding(grid: Sequence[int], divisors: Sequence[int]) -> tuple[list[int], list[int]]:
    """Return the voxels to add before and after each axis."""
    # Twice: a norm over the one voxel that would be left at the bottom has nothing to go by.
    wanted = [max(2, -(-num // by)) * by for num, by in zip(grid, divisors, strict=True)]
    missing = [to - num for to, num in zip(wanted, grid, strict=True)]
    return [num // 2 for num in missing], [num - num // 2 for num in missing]
