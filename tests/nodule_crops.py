"""Crops of nodules for tests: balls of soft tissue in a lung, and a lung to graft them into."""

from functools import cache
from pathlib import Path

import numpy as np

from factory.nodules.crops import NoduleCrops

LUNG_HU, TISSUE_HU = -850, 40


def write_crops(path: Path, *, tissue: int = 40, num_crops: int = 4) -> Path:
    """Write balls of 8 to 20 mm as crops of 16^3 at 2 mm."""
    edge = (np.arange(16) - 7.5) * 2.0
    grid = np.meshgrid(edge, edge, edge, indexing="ij", sparse=True)
    radius = np.sqrt(sum(axis**2 for axis in grid))
    covered = [
        np.clip((r - radius) / 2.0 + 0.5, 0.0, 1.0) for r in np.linspace(4.0, 10.0, num_crops)
    ]
    np.savez(
        path,
        ct_hu=np.stack([np.rint(-850 + c * (tissue + 850)) for c in covered]).astype(np.int16),
        mask_percent=np.stack([np.rint(100 * c) for c in covered]).astype(np.uint8),
        names=np.array([f"ball-{index}" for index in range(num_crops)]),
        spacing_mm=np.array(2.0),
    )
    return path


@cache
def crop(
    diameter_mm: float,
    *,
    hu: int = TISSUE_HU,
    lung_hu: int = LUNG_HU,
    half_hu: int | None = None,
    cavity_mm: float = 0.0,
    wall_at_mm: float | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return a ball in a lung, averaged as a scanner does; one half of its own HU, a cavity or a wall."""
    edge = (np.arange(75) + 0.5) * 2 / 3 - 25.0
    z, y, x = np.meshgrid(edge, edge, edge, indexing="ij", sparse=True)
    radius = np.sqrt(z**2 + y**2 + x**2)
    ball = radius < diameter_mm / 2
    ct = np.where(ball, float(hu), float(lung_hu))
    if half_hu is not None:
        ct = np.where(ball & (z < 0), half_hu, ct)
    ct[radius < cavity_mm / 2] = -1000.0
    if wall_at_mm is not None:
        ct = np.where((x > wall_at_mm) & ~ball, 50.0, ct)
    return np.rint(_averaged(ct)).astype(np.int16), np.rint(100 * _averaged(ball)).astype(np.uint8)


def crops_of(*pairs: tuple[np.ndarray, np.ndarray]) -> NoduleCrops:
    """Return crops named crop-0, crop-1, ... of 2 mm voxels."""
    cts, masks = zip(*pairs, strict=True)
    names = tuple(f"crop-{index}" for index in range(len(pairs)))
    return NoduleCrops(np.stack(cts), np.stack(masks), names, 2.0)


def host(size: int = 24, *, lung_hu: int = LUNG_HU) -> tuple[np.ndarray, np.ndarray]:
    """Return a block of lung in a wall of 30 HU, three voxels thick."""
    ct, layout = np.full((size,) * 3, 30, np.int16), np.zeros((size,) * 3, np.uint8)
    ct[3:-3, 3:-3, 3:-3] = lung_hu
    layout[3:-3, 3:-3, 3:-3] = 1
    return ct, layout


def rng_of(seed: int) -> np.random.Generator:
    """Return a generator of its own for each seed."""
    return np.random.default_rng(seed)


def _averaged(fine: np.ndarray) -> np.ndarray:
    return fine.reshape(25, 3, 25, 3, 25, 3).mean(axis=(1, 3, 5))
