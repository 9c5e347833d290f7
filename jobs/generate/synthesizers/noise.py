"""Noise in place of lungs: a floor that every other way of drawing must be above."""

import time

import numpy as np
from numpy.typing import NDArray

from factory.intensity import HU_MAX, HU_MIN
from factory.layouts import LUNG
from factory.preprocessing import ModelInput, Preprocessing
from factory.volumes import Volume
from jobs.generate.synthesizers.synthesizer import Prepared, Synthesizer, UnfitError
from jobs.generate.synthesizers.traits import traits_of

_PREPROCESSING = Preprocessing(hu_window=(HU_MIN, HU_MAX), drawn=traits_of("noise").drawn)


class Noise:
    """Independent voxels in lungs and nodules, of the mean and spread of the reference's lungs."""

    hu_window = None

    def feed(self, reference: Volume, layout: NDArray[np.uint8]) -> ModelInput:
        """See `Synthesizer`.

        Raises:
            UnfitError: There is no lung to take mean and spread of.
        """
        if not (layout == LUNG).any():
            raise UnfitError(
                "its layout has no lung; expected some, whose mean and spread the noise has. Ingest the "
                "case with a lung mask, or leave it out"
            )
        return _PREPROCESSING.feed(reference.ct, layout)

    def draw(self, prepared: Prepared, seed: int) -> NDArray[np.int16]:
        """See `Synthesizer`."""
        given = prepared.given
        lung = given.reference_hu[prepared.layout == LUNG]
        drawn = np.random.default_rng(seed).normal(lung.mean(), lung.std(), given.drawn.shape)
        hu = np.clip(np.rint(drawn), HU_MIN, HU_MAX).astype(np.int16)
        return np.where(given.drawn, hu, given.reference_hu)


class Rehearsal:
    """The time of a device, and noise; to try out a cluster with what another would be fed."""

    def __init__(self, rehearsed: Synthesizer, seconds: float) -> None:
        self._rehearsed, self._seconds = rehearsed, seconds

    @property
    def hu_window(self) -> tuple[float, float] | None:
        """See `Synthesizer`."""
        return self._rehearsed.hu_window

    def feed(self, reference: Volume, layout: NDArray[np.uint8]) -> ModelInput:
        """See `Synthesizer`."""
        return self._rehearsed.feed(reference, layout)

    def draw(self, prepared: Prepared, seed: int) -> NDArray[np.int16]:
        """See `Synthesizer`."""
        time.sleep(self._seconds)
        given = prepared.given
        noise = np.random.default_rng(seed).integers(-950, -750, given.reference_hu.shape, np.int16)
        return np.where(given.drawn, noise, given.reference_hu)
