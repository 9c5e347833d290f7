"""True lobes, where somebody has drawn them: TotalSegmentator's five masks a case.

LOBES/CASE_ID/lung_upper_lobe_left.nii.gz and four more --nearest voxel--> zones on the case's grid
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from factory.axes import ijk_from_zyx, zyx_from_ijk
from factory.errors import CaseError
from factory.ingest.nifti import read_labels
from factory.nodules.zones import ZONES

LOBES = {
    "lung_upper_lobe_right": "right-upper",
    "lung_middle_lobe_right": "right-middle",
    "lung_lower_lobe_right": "right-lower",
    "lung_upper_lobe_left": "left-upper",
    "lung_lower_lobe_left": "left-lower",
}
"""Zone of each file of TotalSegmentator."""


def read_lobes(
    folder: Path, case_id: str, shape: tuple[int, ...], affine: NDArray[np.float64]
) -> NDArray[np.uint8]:
    """Read a case's lobes onto its grid.

    The masks may be on the scan's own grid: each voxel of the case takes the label of the nearest
    one of theirs, by both affines.

    Args:
        folder: Has a folder named like the case, with the five files.
        case_id: The case.
        shape: (z, y, x) of the case's grid.
        affine: 4x4 of the case's grid, voxel (i, j, k) to RAS mm.

    Returns:
        (z, y, x) uint8 map of `ZONES`.

    Raises:
        CaseError: A file is missing or no mask, or no lobe lies on the grid.
    """
    zones = np.zeros(shape, dtype=np.uint8)
    for name, zone in LOBES.items():
        path = folder / case_id / f"{name}.nii.gz"
        if not path.exists():
            raise CaseError(
                case_id,
                f"found no {path}; expected the five lung_*_lobe_*.nii.gz of TotalSegmentator for each "
                "case. Segment the case, or leave --lobes away.",
            )
        mask, mask_affine = read_labels(case_id, str(path), None)
        zones[_on_grid(mask, mask_affine, shape, affine) > 0] = ZONES.index(zone) + 1
    if not zones.any():
        raise CaseError(
            case_id,
            f"found no voxel of the lobes in {folder / case_id} on its grid; expected masks of the same "
            "scan. Correct the folder's name, or segment the case again.",
        )
    return zones


def _on_grid(
    mask: NDArray[np.uint8],
    mask_affine: NDArray[np.float64],
    shape: tuple[int, ...],
    affine: NDArray[np.float64],
) -> NDArray[np.uint8]:
    to_mask = np.linalg.inv(mask_affine) @ affine
    taken = ndimage.affine_transform(
        ijk_from_zyx(mask),
        to_mask[:3, :3],
        offset=to_mask[:3, 3],
        output_shape=shape[::-1],
        order=0,
        mode="grid-constant",
    )
    return zyx_from_ijk(taken)
