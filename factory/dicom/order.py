"""Where the slices of a series lie: along their normal, beside it, twice, or missing.

Positions come from the headers alone, never from instance numbers or file names.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from factory.dicom.headers import Header

SAME_MM = 0.01
"""Slices that are no further apart lie at the same place; headers round to that."""

_DIRECTION_ERROR = 0.01
"""By which a direction may differ from a unit vector, or a row from being across its column."""


@dataclass(frozen=True, slots=True, eq=False)
class Plane:
    """The three directions of a slice, unit vectors in LPS."""

    row: NDArray[np.float64]
    """In which the columns count along a row."""

    column: NDArray[np.float64]
    """In which the rows count along a column."""

    normal: NDArray[np.float64]
    """Across both, right-handed."""

    @classmethod
    def of(cls, orientation: tuple[float, ...]) -> "Plane | None":
        """Return the directions of an ImageOrientationPatient; None where it has none."""
        if len(orientation) != 6 or max(map(abs, orientation)) > 2.0:
            return None
        row, column = np.reshape(np.asarray(orientation, np.float64), (2, 3))
        lengths = np.array([row @ row, column @ column])
        if (
            np.abs(lengths - 1.0).max() > 2 * _DIRECTION_ERROR
            or abs(row @ column) > _DIRECTION_ERROR
        ):
            return None
        # Headers round: the directions become exactly orthogonal, around the row.
        row = row / np.linalg.norm(row)
        column = column - (column @ row) * row
        column /= np.linalg.norm(column)
        return cls(row, column, np.cross(row, column))

    @property
    def degrees_off_axial(self) -> float:
        """Angle between the normal and the axis of the body."""
        return float(np.degrees(np.arccos(min(1.0, abs(self.normal[2])))))


def distances_mm(slices: Sequence[Header]) -> NDArray[np.float64]:
    """Return where each slice lies along the normal of the first, in mm from the origin of LPS."""
    plane = Plane.of(slices[0].orientation)
    assert plane is not None, "a series is made of slices with directions"
    return np.array([header.position for header in slices]) @ plane.normal


def in_order(slices: Sequence[Header]) -> tuple[Header, ...]:
    """Return the slices in the order of their positions along their normal."""
    distances = distances_mm(slices)
    order = sorted(
        range(len(slices)), key=lambda n: (distances[n], slices[n].sop_uid, str(slices[n].path))
    )
    return tuple(slices[n] for n in order)


def places(slices: Sequence[Header]) -> list[list[Header]]:
    """Return the slices of each place, where `slices` are in order; most have one."""
    distances = distances_mm(slices)
    number = np.cumsum(np.diff(distances, prepend=distances[0]) > SAME_MM)
    pairs = zip(number.tolist(), slices, strict=True)
    return [
        [header for _, header in group] for _, group in groupby(pairs, key=lambda pair: pair[0])
    ]


def gap_mm(slices: Sequence[Header]) -> float:
    """Return the median distance between neighbouring places, where `slices` are in order.

    The lower of the two in the middle, so that it is the distance of two slices that there are.
    """
    gaps = np.diff(distances_mm([place[0] for place in places(slices)]))
    return float(np.sort(gaps)[(len(gaps) - 1) // 2]) if len(gaps) else 0.0
