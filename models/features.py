"""A fixed feature extractor: a network of random weights that every machine draws alike.

volume in [-1, 1] --conv, leaky ReLU, level by level--> mean and spread of each channel of each level

Random convolutions are a wide bank of filters: their means tell densities and shapes, their spreads
edges and texture. Nothing was trained, so nothing can be biased towards a data set; and nothing that
they measure is on the scale of published tables, which go by trained networks.
"""

import hashlib
import itertools
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import skip_init

_BIAS = 0.25
"""Spread of the biases: with none the network would see contrast, but not where HU lie."""

_SLOPE = 0.1


@dataclass(frozen=True, kw_only=True, slots=True)
class FixedExtractorConfig:
    """Widths and weights of a `FixedExtractor`."""

    channels: tuple[int, ...] = (16, 32, 48, 64)
    """Of each level; the first keeps the grid, each next one halves it."""

    seed: int = 0
    """The weights are drawn from."""

    def __post_init__(self) -> None:
        if not self.channels or min(self.channels) < 1:
            raise ValueError(
                f"channels are {self.channels}; expected one or more levels of 1 or more"
            )


class FixedExtractor(nn.Module):
    """A strided 3-D convolutional network with He-initialised weights, never trained.

    Args:
        config: Widths and seed.
    """

    def __init__(self, config: FixedExtractorConfig | None = None) -> None:
        super().__init__()
        config = config or FixedExtractorConfig()
        generator = torch.Generator().manual_seed(config.seed)
        widths = (1, *config.channels)
        self.levels = nn.ModuleList(
            _level(num_in, num_out, stride=1 if number == 0 else 2, generator=generator)
            for number, (num_in, num_out) in enumerate(itertools.pairwise(widths))
        )
        self.num_features = 2 * sum(config.channels)
        self.requires_grad_(False)
        self.eval()

    @property
    def digest(self) -> str:
        """64 hex digits over the weights, float32, in the order of the levels."""
        found = hashlib.sha256()
        for weight in self.state_dict().values():
            found.update(str(tuple(weight.shape)).encode())
            found.update(
                bytes(
                    weight.detach().cpu().float().contiguous().view(torch.uint8).flatten().tolist()
                )
            )
        return found.hexdigest()

    @property
    def name(self) -> str:
        """What tables call it: never to be taken for a trained network."""
        return f"random-conv-{self.num_features}-{self.digest[:8]}"

    def forward(self, volumes: Tensor) -> Tensor:
        """Return the features of volumes.

        Args:
            volumes: (B, 1, D, H, W) in [-1, 1], of any size that has a voxel left at the last level.

        Returns:
            (B, F) float32: of each level the means of its channels, then their spreads.
        """
        features, x = [], volumes
        for level in self.levels:
            x = functional.leaky_relu(level(x), _SLOPE)
            flat = x.flatten(2)
            features += [flat.mean(dim=2), flat.std(dim=2, correction=0)]
        return torch.cat(features, dim=1)


def _level(num_in: int, num_out: int, *, stride: int, generator: torch.Generator) -> nn.Conv3d:
    # Zeros would be a wall of -212 HU around every scan.
    shape = {"kernel_size": 3, "stride": stride, "padding": 1, "padding_mode": "replicate"}
    # torch's own first weights would take from the caller's random numbers.
    level: nn.Conv3d = skip_init(nn.Conv3d, num_in, num_out, **shape)  # type: ignore[no-untyped-call]
    with torch.no_grad():
        spread = (2.0 / ((1.0 + _SLOPE**2) * num_in * 27)) ** 0.5
        level.weight.copy_(spread * torch.randn(level.weight.shape, generator=generator))
        assert level.bias is not None
        level.bias.copy_(_BIAS * torch.randn(level.bias.shape, generator=generator))
    return level
