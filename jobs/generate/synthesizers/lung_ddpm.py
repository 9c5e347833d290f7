"""Lung-DDPM: the network draws the lungs, the reference is everything else (AAS)."""

import numpy as np
from numpy.typing import NDArray

from factory.preprocessing import ModelInput
from factory.volumes import Volume
from jobs.generate.settings import SamplerSettings
from jobs.generate.synthesizers.network import Network, noise_of
from jobs.generate.synthesizers.synthesizer import Prepared
from models.aas import aas_sample


class LungDdpm:
    """Anatomically aware sampling, after the layout inside and the reference outside."""

    def __init__(self, settings: SamplerSettings) -> None:
        self._config, self._steps = settings.config, settings.steps
        self._network = Network.load(settings)

    @property
    def hu_window(self) -> tuple[float, float] | None:
        """See `Synthesizer`."""
        return self._network.preprocessing.hu_window

    def feed(self, reference: Volume, layout: NDArray[np.uint8]) -> ModelInput:
        """See `Synthesizer`."""
        return self._network.preprocessing.feed(reference.ct, layout)

    def draw(self, prepared: Prepared, seed: int) -> NDArray[np.int16]:
        """See `Synthesizer`."""
        config, given, network = self._config, prepared.given, self._network
        x_0 = aas_sample(
            network.denoiser,
            network.schedule,
            layout=network.tensor(given.condition),
            x_known=network.tensor(given.x_known),
            draw_noise=noise_of(seed),
            variant=config.variant,  # type: ignore[arg-type]
            sampler=config.sampler,  # type: ignore[arg-type]
            blend=config.blend_taken,  # type: ignore[arg-type]
            num_steps=self._steps,
            clip_x0=config.clip_taken,
            sigma=config.sigma,  # type: ignore[arg-type]
            known_mask=network.tensor(given.kept) if network.preprocessing.drawn else None,
        )
        return given.decode(x_0[0].float().cpu().numpy())
