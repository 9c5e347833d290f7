"""The architecture of a 3D U-Net, and which architectures there cannot be."""

from dataclasses import dataclass
from typing import get_args

from models.blocks import num_groups
from models.front_end import FRONT_ENDS, SUB_BANDS
from models.schedule import Prediction


@dataclass(frozen=True, kw_only=True, slots=True)
class UNet3DConfig:
    """Architecture of a `UNet3D`; the defaults are the paper's, 40.2 M parameters."""

    grid: int = 128
    """Side of the cubic volumes the network is made for, in voxels; it places the attention."""

    in_channels: int = 3
    """Channels of the input: the noisy volume, then one per label of the layout."""

    base_channels: int = 64
    """Channels of the first level; also the size of the sinusoidal step embedding. A level of 8, 16
    or 32 channels is blind to the step: its norms have one channel a group, and take out what the
    embedding adds to each."""

    channel_mults: tuple[int, ...] = (1, 1, 2, 3, 4)
    """Channels of each level as multiples of `base_channels`; each level halves the side."""

    num_res_blocks: int = 1
    """Residual blocks of an encoder level; a decoder level has one more."""

    attention_max_size: int = 16
    """The first level whose side is at most this many voxels attends, and so does the bottleneck;
    sides are those that the network computes on, behind its front end."""

    num_heads: int = 1
    """Attention heads."""

    dropout: float = 0.0
    """Dropout probability before the second convolution of each residual block."""

    front_end: str = "none"
    """`haar`: the network computes on Haar sub-bands, eight channels at half the side for each one,
    for an eighth of the operations; `none`: on voxels, as the paper's."""

    prediction: str = "eps"
    """What the last convolution puts out: `eps`, the noise, as the paper's; or `v`, which is
    sqrt(a) eps - sqrt(1 - a) x_0 (Salimans & Ho 2022) and is turned into the noise behind it. An
    error of eps grows 1 / sqrt(a) times on the way to x_0, some hundredfold at the noisiest steps;
    one of v never does."""

    def __post_init__(self) -> None:
        if self.front_end not in FRONT_ENDS:
            raise ValueError(f"front_end is {self.front_end!r}; known are {', '.join(FRONT_ENDS)}")
        if self.prediction not in get_args(Prediction):
            known = ", ".join(get_args(Prediction))
            raise ValueError(f"prediction is {self.prediction!r}; known are {known}")
        if not self.channel_mults or min(self.channel_mults) < 1:
            raise ValueError(f"channel_mults is {self.channel_mults}; give each level one, >= 1")
        for name in ("in_channels", "num_res_blocks", "attention_max_size", "num_heads"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1")
        if self.base_channels < 2 or self.base_channels % 2:
            raise ValueError(f"base_channels is {self.base_channels}; it must be even, at least 2")
        if self.grid < 1 or self.grid % self.shrink:
            raise ValueError(
                f"grid is {self.grid} voxels; with {self.levels} it must be a positive multiple "
                f"of {self.shrink}"
            )
        coarsest = self.level_channels[-1]
        if self.grid == self.shrink and num_groups(coarsest) == coarsest:
            raise ValueError(
                f"the bottleneck is one voxel of {coarsest} channels, which leaves one value a norm "
                "group; give fewer levels or more channels"
            )
        if not 0.0 <= self.dropout < 1.0:
            raise ValueError(f"dropout is {self.dropout}; it must be in [0, 1)")
        for channels in self._attending_channels:
            if channels % self.num_heads:
                raise ValueError(
                    f"num_heads is {self.num_heads}; it must divide the {channels} attending channels"
                )

    @property
    def shrink(self) -> int:
        """How many times smaller the side is at the bottleneck."""
        return self._front_end_shrink << (len(self.channel_mults) - 1)

    @property
    def bands(self) -> int:
        """Channels that the front end makes of one."""
        return SUB_BANDS if self.front_end == "haar" else 1

    @property
    def level_channels(self) -> tuple[int, ...]:
        """Channels of each level, the finest first."""
        return tuple(mult * self.base_channels for mult in self.channel_mults)

    @property
    def attention_level(self) -> int | None:
        """Index of the level that attends, None where even the coarsest is too large."""
        finest = self.grid // self._front_end_shrink
        sides = (finest >> level for level in range(len(self.channel_mults)))
        return next((i for i, side in enumerate(sides) if side <= self.attention_max_size), None)

    @property
    def levels(self) -> str:
        """How many levels there are, in words, for errors."""
        return (
            f"{len(self.channel_mults)} levels{'' if self.bands == 1 else ' after the front end'}"
        )

    @property
    def _front_end_shrink(self) -> int:
        return 2 if self.front_end == "haar" else 1

    @property
    def _attending_channels(self) -> tuple[int, ...]:
        channels, level = self.level_channels, self.attention_level
        return (channels[-1],) if level is None else (channels[level], channels[-1])
