"""Settings of the `downstream` job."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, get_args

from factory.augment import AugmentConfig
from models.engine import Precision

_FARTHEST_HU = 32_767
"""What int16 holds."""

LEFT_OUT, HEALTHY = "left-out", "healthy"
"""What may become of real scans that nobody annotated."""

_AT_LEAST_ONE = ("steps", "batch_size", "num_cached")
_NOT_NEGATIVE = ("weight_decay", "max_grad_norm", "num_loaders", "max_failures", "divisible_by")

NOT_IDENTITY = ("num_loaders", "num_cached", "max_failures")
"""Fields of `DownstreamConfig` that change no figure: how a run goes, not what comes of it."""


def _augment() -> AugmentConfig:
    return AugmentConfig(rotation_deg=15.0, scale=0.1, flip_left_right=True)


@dataclass(frozen=True, kw_only=True, slots=True)
class DownstreamConfig:
    """Settings of the `downstream` job.

    The paper's network, an Attention U-Net, with the filters, the optimizer and the batch of its authors'
    configuration for abdominal CTs (Oktay et al., ozan-oktay/Attention-Gated-Networks,
    `config_unet_ct_multi_att_dsv.json`). docs/downstream.md lists what differs from that.
    """

    network: str = "AttentionUnet"
    """A network of MONAI, as `monai.networks.nets` calls it."""

    network_args: Mapping[str, Any] = field(default_factory=dict)
    """What the network is called with, by its own names, above what is known of it:
    `spatial_dims = 3`, `in_channels = 1`, `out_channels = 2`, and for `AttentionUnet`
    `channels = [16, 32, 64, 128, 256]`, `strides = [2, 2, 2, 2]`."""

    divisible_by: int = 0
    """Volumes are padded with air until this divides each axis, and what comes out is cropped back; 0
    takes the product of the network's `strides`, or 32 where it has none."""

    steps: int = 10_000
    """Optimizer steps: as many for every mix, so that a larger one does not train longer."""

    batch_size: int = 2
    """Volumes a step, over all workers together."""

    learning_rate: float = 1e-4
    """Of Adam."""

    weight_decay: float = 1e-6
    """L2 penalty of Adam."""

    max_grad_norm: float = 0.0
    """Gradients are scaled down to this L2 norm over all weights where theirs is larger; 0 leaves
    them."""

    precision: str = "float32"
    """What the network computes in: `float32`, or `bfloat16` by autocast. Loss and weights are
    float32 in both."""

    hu_window: tuple[float, float] = (-1024.0, 600.0)
    """HU that map to -1 and +1."""

    unannotated: str = LEFT_OUT
    """Real scans that nobody looked for nodules in: `left-out` of training and test, or `healthy`, as if
    they had none."""

    augment: AugmentConfig = field(default_factory=_augment)
    """How training volumes are turned, scaled, shifted and mirrored; test volumes never are."""

    num_loaders: int = 2
    """Threads of a worker that prepare volumes ahead of the step; 0 prepares them within it."""

    num_cached: int = 256
    """Volumes that a worker keeps in memory, 6 MiB each at 128^3."""

    max_failures: int = 1
    """How often a training begins anew after one of its workers died."""

    def __post_init__(self) -> None:
        for name in _AT_LEAST_ONE:
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1")
        # Negated, so that NaN is refused too: TOML has it.
        for name in _NOT_NEGATIVE:
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(
                    f"{name} is {getattr(self, name)}; it must be 0 or more, and finite"
                )
        if not 0.0 < self.learning_rate < math.inf:
            raise ValueError(
                f"learning_rate is {self.learning_rate}; it must be above 0, and finite"
            )
        if self.precision not in get_args(Precision):
            known = ", ".join(get_args(Precision))
            raise ValueError(f"precision is {self.precision!r}; known are {known}")
        if self.unannotated not in (LEFT_OUT, HEALTHY):
            raise ValueError(
                f"unannotated is {self.unannotated!r}; known are {LEFT_OUT}, {HEALTHY}"
            )
        if not isinstance(self.network_args, Mapping):
            raise ValueError(f"network_args is {self.network_args!r}; it must be a table")
        low, high = self.hu_window
        if not -_FARTHEST_HU <= low < high <= _FARTHEST_HU:
            raise ValueError(
                f"hu_window is ({low}, {high}) HU; the first must be the lower, both within {_FARTHEST_HU}"
            )
