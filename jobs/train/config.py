"""Settings of the `train` job."""

import math
from dataclasses import dataclass, field
from typing import get_args

from models.engine import Precision
from models.schedule import ScheduleConfig
from models.unet3d import UNet3DConfig

_FARTHEST_HU = 32_767
"""What int16 holds."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EmaConfig:
    """Averaging of the weights; the defaults are the paper's."""

    decay: float = 0.995
    """Weight of the old average at an update."""

    start_step: int = 2000
    """First step that averages; before it the average follows the weights."""

    update_every: int = 10
    """Average at steps that are multiples of this."""

    def __post_init__(self) -> None:
        if not 0.0 <= self.decay <= 1.0:
            raise ValueError(f"decay is {self.decay}; it must lie in [0, 1]")
        if self.update_every < 1:
            raise ValueError(f"update_every is {self.update_every}; it must be at least 1")


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainConfig:
    """Settings of the `train` job; the defaults are the paper's, but for `precision`."""

    steps: int = 100_000
    """Optimizer steps. A run may go on to more of them; what makes the model may not change."""

    batch_size: int = 1
    """Volumes a step, over all workers together."""

    learning_rate: float = 1e-5
    """Of Adam."""

    seed: int = 0
    """Of the initial weights, the order of the cases and the noise."""

    precision: str = "float32"
    """What the network computes in: `float32`, or `bfloat16` by autocast. Norms, loss, weights and
    their average are float32 in both."""

    activation_checkpointing: bool = False
    """Keep only what convolutions put out for the way back, and compute the rest again: less
    memory, a little slower, the same gradients."""

    hu_window: tuple[float, float] = (-1024.0, 600.0)
    """HU that map to -1 and +1; kept in the checkpoint."""

    checkpoint_every: int = 1000
    """Steps between checkpoints; a run that is killed loses at most these."""

    num_checkpoints: int = 2
    """How many checkpoints are kept, the newest."""

    max_failures: int = 3
    """How often Ray Train restarts its workers after one of them died."""

    model: UNet3DConfig = field(default_factory=UNet3DConfig)
    """The network; its `grid` is the case store's."""

    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    """The noise schedule."""

    ema: EmaConfig = field(default_factory=EmaConfig)
    """Averaging of the weights."""

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "checkpoint_every", "num_checkpoints"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1")
        # Negated, so that NaN is refused too: TOML has it.
        if not self.learning_rate > 0:
            raise ValueError(f"learning_rate is {self.learning_rate}; it must be above 0")
        if self.precision not in get_args(Precision):
            known = ", ".join(get_args(Precision))
            raise ValueError(f"precision is {self.precision!r}; known are {known}")
        low, high = self.hu_window
        if not low < high:
            raise ValueError(f"hu_window is ({low}, {high}) HU; the first must be the lower")
        if low < -_FARTHEST_HU or high > _FARTHEST_HU:
            raise ValueError(f"hu_window is ({low}, {high}) HU; CTs have within {_FARTHEST_HU}")
        if not math.isfinite(self.learning_rate):
            raise ValueError(f"learning_rate is {self.learning_rate}; it must be finite")
