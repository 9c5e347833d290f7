"""A CT series as an array on its own slices, and the way from there to our orientation."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from factory.axes import affine_from_orientation, from_orientation, orientation_of
from factory.dicom.tilt import Upright
from factory.intensity import HU_MIN


@dataclass(frozen=True, kw_only=True, eq=False)
class Stack:
    """A CT series as an array, in the order of its slices along their normal.

    Masks are drawn on these slices as the scanner stored them, by SOP instance UID and pixel or
    by `affine`, and turned with the CT by `canonical`.
    """

    ct_hu: NDArray[np.int16]
    """(slice, row, column) HU, clipped to [-1024, 3071]."""

    affine: NDArray[np.float64]
    """4x4, (column, row, slice) index to RAS mm. Of a tilted gantry it is sheared: a slice lies
    beside the one before, not straight above it."""

    sop_uids: tuple[str, ...]
    """SOP instance UID of each slice; empty where a file has none, or the slice is filled."""

    series_uid: str
    """SeriesInstanceUID."""

    study_uid: str
    """StudyInstanceUID."""

    frame_uid: str
    """FrameOfReferenceUID; empty where the files have none."""

    notes: tuple[str, ...] = ()
    """What was repaired or assumed, without identifiers."""

    filled: tuple[int, ...] = ()
    """Slices that no file holds, between two that do; their HU are interpolated."""

    def canonical(self, volume: NDArray[Any]) -> NDArray[Any]:
        """Turn an array on these slices to (z, y, x), closest-canonical RAS.

        A tilted gantry is made upright: slices are shifted over each other, which leaves room
        at their sides. Masks are shifted to the nearest pixel, and drawn on filled slices where
        the slices before and after agree; CTs are interpolated, with air at the sides.

        Args:
            volume: (slice, row, column); a mask or labels where bool or unsigned, HU else.

        Returns:
            C-contiguous (z, y, x) array of the same dtype, on the grid of `canonical_affine`.
        """
        labels = volume.dtype.kind in "bu"
        if labels and self.filled:
            volume = self._with_filled_labels(volume)
        if not self._upright.is_upright:
            volume = self._upright.shift(
                volume, order=0 if labels else 1, outside=0 if labels else HU_MIN
            )
        return from_orientation(volume, self._codes)

    @property
    def canonical_affine(self) -> NDArray[np.float64]:
        """4x4, voxel (i, j, k) of a canonical array to RAS mm."""
        return affine_from_orientation(self._upright.affine, self._upright.shape, self._codes)

    @cached_property
    def _upright(self) -> Upright:
        return Upright.of(self.affine, self.ct_hu.shape)

    @property
    def _codes(self) -> str:
        return orientation_of(self._upright.affine)

    def _with_filled_labels(self, labels: NDArray[Any]) -> NDArray[Any]:
        labels = labels.copy()
        for k in self.filled:
            # A contour may have been drawn there all the same, where its reader had the slice.
            if not labels[k].any():
                before, after = labels[k - 1], labels[k + 1]
                labels[k] = np.where(before == after, before, 0)
        return labels
