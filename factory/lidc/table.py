"""The nodule table: what is known of a nodule that radiologists agree on."""

import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from factory.axes import Triple
from factory.lidc.reads import KINDS, SCALES, Ratings


@dataclass(frozen=True, kw_only=True, slots=True)
class LidcNodule:
    """A nodule that several readers outlined, as far as they agree."""

    label: int
    """In `Consensus.labels`; rank by volume, 1 is the largest."""

    num_readers: int
    """Readers who outlined it."""

    center_ras_mm: Triple
    """Centre of mass (right, anterior, superior) of the consensus in mm."""

    diameter_mm: float
    """Diameter of the sphere of the consensus' volume."""

    volume_mm3: float
    """Number of consensus voxels times the volume of one."""

    num_voxels: int
    """Consensus voxels on the grid of the CT."""

    agreement: float | None
    """Mean Dice over all pairs of readers; None where one reader alone outlined it."""

    reader_voxels: tuple[int, ...]
    """Voxels that each reader outlined, largest first. Readers are anonymous: this is their order."""

    ratings: tuple[Ratings, ...]
    """How each reader rated it, in the order of `reader_voxels`."""

    def given(self, name: str) -> list[int]:
        """Return the ratings of one characteristic that readers gave."""
        values = (getattr(rating, name) for rating in self.ratings)
        return [value for value in values if value is not None]

    def mean(self, name: str) -> float | None:
        """Return the mean rating of one characteristic; None where nobody rated it."""
        given = self.given(name)
        return statistics.fmean(given) if given else None

    def median(self, name: str) -> float | None:
        """Return the median rating of one characteristic; None where nobody rated it."""
        given = self.given(name)
        return float(statistics.median(given)) if given else None

    def as_row(self) -> dict[str, Any]:
        """Return the nodule as plain numbers and lists, as a Parquet table stores it.

        Each characteristic has a list with one value a reader, None where they gave none, and
        the mean and median of those given: `malignancy`, `malignancy_mean`, `malignancy_median`.
        The two whose numbers name kinds have the list only.
        """
        return {
            "label": self.label,
            "num_readers": self.num_readers,
            "center_ras_mm": list(self.center_ras_mm),
            "diameter_mm": self.diameter_mm,
            "volume_mm3": self.volume_mm3,
            "num_voxels": self.num_voxels,
            "agreement": self.agreement,
            "reader_voxels": list(self.reader_voxels),
            **dict(self._rated()),
        }

    def _rated(self) -> Iterator[tuple[str, Any]]:
        for name in SCALES:
            yield name, [getattr(rating, name) for rating in self.ratings]
            if name not in KINDS:
                yield f"{name}_mean", self.mean(name)
                yield f"{name}_median", self.median(name)
