"""How many nodules a layout has, where they lie and how large they are."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from factory.axes import Triple, ras_from_zyx
from factory.layouts import NODULE

TOUCHING = np.ones((3, 3, 3), dtype=bool)
"""Voxels that share a face, an edge or a corner belong to one nodule."""


@dataclass(frozen=True, slots=True)
class Nodule:
    """One connected nodule of a layout."""

    label: int
    """Rank by volume within its layout; 1 is the largest."""

    center_ras_mm: Triple
    """Centre of mass (right, anterior, superior) in mm."""

    diameter_mm: float
    """Diameter of the sphere of the same volume."""

    volume_mm3: float
    """Number of voxels times the volume of one."""

    num_voxels: int
    """Voxels on the layout's grid."""

    def as_row(self) -> dict[str, Any]:
        """Return the nodule as plain numbers and lists, as the manifest's table stores it."""
        return {**asdict(self), "center_ras_mm": list(self.center_ras_mm)}


def sphere_diameter_mm(volume_mm3: float) -> float:
    """Return the diameter in mm of the sphere of a volume in mm3."""
    return math.cbrt(6.0 * volume_mm3 / math.pi)


def measure_nodules(layout: NDArray[np.uint8], affine: NDArray[np.float64]) -> list[Nodule]:
    """Measure every connected nodule of a layout.

    Args:
        layout: (z, y, x) uint8 labels; only `NODULE` counts.
        affine: 4x4, voxel (i, j, k) = (x, y, z) to RAS mm.

    Returns:
        Nodules by volume, largest first; equal ones in the order of their first voxel.

    Raises:
        ValueError: The affine is not 4x4, or gives a voxel no volume.
    """
    voxel_mm3 = _voxel_mm3(affine)
    # Nodules fill little of a scan, and pieces are looked for in their box alone.
    (box,) = ndimage.find_objects((layout == NODULE).view(np.uint8), max_label=1)
    if box is None:
        return []
    pieces, num_pieces = ndimage.label(layout[box] == NODULE, structure=TOUCHING)
    num_voxels = np.bincount(pieces.ravel(), minlength=num_pieces + 1)[1:]
    centres = _centres_zyx(pieces, corner=[along.start for along in box])
    return [
        Nodule(
            label=rank,
            center_ras_mm=ras_from_zyx(affine, centres[piece]),
            diameter_mm=sphere_diameter_mm(float(num_voxels[piece] * voxel_mm3)),
            volume_mm3=float(num_voxels[piece] * voxel_mm3),
            num_voxels=int(num_voxels[piece]),
        )
        for rank, piece in enumerate(np.argsort(-num_voxels, kind="stable"), start=1)
    ]


def _voxel_mm3(affine: NDArray[np.float64]) -> float:
    if np.shape(affine) != (4, 4):
        raise ValueError(
            f"the affine has shape {np.shape(affine)}, expected (4, 4): voxel (i, j, k) to RAS mm"
        )
    voxel_mm3 = abs(float(np.linalg.det(np.asarray(affine, dtype=np.float64)[:3, :3])))
    if not 0.0 < voxel_mm3 < math.inf:
        raise ValueError(
            f"the affine gives a voxel a volume of {voxel_mm3} mm3, expected more than 0; "
            "take the affine from the scan that the layout was drawn on"
        )
    return voxel_mm3


def _centres_zyx(pieces: NDArray[np.integer[Any]], corner: Sequence[int]) -> list[Triple]:
    centres: list[Triple] = []
    for piece, window in enumerate(ndimage.find_objects(pieces), start=1):
        z, y, x = np.nonzero(pieces[window] == piece)
        corner_z, corner_y, corner_x = (
            start + along.start for start, along in zip(corner, window, strict=True)
        )
        centres.append(
            (
                float(corner_z + z.mean()),
                float(corner_y + y.mean()),
                float(corner_x + x.mean()),
            )
        )
    return centres
