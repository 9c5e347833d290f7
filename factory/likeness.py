"""Whether drawn lungs look like lungs: figures of a synthetic volume beside its reference.

No single one of them says so. An error voxel by voxel is least for lungs without a vessel, the
histogram is the same when all voxels change places, and noise may have the texture of vessels.
Read together, each excludes what another lets through.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.stats import wasserstein_distance

from factory.contrast import nodule_contrast
from factory.intensity import HuWindow
from factory.layouts import BACKGROUND, LUNG
from factory.nodules.measure import TOUCHING
from factory.seam import mean_jump, seam_score


@dataclass(frozen=True, kw_only=True, slots=True)
class Likeness:
    """Figures of one synthetic volume; NaN where the layout has not what they are of."""

    lung_mse: float
    """Mean squared error over lung and nodule voxels, both volumes clipped to the HU window and
    mapped to [-1, 1]. Lower is not better: a new lung has other vessels than its reference, and
    pays for its own and for those that it lacks. Two unrelated lungs of one spread have twice
    `flat_lung_mse`; a good one lies below that only as far as the layout and what is around the
    lung give its HU away, a blurred one lies lower."""

    flat_lung_mse: float
    """`lung_mse` of a lung that has the reference's median HU in every voxel: no vessel, no error
    for a vessel in the wrong place."""

    volume_mse: float
    """As `lung_mse`, over the whole volume: what published tables give, and small for every model
    that copies what lies outside the lungs."""

    lung_rmse_hu: float
    """Square root of `lung_mse`, in HU."""

    lung_histogram_distance_hu: float
    """Wasserstein distance, in HU, between the HU of the lung voxels of both; nodules left out."""

    nodule_contrast_hu: float
    """Median HU of the layout's nodule voxels beyond that of the lung around them."""

    reference_nodule_contrast_hu: float
    """The same voxels in the reference: about 0 where the layout has nodules that it has not."""

    border_jump_hu: float
    """Mean absolute step in HU from a voxel of lung or nodule to one of the background beside it."""

    reference_border_jump_hu: float
    """The same in the reference, where one scanner saw both sides."""

    seam_score: float
    """The first of the two jumps as a share of the second: see `factory.seam`."""

    texture: float
    """Standard deviation of what the mean of 3^3 voxels leaves of the lung, as a share of the
    reference's: 1 is right, more is noisy, less is blurred."""


def likeness(
    synthetic_hu: NDArray[np.int16],
    reference_hu: NDArray[np.int16],
    layout: NDArray[np.uint8],
    *,
    hu_window: tuple[float, float] = (-1024, 600),
) -> Likeness:
    """Compare a synthetic volume with the scan that it was drawn into.

    Squared errors follow HA-GAN's preprocessing, which the tables of Lung-DDPM go back to: HU
    clipped to [-1024, 600] and mapped to [-1, 1]. Those tables give the whole volume.

    Args:
        synthetic_hu: (z, y, x) HU.
        reference_hu: (z, y, x) HU.
        layout: (z, y, x) labels that the volume was drawn from.
        hu_window: HU that map to -1 and +1 for the squared errors alone.

    Raises:
        ValueError: The three have different shapes, or the layout has no lung.
    """
    shapes = synthetic_hu.shape, reference_hu.shape, layout.shape
    lung, drawn = layout == LUNG, layout != BACKGROUND
    if len(set(shapes)) > 1 or not lung.any():
        raise ValueError(
            f"found synthetic {shapes[0]}, reference {shapes[1]} and layout {shapes[2]} with "
            f"{int(lung.sum())} lung voxels; expected one (z, y, x) shape, and lung. Give the "
            "layout that the volume was drawn from"
        )
    window = HuWindow(*hu_window)
    error = _squared(synthetic_hu, reference_hu, window)
    median = np.full_like(reference_hu, round(float(np.median(reference_hu[lung]))))
    lung_mse = float(error[drawn].mean())
    return Likeness(
        lung_mse=lung_mse,
        flat_lung_mse=float(_squared(median, reference_hu, window)[drawn].mean()),
        volume_mse=float(error.mean()),
        lung_rmse_hu=math.sqrt(lung_mse) * (window.high_hu - window.low_hu) / 2,
        lung_histogram_distance_hu=float(
            wasserstein_distance(synthetic_hu[lung], reference_hu[lung])
        ),
        nodule_contrast_hu=nodule_contrast(synthetic_hu, layout),
        reference_nodule_contrast_hu=nodule_contrast(reference_hu, layout),
        border_jump_hu=mean_jump(synthetic_hu, drawn),
        reference_border_jump_hu=mean_jump(reference_hu, drawn),
        seam_score=seam_score(synthetic_hu, reference_hu, drawn),
        texture=_texture(synthetic_hu, reference_hu, lung),
    )


def _squared(
    one: NDArray[np.int16], other: NDArray[np.int16], window: HuWindow
) -> NDArray[np.float64]:
    apart = window.encode(one).astype(np.float64) - window.encode(other)
    return np.square(apart)


def _texture(
    synthetic_hu: NDArray[np.int16], reference_hu: NDArray[np.int16], lung: NDArray[np.bool_]
) -> float:
    # Beside a wall or a nodule the mean is theirs, and the border would be all that is measured.
    inside = ndimage.binary_erosion(lung, TOUCHING)
    if not inside.any():
        return math.nan
    found, expected = (_fine(hu)[inside].std() for hu in (synthetic_hu, reference_hu))
    return float(found / expected) if expected > 0 else math.nan


def _fine(hu: NDArray[np.int16]) -> NDArray[np.float64]:
    # A sum of whole numbers, not `uniform_filter`, whose rounding would be a flat lung's texture.
    total = ndimage.correlate(hu.astype(np.float64), np.ones((3, 3, 3)))
    return hu - total / 27
