"""Measuring a synthetic volume against its reference."""

import math

import numpy as np
from numpy.typing import NDArray

from factory.contrast import nodule_contrast
from factory.intensity import Scale
from factory.layouts import LUNG
from factory.quality.figures import Quality
from factory.quality.limits import QualityLimits
from factory.quality.promises import Promises
from factory.seam import seam_score

_DEFAULT_LIMITS = QualityLimits()
_ALL_PROMISES = Promises()


def assess(
    synthetic_hu: NDArray[np.int16],
    reference_hu: NDArray[np.int16],
    layout: NDArray[np.uint8],
    drawn: NDArray[np.bool_],
    scale: Scale,
    *,
    annotated: bool = False,
    bone: NDArray[np.bool_] | None = None,
    limits: QualityLimits = _DEFAULT_LIMITS,
    promises: Promises = _ALL_PROMISES,
) -> Quality:
    """Measure a synthetic volume against its reference.

    A drawn voxel that is no number has no HU: decoding it is an error, so it gets no figures here.

    Args:
        synthetic_hu: (z, y, x) HU.
        reference_hu: (z, y, x) HU.
        layout: (z, y, x) labels; its lungs are what the medians are of.
        drawn: (z, y, x) voxels that were drawn; at least one.
        scale: What the model's output was decoded with.
        annotated: The reference has the layout's nodules itself, so theirs can be compared.
        bone: (z, y, x) voxels of bone; None where there is no mask of it, as layouts have none.
            A threshold is no substitute: what is called bone for its HU has the median of bone.
        limits: What the figures are held against.
        promises: What is not promised is not measured.
    """
    lung = layout == LUNG
    differs = synthetic_hu != reference_hu
    lung_median, lung_iqr = _centre_and_spread(synthetic_hu[lung])
    reference_median, reference_iqr = _centre_and_spread(reference_hu[lung])
    return Quality(
        background_changed=(
            int(np.count_nonzero(differs & ~drawn)) if promises.background else None
        ),
        changed_fraction=float(differs[drawn].mean()),
        saturated_fraction=float(scale.saturated(synthetic_hu)[drawn].mean()),
        lung_median_hu=lung_median,
        reference_lung_median_hu=reference_median,
        lung_iqr_hu=lung_iqr,
        reference_lung_iqr_hu=reference_iqr,
        nodule_contrast_hu=nodule_contrast(synthetic_hu, layout),
        reference_nodule_contrast_hu=(
            nodule_contrast(reference_hu, layout) if annotated else math.nan
        ),
        seam_score=seam_score(synthetic_hu, reference_hu, drawn) if promises.seam else math.nan,
        bone_median_hu=math.nan if bone is None else _centre_and_spread(synthetic_hu[bone])[0],
        limits=limits,
    )


def _centre_and_spread(hu: NDArray[np.int16]) -> tuple[float, float]:
    """Return the median and the interquartile range; NaN of nothing."""
    if not hu.size:
        return math.nan, math.nan
    low, middle, high = np.percentile(hu, (25, 50, 75))
    return float(middle), float(high - low)
