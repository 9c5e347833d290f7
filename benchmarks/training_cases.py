"""What the training benchmark trains on: phantoms as stored cases, balls as nodules."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from factory.layouts import compose_layout
from factory.phantom import draw_phantom
from factory.storage import Storage
from factory.volumes import Volume, write_volume
from jobs.train.settings import StoredCase

_BALLS_MM = (8.0, 12.0, 16.0, 20.0, 24.0)


def phantoms(folder: Path, num_cases: int, grid: int) -> Iterator[StoredCase]:
    """Write phantoms of `grid`^3 voxels into a store, and yield where each lies."""
    storage = Storage(folder)
    for seed in range(num_cases):
        drawn = draw_phantom(seed, size=(grid, grid, grid))
        layout = compose_layout(drawn.lung, drawn.nodule > 0)
        case = StoredCase(case_id=f"phantom-{seed}", image_path=f"phantom-{seed}.ome.zarr")
        volume = Volume(ct=drawn.ct, layout=layout, affine=drawn.affine)
        write_volume(storage, case.image_path, volume)
        yield case


def balls(path: Path) -> Path:
    """Write balls of soft tissue, 8 to 24 mm, as crops to graft; return the path."""
    squares = (np.arange(25) - 12.0) ** 2
    radius_mm = 2.0 * np.sqrt(squares[:, None, None] + squares[:, None] + squares)
    inside = np.stack([radius_mm <= diameter / 2 for diameter in _BALLS_MM])
    np.savez(
        path,
        ct_hu=np.where(inside, 40, -850).astype(np.int16),
        mask_percent=(100 * inside).astype(np.uint8),
        names=np.array([f"ball-{diameter:g}" for diameter in _BALLS_MM]),
        spacing_mm=np.full(3, 2.0),
    )
    return path
