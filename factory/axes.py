"""The one crossing between axis orders.

Arrays, spacings and points are (z, y, x) everywhere in this project. NIfTI files
and their affines speak (i, j, k) = (x, y, z), a network that was trained elsewhere
may want its volumes turned, and DICOM counts millimetres to the left and to the back
(LPS) where everything of ours counts to the right and to the front (RAS).
Nothing else converts between them.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Triple = tuple[float, float, float]

CANONICAL = "SAR"
"""Orientation of our arrays: z grows towards Superior, y towards Anterior, x towards Right."""

_DIRECTIONS = ("SI", "AP", "RL")
"""Of z, y and x: as our index grows, and against it."""


def zyx_from_ijk(volume: NDArray[Any]) -> NDArray[Any]:
    """Return a C-contiguous (z, y, x) array of an (i, j, k) volume."""
    return np.ascontiguousarray(volume.transpose(2, 1, 0))


def ijk_from_zyx(volume: NDArray[Any]) -> NDArray[Any]:
    """Return an (i, j, k) view of a (z, y, x) volume."""
    return volume.transpose(2, 1, 0)


def spacing_zyx(affine: NDArray[np.float64]) -> Triple:
    """Return the voxel size (z, y, x) in mm of a voxel (i, j, k) to world affine."""
    x, y, z = np.sqrt((np.asarray(affine)[:3, :3] ** 2).sum(axis=0))
    return float(z), float(y), float(x)


def affine_from_zyx(step: Triple, first: Triple) -> NDArray[np.float64]:
    """Return the 4x4 that takes voxel (i, j, k) to (x, y, z), along the axes.

    Args:
        step: From one voxel to the next, (z, y, x).
        first: Where voxel (0, 0, 0) lies, (z, y, x).
    """
    affine = np.diag([*step[::-1], 1.0])
    affine[:3, 3] = first[::-1]
    return affine


def ras_from_zyx(affine: NDArray[np.float64], point_zyx: Triple) -> Triple:
    """Return the RAS point in mm of a (z, y, x) array index, whole or fractional."""
    z, y, x = point_zyx
    right, anterior, superior = (np.asarray(affine) @ np.array([x, y, z, 1.0]))[:3]
    return float(right), float(anterior), float(superior)


def zyx_from_ras(affine: NDArray[np.float64], points_ras: NDArray[Any]) -> NDArray[np.float64]:
    """Return the fractional (z, y, x) array indices of (..., 3) points in RAS mm."""
    inverse = np.linalg.inv(affine)
    ijk: NDArray[np.float64] = np.asarray(points_ras) @ inverse[:3, :3].T + inverse[:3, 3]
    return ijk[..., ::-1]


def ras_from_lps(points_lps: NDArray[Any]) -> NDArray[np.float64]:
    """Turn (..., 3) points or directions of DICOM and ITK to RAS, or back."""
    # Plus zero, for minus zero would be written as such.
    return np.asarray(points_lps, np.float64) * (-1.0, -1.0, 1.0) + 0.0


def affine_from_dicom(
    *,
    position: NDArray[np.float64],
    orientation: NDArray[np.float64],
    pixel_spacing: tuple[float, float],
    step: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return the 4x4 from (column, row, slice) of a stack of slices to RAS mm (PS3.3 C.7.6.2.1.1).

    Args:
        position: ImagePositionPatient of the first slice: (3,), LPS mm, the centre of its
            first pixel.
        orientation: ImageOrientationPatient: (6,), the directions in which the columns count
            along a row, and the rows along a column, in LPS.
        pixel_spacing: PixelSpacing: mm from row to row, then from column to column.
        step: From each slice to the next: (3,), LPS mm.
    """
    between_rows, between_columns = pixel_spacing
    affine = np.eye(4)
    affine[:3, 0] = ras_from_lps(orientation[:3] * between_columns)
    affine[:3, 1] = ras_from_lps(orientation[3:] * between_rows)
    affine[:3, 2] = ras_from_lps(step)
    affine[:3, 3] = ras_from_lps(position)
    return affine


def orientation_of(affine: NDArray[np.float64]) -> str:
    """Return where the three indices of a (z, y, x) array grow to, as `SPL`, of its affine.

    The closest there is, where the scan is oblique; so `from_orientation` with these codes
    turns the array to closest-canonical RAS.
    """
    # Loaded late, for most of what imports this module reads no scan. And nibabel's own choice
    # between two axes at 45 degrees, so that a NIfTI mask of the same scan is turned like it.
    from nibabel.orientations import aff2axcodes

    codes = aff2axcodes(affine)  # type: ignore[no-untyped-call]
    return "".join(reversed(codes))


def affine_from_orientation(
    affine: NDArray[np.float64], shape: tuple[int, ...], codes: str
) -> NDArray[np.float64]:
    """Return the affine of what `from_orientation` makes of an array.

    Args:
        affine: 4x4 of the array, voxel (i, j, k) to mm.
        shape: (z, y, x) of the array.
        codes: Those that the array is turned with.

    Raises:
        ValueError: `codes` are no orientation.
    """
    axes, flipped = _turn(codes)
    turned = np.array(affine, np.float64)
    for place, axis in enumerate(axes):
        # An affine names x first: z, the third axis from the end of ours, is its column 2.
        step = affine[:3, 2 - place]
        backwards = place - 3 in flipped
        turned[:3, -1 - axis] = 0.0 - step if backwards else step
        turned[:3, 3] += step * (shape[place] - 1) * backwards
    return turned


def is_orientation(codes: str) -> bool:
    """Tell whether `codes` are three of S, I, A, P, R and L, one along each axis of the body."""
    named = [pair for pair in _DIRECTIONS for code in codes if code in pair]
    return len(codes) == 3 and len(named) == 3 and len(set(named)) == 3


def to_orientation(volume: NDArray[Any], codes: str) -> NDArray[Any]:
    """Turn a (..., z, y, x) array so that its last three indices grow in other directions.

    Args:
        volume: One of ours, `SAR`; channel axes before the last three stay.
        codes: The direction of the patient in which each of the three indices is to grow.
            `SLP` is (z, x, y), with x from right to left and y from front to back.

    Returns:
        C-contiguous array of the same voxels.

    Raises:
        ValueError: `codes` are no orientation.
    """
    axes, flipped = _turn(codes)
    turned = np.moveaxis(volume, axes, (-3, -2, -1))
    return np.ascontiguousarray(np.flip(turned, flipped))


def from_orientation(volume: NDArray[Any], codes: str) -> NDArray[Any]:
    """Turn an array that `to_orientation` made with these `codes` back into (..., z, y, x).

    Raises:
        ValueError: `codes` are no orientation.
    """
    axes, flipped = _turn(codes)
    turned = np.flip(volume, flipped)
    return np.ascontiguousarray(np.moveaxis(turned, (-3, -2, -1), axes))


def _turn(codes: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return which axis of ours each of the three is, and which of them run against ours."""
    if not is_orientation(codes):
        raise ValueError(
            f"orientation: found {codes!r}; expected three letters, one each of "
            f"{', '.join(' or '.join(pair) for pair in _DIRECTIONS)}, as {CANONICAL!r}"
        )
    # Counted from the end, so that channel axes before them do not matter.
    axes = (next(axis for axis in range(3) if code in _DIRECTIONS[axis]) - 3 for code in codes)
    flipped = (place - 3 for place, code in enumerate(codes) if code not in CANONICAL)
    return tuple(axes), tuple(flipped)
