"""Med-DDPM: the network draws the whole volume from the layout; no step sees the reference."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from factory.preprocessing import ModelInput
from factory.volumes import Volume
from jobs.generate.settings import SamplerSettings
from jobs.generate.synthesizers.network import Network, noise_of
from jobs.generate.synthesizers.synthesizer import Prepared
from models.ddpm import ddpm_sample


class MedDdpm:
    """Sampling from the layout alone: the paper's ablation without anatomically aware sampling."""

    def __init__(self, settings: SamplerSettings) -> None:
        self._config, self._steps = settings.config, settings.steps
        self._network = Network.load(settings)

    @property
    def hu_window(self) -> tuple[float, float] | None:
        """See `Synthesizer`."""
        return self._network.preprocessing.hu_window

    def feed(self, reference: Volume, layout: NDArray[np.uint8]) -> ModelInput:
        """See `Synthesizer`; every voxel is drawn."""
        given = self._network.preprocessing.feed(reference.ct, layout)
        return replace(given, drawn=np.ones(layout.shape, dtype=bool))

    def draw(self, prepared: Prepared, seed: int) -> NDArray[np.int16]:
        """See `Synthesizer`."""
        config, network = self._config, self._network
        x_0 = ddpm_sample(
            network.denoiser,
            network.schedule,
            condition=network.tensor(prepared.given.condition),
            draw_noise=noise_of(seed),
            num_steps=self._steps,
            sampler=config.sampler,  # type: ignore[arg-type]
            clip_x0=config.clip_taken,
            variance=config.sigma,  # type: ignore[arg-type]
        )
        return prepared.given.decode(x_0[0].float().cpu().numpy())
