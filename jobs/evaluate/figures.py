"""The figures of sets, each with its interval, how many volumes it is of, and what it means."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from factory.counted import counted
from factory.evaluation.folds import folds_by_patient
from factory.evaluation.frechet import frechet_distance
from factory.evaluation.intervals import LEAST_PATIENTS, Interval, interval_by_patient
from factory.evaluation.mmd import GaussianKernel, median_kernel, mmd_squared
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

    of: str
    """Name of its set; `real` for a floor."""
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
    name: str = ""
    """Of the set, in tables."""

    @property
    def patients(self) -> list[str]:
        """Whose each volume is; a synthetic one is its donor's."""
        return [item.patient_id for item in self.items]

    def features(self, name: str) -> NDArray[np.float32]:
        """Return the (n, d) vectors of a name, one of `VECTORS`."""
        return np.stack([getattr(one, name) for one in self.measured])

    def where(self, holds: Callable[[Item], bool]) -> "Side":
        """Return the part whose items fulfil a condition."""
        return self.only([holds(item) for item in self.items])

    def only(self, flags: Sequence[bool]) -> "Side":
        """Return the part whose flags are set, one an item."""
        kept = [number for number, is_kept in enumerate(flags) if is_kept]
        return Side([self.items[i] for i in kept], [self.measured[i] for i in kept], self.name)


def kernels_of(real: Side, tell: Callable[[str], None]) -> dict[str, GaussianKernel]:
    """Return the kernel of each region, of the real set alone: one judges all synthetic sets.

    Args:
        real: Two volumes or more.
        tell: Is given a sentence for a region that has none.
    """
    found = {}
    for region in REGIONS:
        try:
            found[region] = median_kernel(real.features(region))
        except ValueError as error:
            tell(f"MMD, {region}: {error}")
    return found


def floor_figures(
    real: Side, kernels: Mapping[str, GaussianKernel], extractor: str, num_splits: int
) -> Iterator[Figure]:
    """Yield FID and MMD of both regions between random halves of the real set.

    Args:
        real: Two volumes or more.
        kernels: Of `kernels_of`.
        extractor: Name of what made the features.
        num_splits: Random halves.
    """
    for region in REGIONS:
        features = real.features(region)
        distances = {"fid_real_to_real": _fid}
        if region in kernels:
            distances["mmd_squared_real_to_real"] = partial(mmd_squared, kernel=kernels[region])
        for name, distance in distances.items():
            found = real_floor(features, real.patients, distance, num_splits=num_splits)
            if math.isfinite(found.value):
                yield Figure(
                    of=real.name,
                    name=name,
                    region=region,
                    extractor=extractor,
                    interval=found,
                    n=len(features),
                    note=f"mean, least and greatest of {num_splits} random halves by patient",
                )


def set_figures(
    real: Side,
    synthetic: Side,
    kernels: Mapping[str, GaussianKernel],
    extractor: str,
    num_folds: int,
) -> Iterator[Figure]:
    """Yield FID and MMD of a synthetic set in both regions.

    Args:
        real: Two volumes or more.
        synthetic: Two volumes or more.
        kernels: Of `kernels_of`.
        extractor: Name of what made the features.
        num_folds: Folds of the intervals.
    """
    folds = folds_by_patient(real.patients, synthetic.patients, num_folds)
    count = len(np.unique(np.concatenate(folds)))
    against = f"against {len(real.items)} real; {folds_told(count)}"
    for region in REGIONS:
        one, other = real.features(region), synthetic.features(region)
        found = {"fid": (frechet_over_folds(one, other, *folds), against)}
        if kernel := kernels.get(region):
            found["mmd_squared"] = (
                mmd_over_folds(one, other, *folds, kernel),
                f"{against}; unbiased; {kernel}",
            )
        for name, (interval, note) in found.items():
            yield Figure(
                of=synthetic.name,
                name=name,
                region=region,
                extractor=extractor,
                interval=interval,
                n=len(other),
                note=note,
            )


def folds_told(count: int) -> str:
    """Return what a note says of the folds that an interval is over."""
    if count < LEAST_FOLDS:
        return (
            f"no interval: volumes of {counted(count, 'patient')}, {LEAST_FOLDS} or more make one"
        )
    return f"95 % over {count} folds of patients"


def _fid(one: NDArray[np.floating], other: NDArray[np.floating]) -> float:
    return frechet_distance(Moments.of(one), Moments.of(other))


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
        interval = interval_by_patient(numbers, patients)
        yield Figure(
            of=synthetic.name,
            name=name,
            region=region,
            extractor="",
            interval=interval,
            n=len(numbers),
            note=f"{meaning}; beside the donor; {_patients_told(interval, len(set(patients)))}",
        )


def _patients_told(interval: Interval, count: int) -> str:
    if count < LEAST_PATIENTS:
        return f"no interval: volumes of {counted(count, 'patient')}, {LEAST_PATIENTS} or more make one"
    if not math.isfinite(interval.low):
        return f"no interval: the same of all {counted(count, 'patient')}"
    return f"95 % by a bootstrap of {count} patients"
