"""Figures of one synthetic volume beside the scan that it was drawn into."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.stats import wasserstein_distance

from factory.intensity import HuWindow
from factory.layouts import BACKGROUND, LUNG, NODULE
from factory.nodules.measure import TOUCHING

WINDOW = HuWindow(-1024.0, 600.0)
"""HA-GAN's, which the tables of the field go by: clipped, and mapped to [-1, 1]."""

_SQUARED_RANGE = 4.0
"""Of [-1, 1]."""

_SMOOTHED_VOXELS = 5

_FLAT_HU = 0.01
"""Standard deviation below which a lung has no structure."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PairFigures:
    """Figures of a pair; NaN where the layout has not what they are of."""

    mse_whole: float
    """Mean squared error over all voxels, of HU clipped to [-1024, 600] and mapped to [-1, 1]."""

    mse_lung: float
    """The same over lung and nodule voxels."""

    mse_nodule: float
    """The same over nodule voxels."""

    mse_outside: float
    """The same over all other voxels: 0 where they are the donor's."""

    psnr_whole: float
    """10 log10(4 / mse_whole) in dB; infinite for a copy."""

    psnr_lung: float
    """10 log10(4 / mse_lung) in dB; infinite for a copy."""

    histogram_distance_hu: float
    """Wasserstein distance in HU between the lung voxels of both; nodules left out."""

    lung_correlation: float
    """How much of what is fine in the lung is the donor's: the correlation, over lung voxels that
    touch neither wall nor nodule, of what a mean of 5^3 voxels leaves. About 0 for new lungs and 1
    for a copy, also one with other contrast."""


def pair_figures(
    synthetic_hu: NDArray[np.int16], donor_hu: NDArray[np.int16], layout: NDArray[np.uint8]
) -> PairFigures:
    """Compare a synthetic volume with its donor.

    Args:
        synthetic_hu: (z, y, x) HU.
        donor_hu: (z, y, x) HU.
        layout: (z, y, x) labels that the volume was drawn from.

    Raises:
        ValueError: The three have different shapes.
    """
    shapes = synthetic_hu.shape, donor_hu.shape, layout.shape
    if len(set(shapes)) > 1:
        raise ValueError(
            f"found synthetic {shapes[0]}, donor {shapes[1]} and layout {shapes[2]}; expected one (z, y, x) "
            "shape. Give the scan that the volume was drawn into"
        )
    apart = WINDOW.encode(synthetic_hu).astype(np.float64) - WINDOW.encode(donor_hu)
    error, drawn, lung = np.square(apart), layout != BACKGROUND, layout == LUNG
    whole, inside = float(error.mean()), _mean(error, drawn)
    return PairFigures(
        mse_whole=whole,
        mse_lung=inside,
        mse_nodule=_mean(error, layout == NODULE),
        mse_outside=_mean(error, ~drawn),
        psnr_whole=_psnr(whole),
        psnr_lung=_psnr(inside),
        histogram_distance_hu=_histogram_distance(synthetic_hu[lung], donor_hu[lung]),
        lung_correlation=_correlation(synthetic_hu, donor_hu, lung),
    )


def _mean(error: NDArray[np.float64], mask: NDArray[np.bool_]) -> float:
    return float(error[mask].mean()) if mask.any() else math.nan


def _psnr(mean_squared: float) -> float:
    if not mean_squared > 0.0:
        return math.inf if mean_squared == 0.0 else math.nan
    return 10.0 * math.log10(_SQUARED_RANGE / mean_squared)


def _histogram_distance(one: NDArray[np.int16], other: NDArray[np.int16]) -> float:
    return float(wasserstein_distance(one, other)) if one.size else math.nan


def _correlation(
    one: NDArray[np.int16], other: NDArray[np.int16], lung: NDArray[np.bool_]
) -> float:
    inside = ndimage.binary_erosion(lung, TOUCHING)
    if inside.sum() < 2:
        return math.nan
    first, second = (_fine(hu, lung)[inside] for hu in (one, other))
    spread = float(first.std() * second.std())
    covariance = float(np.mean((first - first.mean()) * (second - second.mean())))
    # Of a flat lung only the rounding of the means would be compared.
    return covariance / spread if spread > _FLAT_HU**2 else math.nan


def _fine(hu: NDArray[np.int16], lung: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return what the mean of the lung voxels around leaves: the wall is the donor's, not drawn."""
    share = ndimage.uniform_filter(lung.astype(np.float64), _SMOOTHED_VOXELS)
    sums = ndimage.uniform_filter(np.where(lung, hu, 0).astype(np.float64), _SMOOTHED_VOXELS)
    mean = np.divide(sums, share, out=np.zeros_like(sums), where=share > 1e-6)
    return hu.astype(np.float64) - mean
