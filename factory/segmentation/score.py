"""How well the nodules of one case were found."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from factory.layouts import NODULE
from factory.nodules.measure import TOUCHING, sphere_diameter_mm

_MM3_PER_ML = 1000.0

Mask = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True, slots=True)
class NoduleScore:
    """How well one nodule was found."""

    diameter_mm: float
    """Of the sphere of the same volume."""

    found: bool
    """Whether one of its voxels or more was predicted."""

    sensitivity: float
    """Share of its voxels that were."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CaseScore:
    """How well the nodules of one case were found; shares are of voxels of the whole volume."""

    case_id: str
    patient_id: str

    dice: float
    """2 TP / (2 TP + FP + FN). Without a nodule 0 where one was predicted, and NaN where none was."""

    sensitivity: float
    """TP / (TP + FN); NaN without a nodule."""

    specificity: float
    """TN / (TN + FP); NaN where all voxels are nodule."""

    num_nodules: int
    """Connected nodules of the layout: voxels that share a face, an edge or a corner."""

    num_found: int
    """Of them, those with one predicted voxel or more."""

    num_false: int
    """Connected predicted pieces that have no voxel in common with a nodule."""

    true_ml: float
    predicted_ml: float

    sizes: tuple[NoduleScore, ...]
    """One a nodule, in the order of their first voxels."""

    @property
    def largest_mm(self) -> float:
        """Diameter of the largest nodule; NaN without one."""
        return max((one.diameter_mm for one in self.sizes), default=math.nan)


def score_case(
    predicted: Mask,
    layout: NDArray[np.uint8],
    spacing_mm: tuple[float, float, float],
    *,
    case_id: str,
    patient_id: str,
) -> CaseScore:
    """Compare what a network took for nodule with what a layout has.

    Args:
        predicted: (z, y, x) bool, True for nodule.
        layout: (z, y, x) labels; only `NODULE` counts.
        spacing_mm: (z, y, x) of both.
        case_id: Case of the layout.
        patient_id: Its patient.

    Raises:
        ValueError: The two have different shapes, the prediction is no mask, or a spacing is not
            above 0.
    """
    _check(predicted, layout, spacing_mm)
    truth, voxel_mm3 = layout == NODULE, math.prod(spacing_mm)
    num_true, num_predicted = int(truth.sum()), int(predicted.sum())
    shared = int((truth & predicted).sum())
    num_outside = truth.size - num_true
    nodules = _nodule_scores(truth, predicted, voxel_mm3)
    return CaseScore(
        case_id=case_id,
        patient_id=patient_id,
        dice=_share(2 * shared, num_true + num_predicted),
        sensitivity=_share(shared, num_true),
        specificity=_share(num_outside - (num_predicted - shared), num_outside),
        num_nodules=len(nodules),
        num_found=sum(one.found for one in nodules),
        num_false=_num_false(truth, predicted),
        true_ml=num_true * voxel_mm3 / _MM3_PER_ML,
        predicted_ml=num_predicted * voxel_mm3 / _MM3_PER_ML,
        sizes=nodules,
    )


def _check(predicted: Mask, layout: NDArray[np.uint8], spacing_mm: tuple[float, ...]) -> None:
    if predicted.shape != layout.shape or predicted.ndim != 3:
        raise ValueError(
            f"found a prediction of {predicted.shape} and a layout of {layout.shape} voxels; expected one "
            "(z, y, x) shape. Bring what was predicted back onto the layout's grid"
        )
    if predicted.dtype != np.bool_:
        raise ValueError(
            f"found a prediction of {predicted.dtype}; expected bool, True for nodule. Threshold it, or take "
            "the class"
        )
    if len(spacing_mm) != 3 or not all(0.0 < one < math.inf for one in spacing_mm):
        raise ValueError(
            f"found a spacing of {spacing_mm} mm; expected three numbers above 0, (z, y, x)"
        )


def _share(part: int, whole: int) -> float:
    return part / whole if whole else math.nan


def _nodule_scores(truth: Mask, predicted: Mask, voxel_mm3: float) -> tuple[NoduleScore, ...]:
    pieces, count = ndimage.label(truth, structure=TOUCHING)
    sizes = np.bincount(pieces.ravel(), minlength=count + 1)[1:]
    hits = np.bincount(pieces[predicted], minlength=count + 1)[1:]
    return tuple(
        NoduleScore(
            diameter_mm=sphere_diameter_mm(float(size * voxel_mm3)),
            found=bool(hit > 0),
            sensitivity=float(hit / size),
        )
        for size, hit in zip(sizes, hits, strict=True)
    )


def _num_false(truth: Mask, predicted: Mask) -> int:
    pieces, count = ndimage.label(predicted, structure=TOUCHING)
    touching = np.unique(pieces[truth & predicted])
    return int(count - len(touching))
