"""Solid and part-solid nodules."""

import numpy as np
from numpy.typing import NDArray

from factory.phantom.canvas import Canvas, Field
from factory.phantom.vessels import points_inside

DIAMETER_MM = (6.0, 25.0)
"""Range of a nodule's diameter: from the follow-up threshold to just under a mass."""

_GAP_MM = 4.0
_LOBULATION = 0.12


def paint_nodules(canvas: Canvas, lungs: Field, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Paint one to four nodules into the lungs.

    Args:
        canvas: Painted with lungs and vessels already.
        lungs: Distance to the lungs, negative inside, in mm; some voxel must be inside.
        rng: Source of number, size, place, shape and density.

    Returns:
        (z, y, x) uint8, 0 outside and the nodule's number from 1 inside.
    """
    labels = np.zeros(canvas.hu.shape, dtype=np.uint8)
    placed: list[tuple[NDArray[np.float64], float]] = []
    for nodule_rng in rng.spawn(int(rng.integers(1, 5))):
        radius_mm = float(np.exp(nodule_rng.uniform(*np.log(DIAMETER_MM)))) / 2.0
        centre = _place(canvas, lungs, radius_mm, placed, nodule_rng)
        if centre is None:
            continue
        placed.append((centre, radius_mm))
        shape = np.maximum(_shape(canvas, centre, radius_mm, nodule_rng), lungs)
        _paint_nodule(canvas, shape, nodule_rng)
        labels[shape < 0.0] = len(placed)
        # On a coarse grid a small nodule can slip between the voxels' centres.
        labels[_nearest_voxel(canvas, centre)] = len(placed)
    return labels


def _place(
    canvas: Canvas,
    lungs: Field,
    radius_mm: float,
    placed: list[tuple[NDArray[np.float64], float]],
    rng: np.random.Generator,
) -> NDArray[np.float64] | None:
    """Return a centre deep enough in the lungs and clear of the other nodules, or None."""
    for depth_mm in (radius_mm + 1.0, 0.5 * radius_mm, 0.0):
        for centre in points_inside(canvas, lungs + np.float32(depth_mm), 60, rng):
            gaps = [float(np.linalg.norm(centre - other)) - mm for other, mm in placed]
            if min(gaps, default=np.inf) > radius_mm + _GAP_MM + canvas.voxel_mm:
                return np.asarray(centre)
    if placed:
        return None
    deepest = np.unravel_index(int(lungs.argmin()), lungs.shape)
    return np.array([axis[deepest] for axis in (canvas.x, canvas.y, canvas.z)], dtype=np.float64)


def _nearest_voxel(canvas: Canvas, point: NDArray[np.float64]) -> tuple[int, ...]:
    index = np.rint(canvas.voxel_of(point)).astype(int)
    return tuple(int(axis) for axis in index)


def _shape(
    canvas: Canvas, centre: NDArray[np.float64], radius_mm: float, rng: np.random.Generator
) -> Field:
    """Return the distance to a ball with gentle lobules; far away it is only a bound."""
    distance = np.full(canvas.hu.shape, 50.0, dtype=np.float32)
    box = canvas.box_around(centre[np.newaxis], 1.5 * radius_mm + 2.0 * canvas.voxel_mm)
    x, y, z = (
        axis[box] - np.float32(origin)
        for axis, origin in zip((canvas.x, canvas.y, canvas.z), centre.tolist(), strict=True)
    )
    away = np.sqrt(x * x + y * y + z * z)
    safe = np.maximum(away, 1e-3)
    lobules = np.zeros_like(away)
    for waves in rng.normal(0.0, 2.6, (5, 3)).tolist():
        phase = rng.uniform(0.0, 2.0 * np.pi)
        lobules += np.sin((waves[0] * x + waves[1] * y + waves[2] * z) / safe + phase) / 2.2
    distance[box] = away - radius_mm * (1.0 + _LOBULATION * np.clip(lobules, -1.5, 1.5))
    return distance


def _paint_nodule(canvas: Canvas, shape: Field, rng: np.random.Generator) -> None:
    is_part_solid = rng.random() < 0.35
    solid_hu = rng.uniform(10.0, 60.0)
    if not is_part_solid:
        canvas.paint(shape, solid_hu)
        return
    ground_glass_hu = rng.uniform(-620.0, -480.0)
    radius_mm = -float(shape.min())
    # Vessels stay visible through ground glass, so it only ever raises the HU.
    canvas.paint(shape, np.maximum(canvas.hu, ground_glass_hu))
    canvas.paint(shape + rng.uniform(0.4, 0.6) * radius_mm, solid_hu)
