"""Crops of nodules for tests: balls of soft tissue in a lung."""

from pathlib import Path

import numpy as np


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
