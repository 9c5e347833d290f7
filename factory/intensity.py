"""Hounsfield units to what the network sees, and back."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

HU_MIN, HU_MAX = -1024, 3071
"""Range of a CT's HU as scanners store them (12 bits); `Case.ct` is clipped to it."""


@dataclass(frozen=True, slots=True)
class HuWindow:
    """A fixed HU window that maps to [-1, 1].

    The window belongs to a model: its checkpoint carries it, so that a model
    cannot be fed differently from how it was trained.
    """

    low_hu: float = -1024.0
    """HU that maps to -1; everything below maps there too."""

    high_hu: float = 600.0
    """HU that maps to +1; everything above maps there too."""

    def encode(self, hu: NDArray[np.int16]) -> NDArray[np.float32]:
        """Map HU of any shape to float32 window units in [-1, 1]."""
        clipped = np.clip(hu.astype(np.float32), self.low_hu, self.high_hu)
        scaled = (clipped - self.low_hu) / (self.high_hu - self.low_hu) * 2.0 - 1.0
        return scaled.astype(np.float32, copy=False)

    def decode(self, window_units: NDArray[np.float32]) -> NDArray[np.int16]:
        """Map window units of any shape back to int16 HU, clipped to the window.

        Raises:
            ValueError: A voxel is NaN: a sampler that ran away, not air.
        """
        if num_nan := int(np.isnan(window_units).sum()):
            raise ValueError(
                f"found {num_nan} voxels that are NaN; expected window units in [-1, 1]. "
                "Look for NaN in the model's weights, or use another precision."
            )
        clipped = np.clip(window_units.astype(np.float64), -1.0, 1.0)
        hu = (clipped + 1.0) / 2.0 * (self.high_hu - self.low_hu) + self.low_hu
        return np.rint(hu).astype(np.int16)
