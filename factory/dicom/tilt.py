"""Slices of a tilted gantry, shifted so that each lies straight above the one before.

The table moves along the patient while the slices lean, so each slice starts beside the one
before. Shifted within their planes they stand upright, on a grid that leans as the gantry did.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

DRIFT_PIXELS = 0.5
"""Sideways, from the first slice to the last; less is no tilt but the rounding of a header."""


@dataclass(frozen=True, slots=True, eq=False)
class Upright:
    """The orthogonal grid over a stack of slices, and how far each slice is shifted on it."""

    affine: NDArray[np.float64]
    """4x4, (column, row, slice) index of the orthogonal grid to RAS mm."""

    shape: tuple[int, int, int]
    """(slice, row, column) of the orthogonal grid: every pixel of every slice has room."""

    start: tuple[int, int]
    """(row, column) of the stack's first slice at which the orthogonal grid starts."""

    drift: tuple[float, float]
    """(row, column) by which each slice lies beside the one before, in pixels."""

    @classmethod
    def of(cls, affine: NDArray[np.float64], shape: tuple[int, ...]) -> "Upright":
        """Return the orthogonal grid for a (slice, row, column) stack with this affine."""
        num_slices, rows, columns = shape
        per_pixel = affine[:3, [1, 0]]
        drift = np.linalg.pinv(per_pixel) @ affine[:3, 2]
        total = drift * (num_slices - 1)
        total[np.abs(total) < DRIFT_PIXELS] = 0.0
        drift = np.where(total, drift, 0.0)
        start = np.floor(np.minimum(total, 0.0)).astype(int)
        size = np.ceil(np.maximum(total, 0.0)).astype(int) - start + (rows, columns)
        upright = np.array(affine, np.float64)
        upright[:3, 2] -= per_pixel @ drift
        upright[:3, 3] += per_pixel @ start
        return cls(
            upright,
            (num_slices, int(size[0]), int(size[1])),
            (int(start[0]), int(start[1])),
            (float(drift[0]), float(drift[1])),
        )

    @property
    def is_upright(self) -> bool:
        """Whether the slices stand straight above each other as they are."""
        return not any(self.drift)

    def shift(self, volume: NDArray[Any], *, order: Literal[0, 1], outside: int) -> NDArray[Any]:
        """Bring a (slice, row, column) array onto the orthogonal grid.

        Args:
            volume: On the stack's own slices.
            order: 0 takes the nearest pixel, 1 interpolates linearly.
            outside: Value at the sides of the slices.
        """
        shifted = np.empty(self.shape, volume.dtype)
        for k, image in enumerate(volume):
            offset = np.subtract(self.start, np.multiply(self.drift, k))
            pixels = image.astype(np.float32) if order else image
            moved = ndimage.affine_transform(
                pixels,
                np.eye(2),
                offset,
                output_shape=self.shape[1:],
                order=order,
                mode="grid-constant",
                cval=outside,
            )
            shifted[k] = np.rint(moved) if order else moved
        return shifted
