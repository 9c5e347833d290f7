"""The figures of two sets, each with its interval, how many volumes it is of, and what it means."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from factory.evaluation.folds import folds_by_patient
from factory.evaluation.frechet import frechet_distance
from factory.evaluation.intervals import Interval, interval_by_patient
from factory.evaluation.mmd import median_kernel, mmd_squared
from factory.evaluation.moments import Moments
from factory.evaluation.set_distances import (
    LEAST_FOLDS,
    frechet_over_folds,
    mmd_over_folds,
    real_floor,
)
from jobs.evaluate.given import Item
from jobs.evaluate.kept import Measured
from jobs.evaluate.measure import MS_SSIM

REGIONS = ("whole", "lungs")

_OF_A_PAIR = {
    "mse_whole": ("mse", "whole", "HU clipped to [-1024, 600], mapped to [-1, 1]"),
    "mse_lung": ("mse", "lungs", "lung and nodule voxels of the layout"),
    "mse_nodule": ("mse", "nodule", "nodule voxels of the layout"),
    "mse_outside": ("mse", "outside", "identity: 0 where the donor's voxels were kept"),
    "psnr_whole": ("psnr_db", "whole", "10 log10(4 / MSE); volumes without error left out"),
    "psnr_lung": ("psnr_db", "lungs", "10 log10(4 / MSE); volumes without error left out"),
    MS_SSIM: ("ms_ssim", "whole", "MONAI, kernel 7"),
    "histogram_distance_hu": ("histogram_distance_hu", "lungs", "Wasserstein; nodules left out"),
    "lung_correlation": ("lung_correlation", "lungs", "of fine structure; 0 new, 1 a copy"),
}
"""Name, region and meaning of each figure of a pair."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """One number of the evaluation."""

    name: str
    region: str
    """whole, lungs, nodule or outside."""
    extractor: str
    """Whose features it is of; empty where it is of none."""
    interval: Interval
    n: int
    """Synthetic volumes that it is of; of a floor, real ones."""
    note: str


@dataclass(frozen=True, slots=True, eq=False)
class Side:
    """A set with what was measured of it, in one order."""

    items: Sequence[Item]
    measured: Sequence[Measured]

    @property
    def patients(self) -> list[str]:
        """Whose each volume is; a synthetic one is its donor's."""
        return [item.patient_id for item in self.items]

    def features(self, name: str) -> NDArray[np.float32]:
        """Return the (n, d) vectors `whole`, `lungs` or `thumbnail`."""
        return np.stack([getattr(one, name) for one in self.measured])

    def where(self, holds: Callable[[Item], bool]) -> "Side":
        """Return the part whose items fulfil a condition."""
        kept = [number for number, item in enumerate(self.items) if holds(item)]
        return Side([self.items[i] for i in kept], [self.measured[i] for i in kept])


def set_figures(
    real: Side, synthetic: Side, extractor: str, num_folds: int, tell: Callable[[str], None]
) -> Iterator[Figure]:
    """Yield FID and MMD of both regions, each with its real-to-real floor.

    Args:
        real: Two volumes or more.
        synthetic: Two volumes or more.
        extractor: Name of what made the features.
        num_folds: Folds of the intervals, and random halves of the floor.
        tell: Is given a sentence for each figure that could not be told.
    """
    patients = real.patients, synthetic.patients
    folds = folds_by_patient(*patients, num_folds)
    count = len(np.unique(np.concatenate(folds)))
    against = f"against {len(real.items)} real; {_folds_told(count)}"
    for region in REGIONS:
        one, other = real.features(region), synthetic.features(region)

        def figure(
            name: str, interval: Interval, n: int, note: str, region: str = region
        ) -> Figure:
            return Figure(
                name=name, region=region, extractor=extractor, interval=interval, n=n, note=note
            )

        found = frechet_over_folds(one, other, *folds)
        yield figure("fid", found, len(other), against)
        yield from _floor(one, real.patients, _fid, num_folds, figure, "fid_real_to_real")
        try:
            kernel = median_kernel(one)
        except ValueError as error:
            tell(f"MMD, {region}: {error}")
            continue

        mmd = partial(mmd_squared, kernel=kernel)
        found = mmd_over_folds(one, other, *folds, kernel)
        yield figure("mmd_squared", found, len(other), f"{against}; unbiased; {kernel}")
        yield from _floor(one, real.patients, mmd, num_folds, figure, "mmd_squared_real_to_real")


def _folds_told(count: int) -> str:
    if count < LEAST_FOLDS:
        return f"no interval: volumes of {count} patients, {LEAST_FOLDS} or more make one"
    return f"95 % over {count} folds of patients"


def _fid(one: NDArray[np.floating], other: NDArray[np.floating]) -> float:
    return frechet_distance(Moments.of(one), Moments.of(other))


def _floor(
    real: NDArray[np.float32],
    patients: Sequence[str],
    distance: Callable[[NDArray[np.floating], NDArray[np.floating]], float],
    num_splits: int,
    figure: Callable[[str, Interval, int, str], Figure],
    name: str,
) -> Iterator[Figure]:
    found = real_floor(real, patients, distance, num_splits=num_splits)
    if math.isfinite(found.value):
        note = f"mean, least and greatest of {num_splits} random halves by patient"
        yield figure(name, found, len(real), note)


def pair_figures_of(synthetic: Side) -> Iterator[Figure]:
    """Yield the figures of synthetic volumes beside their donors, where the donors are there."""
    for key, (name, region, meaning) in _OF_A_PAIR.items():
        values = [
            (one.pair.get(key), item)
            for one, item in zip(synthetic.measured, synthetic.items, strict=True)
        ]
        told = [(value, item.patient_id) for value, item in values if value is not None]
        if not told:
            continue
        numbers, patients = np.array([value for value, _ in told]), [name for _, name in told]
        note = f"{meaning}; beside the donor; 95 % by a bootstrap of {len(set(patients))} patients"
        yield Figure(
            name=name,
            region=region,
            extractor="",
            interval=interval_by_patient(numbers, patients),
            n=len(numbers),
            note=note,
        )
