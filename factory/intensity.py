"""Hounsfield units to what the network sees, and back."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from factory.counted import counted

HU_MIN, HU_MAX = -1024, 3071
"""Range of a CT's HU as scanners store them (12 bits); `Case.ct` is clipped to it."""

AIR_AT_MOST_HU = -500
"""Every thorax has air; a CT whose darkest voxel is brighter is not in HU."""

METAL_AT_LEAST_HU = 70_000
"""Sixteen bits; whatever lies above is no HU."""

_Bound = float | NDArray[np.float32]


class Scale(Protocol):
    """What maps the HU of a (z, y, x) volume to [-1, 1] and back."""

    def encode(self, hu: NDArray[np.int16]) -> NDArray[np.float32]:
        """Map HU to float32 in [-1, 1]."""

    def decode(self, units: NDArray[np.float32]) -> NDArray[np.int16]:
        """Map them back; beyond [-1, 1] they are clipped, and NaN is a ValueError."""

    def saturated(self, hu: NDArray[np.int16]) -> NDArray[np.bool_]:
        """Tell which voxels of a decoded volume lie at either end."""


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
        return _encode(hu, self.low_hu, self.high_hu)

    def decode(self, units: NDArray[np.float32]) -> NDArray[np.int16]:
        """Map window units of any shape back to int16 HU, clipped to the window.

        Raises:
            ValueError: A voxel is NaN: a sampler that ran away, not air.
        """
        return _decode(units, self.low_hu, self.high_hu)

    def saturated(self, hu: NDArray[np.int16]) -> NDArray[np.bool_]:
        """Tell which voxels, of any shape, lie at either end of the window, to the HU."""
        return _at_ends(hu, np.rint(self.low_hu), np.rint(self.high_hu))


@dataclass(frozen=True, slots=True, eq=False)
class SliceRanges:
    """Each z slice of one reference maps from its own range of HU to [-1, 1].

    So Lung-DDPM's published code scales a scan (scikit-learn's `MinMaxScaler`, a feature a
    slice). Unlike a window it belongs to a scan: another one cannot be decoded with it.
    """

    low_hu: NDArray[np.int16]
    """(z,) lowest HU of each slice; maps to -1."""

    high_hu: NDArray[np.int16]
    """(z,) highest HU of each slice; maps to +1, but to -1 where it is the lowest too."""

    @classmethod
    def of(cls, ct: NDArray[np.int16]) -> "SliceRanges":
        """Return the ranges of a (z, y, x) reference in HU."""
        return cls(ct.min(axis=(1, 2)), ct.max(axis=(1, 2)))

    def encode(self, hu: NDArray[np.int16]) -> NDArray[np.float32]:
        """Map (z, y, x) HU to float32 in [-1, 1], clipped to the range of their slice."""
        return _encode(hu, *self._bounds())

    def decode(self, units: NDArray[np.float32]) -> NDArray[np.int16]:
        """Map (z, y, x) values back to int16 HU, clipped to the range of their slice.

        Raises:
            ValueError: A voxel is NaN: a sampler that ran away, not air.
        """
        return _decode(units, *self._bounds())

    def saturated(self, hu: NDArray[np.int16]) -> NDArray[np.bool_]:
        """Tell which (z, y, x) voxels lie at either end of the range of their slice."""
        return _at_ends(hu, *self._bounds())

    def _bounds(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        # As floats: the width of a range need not fit int16.
        low, high = (hu.astype(np.float32)[:, None, None] for hu in (self.low_hu, self.high_hu))
        return low, high


def _encode(hu: NDArray[np.int16], low: _Bound, high: _Bound) -> NDArray[np.float32]:
    clipped = np.clip(hu.astype(np.float32), low, high)
    width = np.asarray(high - low, np.float32)
    # A slice of one value has no width; it maps to -1.
    scaled = (clipped - low) / np.where(width > 0.0, width, np.float32(1.0)) * 2.0 - 1.0
    return scaled.astype(np.float32, copy=False)


def _decode(units: NDArray[np.float32], low: _Bound, high: _Bound) -> NDArray[np.int16]:
    if num_nan := int(np.isnan(units).sum()):
        raise ValueError(
            f"found {counted(num_nan, 'voxel')} with NaN; expected window units in [-1, 1]. "
            "Look for NaN in the model's weights, or use another precision."
        )
    clipped = np.clip(units.astype(np.float64), -1.0, 1.0)
    hu = (clipped + 1.0) / 2.0 * (high - low) + low
    return np.rint(hu).astype(np.int16)


def _at_ends(hu: NDArray[np.int16], low: _Bound, high: _Bound) -> NDArray[np.bool_]:
    at_ends: NDArray[np.bool_] = (hu == low) | (hu == high)
    return at_ends
