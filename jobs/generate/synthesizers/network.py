"""The trained network that a synthesizer runs, as its checkpoint has it."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from factory.preprocessing import Preprocessing
from jobs.generate.fetch import load_model
from jobs.generate.settings import SamplerSettings
from models.engine import SamplingEngine
from models.schedule import NoiseSchedule


@dataclass(frozen=True, slots=True)
class Network:
    """A denoiser with all that it was trained with."""

    denoiser: SamplingEngine
    schedule: NoiseSchedule
    preprocessing: Preprocessing
    device: torch.device

    @classmethod
    def load(cls, settings: SamplerSettings) -> "Network":
        """Load the plan's model onto its device.

        Raises:
            CheckpointError: It is not the plan's.
        """
        device = torch.device(settings.device)
        checkpoint = load_model(settings.model, device=device, expect_digest=settings.model_digest)
        return cls(
            SamplingEngine(
                checkpoint.denoiser,
                precision=settings.config.precision,  # type: ignore[arg-type]
                compiled=settings.config.compiled,
            ),
            checkpoint.schedule,
            Preprocessing.from_json(checkpoint.card.preprocessing, where=f"model {settings.model}"),
            device,
        )

    def tensor(self, channels: NDArray[np.float32] | NDArray[np.bool_]) -> Tensor:
        """Return (C, a, b, c) channels as a batch of one on the network's device."""
        return torch.from_numpy(channels)[None].to(self.device)


def noise_of(seed: int) -> Callable[[tuple[int, ...]], Tensor]:
    """Return the only source of a volume's noise: the CPU's generator, float32, in call order."""
    generator = torch.Generator().manual_seed(seed)
    return lambda shape: torch.randn(shape, generator=generator)
