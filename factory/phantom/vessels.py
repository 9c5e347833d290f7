"""Branching vessels and bronchi of the lungs."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from factory.phantom.anatomy import Anatomy
from factory.phantom.canvas import Canvas, Field
from factory.phantom.chest import GAS_HU

_MURRAY = 2.7
"""Exponent of Murray's law, which ties a branch's radius to those of its daughters."""

_TIP_MM = 0.75
_BRONCHUS_MM = 2.3
"""Arteries thinner than this run without a bronchus that a CT could show."""

_HILUM_MM = 5.0
"""How far into the mediastinum a tree begins."""


@dataclass(frozen=True, slots=True)
class Branch:
    """One piece of a tree."""

    ends: NDArray[np.float64]
    """(2, 3) from and to, (x, y, z) in mm."""

    radii_mm: NDArray[np.float64]
    """(2,) radius at both ends."""


def paint_vessels(canvas: Canvas, anatomy: Anatomy, lungs: Field, rng: np.random.Generator) -> None:
    """Paint arteries with their bronchi, and veins, from the hila out to the pleura.

    Args:
        canvas: Painted with aerated lungs already.
        anatomy: The patient.
        lungs: Distance to the lungs, negative inside, in mm.
        rng: Source of every twig.
    """
    near = lungs < _HILUM_MM
    y = anatomy.chest_centre_y
    for side, artery, vein in (
        (1.0, (36.0, y - 8.0, 6.0), (26.0, y - 12.0, -12.0)),
        (-1.0, (-42.0, y - 18.0, 14.0), (-28.0, y - 14.0, -8.0)),
    ):
        arteries = list(_grow(np.array(artery), _twigs(canvas, lungs, side, 230, rng), rng))
        veins = list(_grow(np.array(vein), _twigs(canvas, lungs, side, 150, rng), rng))
        _paint_branches(canvas, [*arteries, *veins], near, anatomy.blood_hu)
        bronchi = [_beside(branch) for branch in arteries if branch.radii_mm[0] > _BRONCHUS_MM]
        _paint_branches(canvas, _thickened(bronchi, 0.8), near, -150.0)
        _paint_branches(canvas, bronchi, near, GAS_HU)


def points_inside(
    canvas: Canvas, distance: Field, num: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Return up to `num` (x, y, z) points in mm, uniform where `distance` is negative.

    They are drawn in millimetres, so a patient keeps the same points on another grid.
    """
    points = rng.uniform((-140.0, -100.0, -140.0), (140.0, 100.0, 140.0), (12 * num, 3))
    index = np.rint(canvas.voxel_of(points)).astype(int)
    on_grid = ((index >= 0) & (index < canvas.hu.shape)).all(axis=1)
    points, index = points[on_grid], index[on_grid]
    inside: NDArray[np.float64] = points[distance[tuple(index.T)] < 0.0]
    return inside[:num]


def _twigs(
    canvas: Canvas, lungs: Field, side: float, num: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    return points_inside(canvas, np.maximum(lungs, -side * canvas.x), num, rng)


def _grow(
    root: NDArray[np.float64], twigs: NDArray[np.float64], rng: np.random.Generator
) -> Iterator[Branch]:
    """Yield a tree from `root` that reaches every twig and halves its twigs at each fork."""
    waiting = [(root, _murray_mm(len(twigs)), twigs)] if len(twigs) else []
    while waiting:
        start, start_mm, points = waiting.pop()
        if len(points) == 1:
            yield Branch(np.stack([start, points[0]]), np.array([start_mm, 0.8 * _TIP_MM]))
            continue
        centroid = points.mean(axis=0)
        # Large branches fork close to the hilum, so that the next ones run straight outwards.
        reach = rng.uniform(0.16, 0.28) if len(points) > 30 else rng.uniform(0.40, 0.55)
        fork = start + reach * (centroid - start)
        fork += rng.normal(0.0, 0.05, 3) * np.linalg.norm(centroid - start)
        fork_mm = _murray_mm(len(points))
        yield Branch(np.stack([start, fork]), np.array([start_mm, fork_mm]))
        _, _, axes = np.linalg.svd(points - centroid, full_matrices=False)
        along = (points - centroid) @ axes[0]
        order = np.argsort(along, kind="stable")
        cut = int(np.clip(rng.uniform(0.3, 0.7) * len(points), 1, len(points) - 1))
        waiting += [(fork, fork_mm, points[half]) for half in (order[:cut], order[cut:])]


def _murray_mm(num_twigs: int) -> float:
    radius_mm: float = _TIP_MM * num_twigs ** (1.0 / _MURRAY)
    return radius_mm


def _beside(artery: Branch) -> Branch:
    """Return the lumen of the bronchus that runs along an artery."""
    offset = np.array([0.0, -0.55, 0.8]) * 1.9
    ends = artery.ends + offset * artery.radii_mm[:, np.newaxis]
    return Branch(ends, 0.8 * artery.radii_mm)


def _thickened(branches: Iterable[Branch], wall_mm: float) -> list[Branch]:
    return [Branch(branch.ends, branch.radii_mm + wall_mm) for branch in branches]


def _paint_branches(
    canvas: Canvas, branches: Iterable[Branch], near: NDArray[np.bool_], hu: float
) -> None:
    """Paint round cones where `near`; one thinner than a voxel fills only its share of it."""
    reach_mm = canvas.voxel_mm / 2.0
    share = np.zeros(canvas.hu.shape, dtype=np.float32)
    for branch in branches:
        box = canvas.box_around(branch.ends, float(branch.radii_mm.max()) + reach_mm)
        covered = canvas.coverage(canvas.segment(box, branch.ends, branch.radii_mm))
        thin = min(1.0, 2.0 * float(branch.radii_mm.mean()) / canvas.voxel_mm)
        np.maximum(share[box], covered * thin, out=share[box])
    canvas.hu += share * near * (hu - canvas.hu)
