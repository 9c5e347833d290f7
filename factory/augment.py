"""Training examples turned, shifted and brightened a little, CT and layout alike."""

import math
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from factory.axes import Triple
from factory.intensity import HU_MAX, HU_MIN
from factory.layouts import NODULE
from factory.nodules.measure import TOUCHING

_AIR_HU = -1000.0
_NUM_DRAWS = 9
_MAX_HALVINGS = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class AugmentConfig:
    """How far training examples are changed; each bound is drawn evenly from both sides of 0."""

    rotation_deg: float = 0.0
    """Largest turn about each axis, in degrees."""

    scale: float = 0.0
    """Largest relative change of size, the same along every axis: 0.1 is 0.9 to 1.1 times."""

    translation_mm: float = 0.0
    """Largest shift along each axis."""

    gain: float = 0.0
    """Largest relative change of contrast, about air: 0.05 is 0.95 to 1.05 times."""

    shift_hu: float = 0.0
    """Largest shift of all HU."""

    flip_left_right: bool = False
    """Mirror every other example. Off, for a mirrored thorax is none: the heart lies left, the
    right lung has three lobes and the left two. One person in 10,000 has it the other way round."""

    def __post_init__(self) -> None:
        for name in ("rotation_deg", "scale", "translation_mm", "gain", "shift_hu"):
            value = getattr(self, name)
            # Negated, so that NaN is refused too: TOML has it.
            if not 0.0 <= value < math.inf:
                raise ValueError(f"{name} is {value}; it must be 0 or more")
        if self.rotation_deg > 180.0:
            raise ValueError(f"rotation_deg is {self.rotation_deg}; it must lie in [0, 180]")
        for name in ("scale", "gain"):
            if getattr(self, name) >= 1.0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must lie in [0, 1)")

    @property
    def is_on(self) -> bool:
        """Whether any example is changed."""
        return any(getattr(self, setting.name) for setting in fields(self))

    @property
    def _moves(self) -> bool:
        return bool(self.rotation_deg or self.scale or self.translation_mm)


def augment(
    ct: NDArray[np.int16],
    layout: NDArray[np.uint8],
    spacing_mm: Triple,
    config: AugmentConfig,
    rng: np.random.Generator,
) -> tuple[NDArray[np.int16], NDArray[np.uint8]]:
    """Return a CT and its layout turned, scaled and shifted as one, its HU changed a little.

    Both are sampled once, at the same points: the CT linearly, the labels at the nearest voxel.
    They turn about the centre of the volume, in millimetres; points beyond it show its nearest
    voxel. Every nodule keeps at least half its volume: a motion that would cut or lose one is
    halved until it does not, and given up in the end.

    HU become -1000 + gain (HU + 1000) + shift, clipped to what a CT stores. A scanner whose water
    is off scales attenuation, and that of air is 0: air moves by the shift alone.

    Args:
        ct: (z, y, x) int16 HU. It is not changed.
        layout: (z, y, x) uint8 labels of the same grid. It is not changed.
        spacing_mm: Voxel size (z, y, x) of both.
        config: How far; with all at 0 both come back as they are.
        rng: Says all that is drawn. How many numbers does not depend on the settings.

    Raises:
        ValueError: The CT and the layout are not of one grid.
    """
    if ct.shape != layout.shape or ct.ndim != 3:
        raise ValueError(
            f"the CT is {ct.shape} and the layout {layout.shape}, expected one (z, y, x)"
        )
    if not config.is_on:
        return ct, layout
    draws, flips = rng.uniform(-1.0, 1.0, size=_NUM_DRAWS), bool(rng.integers(2))
    if config._moves:
        ct, layout = _moved(ct, layout, np.asarray(spacing_mm, dtype=np.float64), config, draws)
    if config.gain or config.shift_hu:
        ct = _brightened(ct, 1.0 + config.gain * draws[7], config.shift_hu * draws[8])
    if config.flip_left_right and flips:
        # x runs from left to right, the last index.
        ct, layout = np.ascontiguousarray(ct[:, :, ::-1]), np.ascontiguousarray(layout[:, :, ::-1])
    return ct, layout


def _moved(
    ct: NDArray[np.int16],
    layout: NDArray[np.uint8],
    spacing: NDArray[np.float64],
    config: AugmentConfig,
    draws: NDArray[np.float64],
) -> tuple[NDArray[np.int16], NDArray[np.uint8]]:
    nodules, num_nodules = ndimage.label(layout == NODULE, structure=TOUCHING)
    before = np.bincount(nodules.ravel(), minlength=num_nodules + 1)[1:]
    for halvings in range(_MAX_HALVINGS + 1):
        source, offset, growth = _motion(ct.shape, spacing, config, draws / 2**halvings)
        turned = _sample_labels(nodules, source, offset) if num_nodules else nodules
        after = np.bincount(turned.ravel(), minlength=num_nodules + 1)[1:]
        if (after >= np.maximum(1.0, 0.5 * growth * before)).all():
            return _sample_hu(ct, source, offset), _sample_labels(layout, source, offset)
    return ct, layout


def _motion(
    shape: tuple[int, ...],
    spacing: NDArray[np.float64],
    config: AugmentConfig,
    draws: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """Return the matrix and offset from a voxel to the one it shows, and how much volumes grow."""
    size = 1.0 + config.scale * float(draws[3])
    rotation = _rotation(np.deg2rad(config.rotation_deg * draws[:3]))
    source = rotation.T * (spacing / spacing[:, None]) / size
    center = (np.array(shape) - 1) / 2.0
    shift = config.translation_mm * draws[4:7] / spacing
    return source, center - source @ (center + shift), size**3


def _rotation(angles: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the 3x3 turn about z, then y, then x, of (z, y, x) points."""
    turn = np.eye(3)
    for axis, angle in enumerate(angles):
        about = np.eye(3)
        first, second = (other for other in range(3) if other != axis)
        about[first, first] = about[second, second] = np.cos(angle)
        about[first, second], about[second, first] = -np.sin(angle), np.sin(angle)
        turn = about @ turn
    return turn


def _sample_hu(
    ct: NDArray[np.int16], source: NDArray[np.float64], offset: NDArray[np.float64]
) -> NDArray[np.int16]:
    sampled = ndimage.affine_transform(
        ct.astype(np.float32), source, offset=offset, order=1, mode="nearest"
    )
    return np.asarray(np.rint(sampled), dtype=np.int16)


def _sample_labels(
    labels: NDArray[Any], source: NDArray[np.float64], offset: NDArray[np.float64]
) -> NDArray[Any]:
    sampled: NDArray[Any] = ndimage.affine_transform(
        labels, source, offset=offset, order=0, mode="nearest"
    )
    return sampled


def _brightened(ct: NDArray[np.int16], gain: float, shift_hu: float) -> NDArray[np.int16]:
    hu = _AIR_HU + gain * (ct.astype(np.float32) - _AIR_HU) + shift_hu
    return np.asarray(np.rint(np.clip(hu, HU_MIN, HU_MAX)), dtype=np.int16)
