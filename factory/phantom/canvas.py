"""A voxel grid to draw on, in millimetres of the patient's own frame."""

import math
from collections.abc import Sequence
from functools import reduce

import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.float32]
"""A value per voxel, (z, y, x); as a distance, in mm and negative inside."""

Point = tuple[float, float, float]
"""(x, y, z) in mm in the patient's frame: right, anterior, superior; 0 is mid-thorax."""

Tube = tuple[Sequence[Point], Sequence[float] | float]
"""A path and its radius in mm, one for all points or one for each."""

AIR_HU = -1000.0
_ELLIPSOID_REACH_MM = 30.0


class Canvas:
    """HU on a grid, with the position of every voxel in the patient's frame."""

    def __init__(
        self,
        size: tuple[int, int, int],
        spacing_mm: tuple[float, float, float],
        rotation: NDArray[np.float64],
        shift_mm: NDArray[np.float64],
    ) -> None:
        """Set up a grid of air.

        Args:
            size: Voxels (z, y, x).
            spacing_mm: Voxel spacing (z, y, x) in mm.
            rotation: (3, 3), turns the patient's (x, y, z) into the scanner's.
            shift_mm: (3,), where the patient's origin lies from the grid's centre, (x, y, z).
        """
        self.hu: Field = np.full(size, AIR_HU, dtype=np.float32)
        self.voxel_mm = float(np.prod(spacing_mm)) ** (1 / 3)
        self._spacing_xyz = np.array(spacing_mm[::-1])
        self._centre_xyz = (np.array(size[::-1]) - 1) / 2
        self._rotation, self._shift_mm = rotation, shift_mm
        z, y, x = (
            (np.arange(num) - (num - 1) / 2) * mm for num, mm in zip(size, spacing_mm, strict=True)
        )
        scanner = (
            x[np.newaxis, np.newaxis, :] - shift_mm[0],
            y[np.newaxis, :, np.newaxis] - shift_mm[1],
            z[:, np.newaxis, np.newaxis] - shift_mm[2],
        )
        self.x, self.y, self.z = (
            sum(rotation[row, axis] * scanner[row] for row in range(3)).astype(np.float32)
            for axis in range(3)
        )

    def voxel_of(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the fractional (..., z, y, x) index of (..., 3) patient (x, y, z) points."""
        scanner = points @ self._rotation.T + self._shift_mm
        index: NDArray[np.float64] = scanner / self._spacing_xyz + self._centre_xyz
        return index[..., ::-1]

    def coverage(self, distance: Field) -> Field:
        """Return the share of each voxel that a surface encloses, 0 to 1: partial volume."""
        share: Field = np.clip(0.5 - distance / self.voxel_mm, 0.0, 1.0)
        return share

    def paint(self, distance: Field, hu: Field | float) -> None:
        """Fill the inside of a surface with `hu`, mixed into what is there at its border."""
        self.hu += self.coverage(distance) * (hu - self.hu)

    def box_around(self, points: NDArray[np.float64], margin_mm: float) -> tuple[slice, ...]:
        """Return the (z, y, x) slices of the grid within `margin_mm` of (n, 3) points."""
        index = self.voxel_of(points)
        margin = margin_mm / self._spacing_xyz[::-1]
        low = np.floor(index.min(axis=0) - margin).astype(int)
        high = np.ceil(index.max(axis=0) + margin).astype(int) + 1
        return tuple(
            slice(min(max(a, 0), num), min(max(b, 0), num))
            for a, b, num in zip(low.tolist(), high.tolist(), self.hu.shape, strict=True)
        )

    def tubes(self, *tubes: Tube, reach_mm: float = 8.0) -> Field:
        """Return the distance to bent tubes; beyond `reach_mm` it is just `reach_mm`."""
        distance = np.full(self.hu.shape, reach_mm, dtype=np.float32)
        for points, radii_mm in tubes:
            path = np.array(points, dtype=np.float64)
            radii = np.broadcast_to(np.asarray(radii_mm, dtype=np.float64), len(path))
            for start in range(len(path) - 1):
                ends, ends_mm = path[start : start + 2], radii[start : start + 2]
                box = self.box_around(ends, float(ends_mm.max()) + reach_mm)
                np.minimum(distance[box], self.segment(box, ends, ends_mm), out=distance[box])
        return distance

    def segment(
        self, box: tuple[slice, ...], ends: NDArray[np.float64], radii_mm: NDArray[np.float64]
    ) -> Field:
        """Return the distance, within `box`, to a round cone from `ends[0]` to `ends[1]`."""
        x, y, z = (axis[box] for axis in (self.x, self.y, self.z))
        (x0, y0, z0), (dx, dy, dz) = ends[0].tolist(), (ends[1] - ends[0]).tolist()
        x, y, z = x - x0, y - y0, z - z0
        length_squared = dx * dx + dy * dy + dz * dz + 1e-6
        along = np.clip((x * dx + y * dy + z * dz) / length_squared, 0.0, 1.0)
        away = np.sqrt((x - along * dx) ** 2 + (y - along * dy) ** 2 + (z - along * dz) ** 2)
        first, last = radii_mm.tolist()
        distance: Field = away - (first + along * (last - first))
        return distance

    def ellipsoid(self, centre: Point, radii_mm: Point, *, turn_deg: float = 0.0) -> Field:
        """Return the distance to an ellipsoid, turned about z from x towards y.

        Further than `_ELLIPSOID_REACH_MM` away it is just that.
        """
        distance = np.full(self.hu.shape, _ELLIPSOID_REACH_MM, dtype=np.float32)
        box = self.box_around(np.array([centre]), max(radii_mm) + _ELLIPSOID_REACH_MM)
        x, y, z = (
            axis[box] - origin
            for axis, origin in zip((self.x, self.y, self.z), centre, strict=True)
        )
        sine, cosine = math.sin(math.radians(turn_deg)), math.cos(math.radians(turn_deg))
        u, v = x * cosine + y * sine, y * cosine - x * sine
        relative = np.sqrt((u / radii_mm[0]) ** 2 + (v / radii_mm[1]) ** 2 + (z / radii_mm[2]) ** 2)
        away = np.sqrt(x * x + y * y + z * z)
        distance[box] = radial_distance(relative, away, min(radii_mm))
        return distance


def radial_distance(relative: Field, radius_mm: Field, core_mm: float) -> Field:
    """Return the distance, along the ray from the centre, to where `relative` is 1.

    Args:
        relative: Grows linearly along each ray from 0 at the centre.
        radius_mm: Distance from the centre, in mm.
        core_mm: Depth of the centre itself, where the ray has no direction.
    """
    tiny = relative < 1e-3
    safe = np.where(tiny, np.float32(1.0), relative)
    distance: Field = np.where(tiny, -core_mm, radius_mm * (1.0 - 1.0 / safe)).astype(np.float32)
    return distance


def superellipse(
    u: Field, v: Field, radius_u: Field | float, radius_v: Field | float, power: float
) -> Field:
    """Return the distance in a plane to ``|u / radius_u|^power + |v / radius_v|^power = 1``."""
    relative = (np.abs(u / radius_u) ** power + np.abs(v / radius_v) ** power) ** (1.0 / power)
    return radial_distance(relative, np.hypot(u, v), 30.0)


def union(*distances: Field) -> Field:
    """Return the distance to what any of the shapes holds."""
    return reduce(np.minimum, distances)


def intersection(*distances: Field) -> Field:
    """Return the distance to what all of the shapes hold."""
    return reduce(np.maximum, distances)


def smooth_union(distances: Sequence[Field], blend_mm: float) -> Field:
    """Return the union of shapes whose inner corners are rounded over `blend_mm`."""
    joined = distances[0]
    for distance in distances[1:]:
        overlap = np.clip(blend_mm - np.abs(joined - distance), 0.0, None) / blend_mm
        joined = np.minimum(joined, distance) - overlap * overlap * (blend_mm / 4.0)
    return joined


def ramp(value: Field, low: float, high: float) -> Field:
    """Return a smooth step that rises from 0 at `low` to 1 at `high`."""
    t = np.clip((value - low) / (high - low), 0.0, 1.0)
    step: Field = t * t * (3.0 - 2.0 * t)
    return step
