"""The nodules of a CT, as far as its readers agree on them."""

import itertools
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from factory.axes import Triple, ras_from_zyx, spacing_zyx
from factory.counted import counted
from factory.dicom.stack import Stack
from factory.errors import RecipeError
from factory.geometry import voxel_volume_mm3
from factory.lidc.draw import DrawnRead, draw_reads
from factory.lidc.match import box_around, match_reads, num_shared, window_in
from factory.lidc.reads import LidcReads
from factory.lidc.table import LidcNodule
from factory.nodules.measure import sphere_diameter_mm

_REACH_AT_MOST_MM = 5.0


@dataclass(frozen=True, kw_only=True, slots=True)
class ConsensusConfig:
    """When readers agree."""

    share: float = 0.5
    """A voxel is nodule where at least this share of the readers outlined it."""

    of_all_readers: bool = False
    """Share of all readers of the CT, instead of those who outlined the nodule at all."""

    min_readers: int = 1
    """Nodules that fewer readers outlined are left out."""

    reach_mm: float = 0.0
    """Two reads without a common voxel are one nodule where their nearest voxels are this close;
    0 takes the distance between slices, at most 5 mm."""

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise RecipeError(
                f"LIDC consensus, share: found {self.share}; expected more than 0 and at most 1. "
                "Take 0.5 for half of the readers."
            )
        if self.min_readers < 1:
            raise RecipeError(
                f"LIDC consensus, min_readers: found {self.min_readers}; expected 1 or more. "
                "Take 1 to keep every nodule."
            )
        if not 0 <= self.reach_mm <= _REACH_AT_MOST_MM:
            raise RecipeError(
                f"LIDC consensus, reach_mm: found {self.reach_mm}; expected 0 to "
                f"{_REACH_AT_MOST_MM:g}, in mm. Take 0 for the distance between slices."
            )


@dataclass(frozen=True, kw_only=True, eq=False)
class Consensus:
    """What the readers of a CT agree on."""

    labels: NDArray[np.uint8] | NDArray[np.uint16]
    """(slice, row, column) on the grid of the CT: 0, or the `label` of a nodule."""

    nodules: tuple[LidcNodule, ...]
    """Largest first."""

    num_readers: int
    """Readers of the CT, whether or not they marked something."""

    num_small: int
    """Marks of nodules under 3 mm, of all readers together. They have no voxels."""

    num_non_nodules: int
    """Marks of non-nodules of 3 mm or more, of all readers together."""

    notes: tuple[str, ...]
    """What was left out or assumed, without identifiers."""


def consensus(reads: LidcReads, stack: Stack, config: ConsensusConfig) -> Consensus:
    """Draw the reads on a CT, match them across readers and keep what enough readers agree on.

    Args:
        reads: Of this CT.
        stack: The CT; its own voxels are not looked at.
        config: When readers agree.

    Raises:
        CaseError: The reads do not fit the CT: see `draw_reads`.
    """
    drawn, notes = draw_reads(reads, stack)
    spacing_mm = spacing_zyx(stack.affine)
    reach_mm = config.reach_mm or min(spacing_mm[0], _REACH_AT_MOST_MM)
    matches = match_reads(drawn, spacing_mm, reach_mm)
    kept = [match for match in matches if len(match) >= config.min_readers]
    agreed = [_Agreed.of(match, config, len(reads.readers)) for match in kept]
    labels, nodules = _labelled(agreed, stack)
    left_out = {
        f"outlined by fewer than {config.min_readers} readers": len(matches) - len(kept),
        "without a voxel that enough readers agree on": len(kept) - len(nodules),
    }
    notes += [
        f"{counted(count, 'nodule')} {what}: left out" for what, count in left_out.items() if count
    ]
    return Consensus(
        labels=labels,
        nodules=nodules,
        num_readers=len(reads.readers),
        num_small=reads.num_small,
        num_non_nodules=reads.num_non_nodules,
        notes=(*reads.notes, *notes),
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Agreed:
    """The reads of one nodule, and the voxels that enough of them hold."""

    reads: tuple[DrawnRead, ...]
    window: tuple[slice, ...]
    mask: NDArray[np.bool_]

    @classmethod
    def of(
        cls, match: tuple[DrawnRead, ...], config: ConsensusConfig, num_readers: int
    ) -> "_Agreed":
        corner, shape = box_around(match)
        votes = np.zeros(shape, np.uint16)
        for read in match:
            votes[window_in(read, corner)] += read.mask
        electorate = num_readers if config.of_all_readers else len(match)
        mask = votes >= config.share * electorate
        return cls(match, tuple(map(slice, corner, corner + shape)), mask)

    @property
    def agreement(self) -> float | None:
        pairs = itertools.combinations(self.reads, 2)
        dice = [2 * num_shared(a, b) / (a.num_voxels + b.num_voxels) for a, b in pairs]
        return statistics.fmean(dice) if dice else None


def _labelled(
    agreed: Sequence[_Agreed], stack: Stack
) -> tuple[NDArray[Any], tuple[LidcNodule, ...]]:
    """Return the labels of all nodules and their table; a voxel of two is the larger's."""
    labels = np.zeros(stack.ct_hu.shape, np.uint8 if len(agreed) < 256 else np.uint16)
    ranked = sorted(agreed, key=lambda nodule: -np.count_nonzero(nodule.mask))
    found = []
    for nodule in ranked:
        part = labels[nodule.window]
        mine = nodule.mask & (part == 0)
        if mine.any():
            part[mine] = 1
            found.append((nodule, mine))
    found.sort(key=lambda item: -np.count_nonzero(item[1]))
    for label, (nodule, mine) in enumerate(found, start=1):
        labels[nodule.window][mine] = label
    nodules = [_row(label, *item, stack.affine) for label, item in enumerate(found, start=1)]
    return labels, tuple(nodules)


def _row(
    label: int, nodule: _Agreed, mask: NDArray[np.bool_], affine: NDArray[np.float64]
) -> LidcNodule:
    num_voxels = int(np.count_nonzero(mask))
    volume_mm3 = num_voxels * voxel_volume_mm3(affine)
    return LidcNodule(
        label=label,
        num_readers=len(nodule.reads),
        center_ras_mm=ras_from_zyx(affine, _centre(nodule.window, mask)),
        diameter_mm=sphere_diameter_mm(volume_mm3),
        volume_mm3=volume_mm3,
        num_voxels=num_voxels,
        agreement=nodule.agreement,
        reader_voxels=tuple(read.num_voxels for read in nodule.reads),
        ratings=tuple(read.ratings for read in nodule.reads),
    )


def _centre(window: tuple[slice, ...], mask: NDArray[np.bool_]) -> Triple:
    z, y, x = (
        float(along.start + at.mean()) for along, at in zip(window, np.nonzero(mask), strict=True)
    )
    return z, y, x
