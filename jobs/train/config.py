"""Settings of the `train` job."""

import math
from dataclasses import dataclass, field
from typing import get_args

from factory.augment import AugmentConfig
from factory.layouts import LABELS
from factory.nodules.graft import GraftConfig
from factory.preprocessing import LABEL_SETS
from models.ddpm import LossKind
from models.engine import Precision
from models.schedule import ScheduleConfig
from models.unet3d_config import UNet3DConfig

_FARTHEST_HU = 32_767
"""What int16 holds."""

_AT_LEAST_ONE = ("steps", "batch_size", "checkpoint_every", "num_checkpoints")
_NOT_NEGATIVE = (
    *("warmup_steps", "decay_steps", "sample_every", "num_samples", "num_probes", "num_loaders"),
    *("final_learning_rate", "max_grad_norm", "max_failures"),
)

NOT_IDENTITY = (
    *("steps", "checkpoint_every", "num_checkpoints", "sample_every", "num_samples"),
    *("num_probes", "num_loaders", "max_failures", "activation_checkpointing", "compiled"),
)
"""Fields of `TrainConfig` that may change between reruns: how far and how a run goes. Everything
else would make another model of that name."""


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
        if self.start_step < 0:
            raise ValueError(f"start_step is {self.start_step}; it must be 0 or more")


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainConfig:
    """Settings of the `train` job; the defaults are the paper's, but for `precision`."""

    steps: int = 100_000
    """Optimizer steps. A run may go on to more of them; what makes the model may not change."""

    batch_size: int = 1
    """Volumes a step, over all workers together."""

    learning_rate: float = 1e-5
    """Of Adam, at its peak."""

    warmup_steps: int = 0
    """Steps over which the learning rate climbs, in a line, to its peak."""

    decay_steps: int = 0
    """Step at which half a cosine from the end of the warm-up has reached `final_learning_rate`,
    which holds from there on; 0 keeps the peak. Apart from `steps`, so that a run can go on to more
    of those without another curve behind it."""

    final_learning_rate: float = 0.0
    """Where the cosine ends."""

    max_grad_norm: float = 0.0
    """Gradients are scaled down to this L2 norm over all weights where theirs is larger; 0 leaves
    them."""

    loss: str = "l1"
    """Of the predicted noise: `l1`, the paper's, or `l2`."""

    lung_weight: float = 1.0
    """Weight of a voxel of lung or nodule in the loss, where any other has 1; 1 is the paper's plain
    mean."""

    seed: int = 0
    """Of the initial weights, the order of the cases, the noise, grafts and augmentation."""

    precision: str = "float32"
    """What the network computes in: `float32`, or `bfloat16` by autocast. Norms, loss, weights and
    their average are float32 in both."""

    activation_checkpointing: bool = False
    """Keep only what convolutions put out for the way back, and compute the rest again: less
    memory, a little slower, the same gradients."""

    compiled: bool = False
    """Compile the network with torch.compile: minutes at the start, faster steps after it. Its sums
    run in another order, so a run that switches goes on within rounding."""

    hu_window: tuple[float, float] = (-1024.0, 600.0)
    """HU that map to -1 and +1; kept in the checkpoint."""

    labels: tuple[str, ...] = tuple(LABELS)
    """Labels of the layout that the network is told of, a channel each: `lung` and `nodule`, or
    `nodule` alone, with `in_channels = 2` of the model. Lungs and nodules are drawn in either case;
    kept in the checkpoint."""

    checkpoint_every: int = 1000
    """Steps between checkpoints; a run that is killed loses at most these."""

    num_checkpoints: int = 2
    """How many checkpoints are kept: the newest, and beside them the one of the lowest validation
    loss."""

    sample_every: int = 0
    """Steps between pictures of volumes drawn from the averaged model; 0 draws none."""

    num_samples: int = 2
    """Volumes on a picture."""

    num_probes: int = 8
    """Fixed examples of validation cases, or of training cases where there are none, whose loss under
    the averaged model is the validation loss of a checkpoint; 0 measures none."""

    num_loaders: int = 2
    """Threads of a worker that prepare examples ahead of the step; 0 prepares them within it."""

    max_failures: int = 3
    """How often Ray Train restarts its workers after one of them died, over the whole run; nodes that
    were taken away do not count."""

    model: UNet3DConfig = field(default_factory=UNet3DConfig)
    """The network; its `grid` is the case store's."""

    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    """The noise schedule."""

    ema: EmaConfig = field(default_factory=EmaConfig)
    """Averaging of the weights."""

    augment: AugmentConfig = field(default_factory=AugmentConfig)
    """How cases are turned, scaled and shifted; the default leaves them."""

    graft: GraftConfig = field(default_factory=GraftConfig)
    """How often and which real nodules are set into cases; the default sets none."""

    def __post_init__(self) -> None:
        for name in _AT_LEAST_ONE:
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1")
        # Negated, here and below, so that NaN is refused too: TOML has it.
        for name in ("learning_rate", "lung_weight"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be above 0")
        for name in _NOT_NEGATIVE:
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be 0 or more")
        for name in ("learning_rate", "lung_weight", "max_grad_norm"):
            if not math.isfinite(getattr(self, name)):
                raise ValueError(f"{name} is {getattr(self, name)}; it must be finite")
        if self.sample_every and not self.num_samples:
            raise ValueError("num_samples is 0; it must be at least 1 where sample_every is not 0")
        self._check_channels()
        self._check_decay()
        self._check_choices()
        self._check_window()

    def _check_channels(self) -> None:
        if self.labels not in LABEL_SETS:
            known = " or ".join(str(list(labels)) for labels in LABEL_SETS)
            raise ValueError(f"labels is {list(self.labels)}; known are {known}")
        fed = ["the noisy volume", *self.labels]
        if self.model.in_channels != len(fed):
            raise ValueError(
                f"model.in_channels is {self.model.in_channels}; training feeds {len(fed)}: "
                f"{', '.join(fed[:-1])} and {fed[-1]}"
            )

    def _check_decay(self) -> None:
        if 0 < self.decay_steps <= self.warmup_steps:
            raise ValueError(
                f"decay_steps is {self.decay_steps}; it must be above warmup_steps = "
                f"{self.warmup_steps}, or 0 for no decay"
            )
        if self.final_learning_rate > self.learning_rate:
            raise ValueError(
                f"final_learning_rate is {self.final_learning_rate}; it must be at most "
                f"learning_rate = {self.learning_rate}"
            )

    def _check_choices(self) -> None:
        for name, choices in (("precision", Precision), ("loss", LossKind)):
            if getattr(self, name) not in get_args(choices):
                known = ", ".join(get_args(choices))
                raise ValueError(f"{name} is {getattr(self, name)!r}; known are {known}")

    def _check_window(self) -> None:
        low, high = self.hu_window
        if not low < high:
            raise ValueError(f"hu_window is ({low}, {high}) HU; the first must be the lower")
        if low < -_FARTHEST_HU or high > _FARTHEST_HU:
            raise ValueError(f"hu_window is ({low}, {high}) HU; CTs have within {_FARTHEST_HU}")
