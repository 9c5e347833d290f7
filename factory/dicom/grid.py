"""The even grid that the slices of a series lie on, and what of it is missing."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from factory.counted import counted
from factory.dicom.elements import DicomError
from factory.dicom.headers import Header
from factory.dicom.order import Plane, distances_mm
from factory.dicom.tilt import DRIFT_PIXELS

_EVEN_SHARE, _EVEN_MM = 0.01, 0.02
"""Slices lie evenly where each is this close to its place: a share of the gap, or mm."""

_NEARLY_EVEN_SHARE = 0.1
"""Of the gap; up to there slices are taken as even, with a note."""

_FILLED_SHARE = 0.02
"""Of all slices that may be filled in."""

_TILT_DEGREES = 30.0
"""Gantries tilt no further."""

_GAP_MM = 50.0
_NAMED_AT_MOST = 5


@dataclass(frozen=True, slots=True, eq=False)
class SliceGrid:
    """Evenly spaced slices, and which of them the files hold."""

    numbers: tuple[int, ...]
    """Of each slice that there is, among those of the grid; the first is 0, the last the highest."""

    step: NDArray[np.float64]
    """(3,) from one slice of the grid to the next, LPS mm."""

    notes: tuple[str, ...]
    """What was assumed."""

    @property
    def num_slices(self) -> int:
        """Slices of the grid."""
        return self.numbers[-1] + 1

    @property
    def missing(self) -> tuple[int, ...]:
        """Slices of the grid that there are no files of."""
        return tuple(sorted(set(range(self.num_slices)) - set(self.numbers)))


def slice_grid(slices: Sequence[Header]) -> SliceGrid:
    """Lay an even grid through slices.

    Args:
        slices: One a place, in order, at least two.

    Raises:
        DicomError: They lie unevenly, leap sideways, or too many are missing.
    """
    plane = Plane.of(slices[0].orientation)
    assert plane is not None, "a series is made of slices with directions"
    distances = distances_mm(slices)
    numbers, gap_mm, notes = _even(distances)
    filled = _check_missing(numbers, slices, gap_mm)
    sideways, tilt = _sideways(slices, plane, numbers, gap_mm)
    step = plane.normal * gap_mm + plane.row * sideways[0] + plane.column * sideways[1]
    return SliceGrid(tuple(numbers.tolist()), step, (*notes, *filled, *tilt))


def _even(distances: NDArray[np.float64]) -> tuple[NDArray[np.int64], float, tuple[str, ...]]:
    """Return the number of each slice on an even grid, and its gap in mm."""
    gaps = np.diff(distances)
    # The lower median: that of two slices that there are.
    median = np.sort(gaps)[(len(gaps) - 1) // 2]
    numbers = np.concatenate(([0], np.cumsum(np.rint(gaps / median)))).astype(np.int64)
    gap = float((distances[-1] - distances[0]) / max(numbers[-1], 1))
    worst = float(np.abs(distances - distances[0] - numbers * gap).max())
    if gap > _GAP_MM or np.diff(numbers).min() < 1 or worst > _NEARLY_EVEN_SHARE * gap:
        raise DicomError(
            f"slices lie {gaps.min():.2f} to {gaps.max():.2f} mm apart; expected even slices, to a tenth of "
            "their distance. Choose or export a series with one distance"
        )
    if worst <= max(_EVEN_SHARE * gap, _EVEN_MM):
        return numbers, gap, ()
    return (
        numbers,
        gap,
        (f"slices that lie up to {worst:.2f} mm beside an even {gap:.2f} mm are taken as even",),
    )


def _check_missing(
    numbers: NDArray[np.int64], slices: Sequence[Header], gap_mm: float
) -> tuple[str, ...]:
    steps = np.diff(numbers)
    num_missing = int((steps - 1).sum())
    if not num_missing:
        return ()
    holes = np.flatnonzero(steps > 1)
    where = ", ".join(
        f"{slices[n].position[2]:.2f} to {slices[n + 1].position[2]:.2f} mm"
        for n in holes[:_NAMED_AT_MOST].tolist()
    )
    more = f" and {len(holes) - _NAMED_AT_MOST} more" if len(holes) > _NAMED_AT_MOST else ""
    if steps.max() > 2 or num_missing > _FILLED_SHARE * (int(numbers[-1]) + 1):
        raise DicomError(
            f"found {num_missing} of {counted(int(numbers[-1]) + 1, 'slice')} missing, in gaps of up to "
            f"{steps.max() * gap_mm:.2f} mm (at z {where}{more}) where slices lie "
            f"{gap_mm:.2f} mm apart; expected single ones, at most {_FILLED_SHARE:.0%}. Export the series "
            "again, whole"
        )
    return (f"interpolated: {counted(num_missing, 'single missing slice')} (at z {where}{more})",)


def _sideways(
    slices: Sequence[Header], plane: Plane, numbers: NDArray[np.int64], gap_mm: float
) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """Return by how many mm each slice lies beside the one before, along a row and along a column."""
    positions = np.array([header.position for header in slices])
    beside = (positions - positions[0]) @ np.stack([plane.row, plane.column], axis=1)
    between_rows, between_columns = slices[0].pixel_spacing
    pixel_mm = np.array([between_columns, between_rows])
    step = beside[-1] / numbers[-1]
    leap = (np.abs(beside - numbers[:, None] * step) / pixel_mm).max()
    if leap > DRIFT_PIXELS:
        raise DicomError(
            f"slices leap sideways by up to {leap:.1f} pixels; expected a straight stack. Export the parts "
            "as series of their own"
        )
    # A header that rounds is no tilt.
    step = np.where(np.abs(beside[-1]) / pixel_mm < DRIFT_PIXELS, 0.0, step)
    degrees = float(np.degrees(np.arctan2(np.hypot(*step), gap_mm)))
    if degrees > _TILT_DEGREES:
        raise DicomError(
            f"slices lean by {degrees:.0f} degrees against the way they are stacked; expected a gantry "
            f"tilt of at most {_TILT_DEGREES:.0f}. Export it as straight slices"
        )
    tilted = f"slices that lean by {degrees:.1f} degrees (gantry tilt) are shifted to stand upright"
    return step, (tilted,) if degrees else ()
