"""Layouts as NIfTI files that a radiologist opens, edits and gives back.

layout --write_labels--> ID.nii.gz --3D Slicer--> ID.nii.gz --read_layout--> layout, or why not
"""

import os
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray
from scipy import ndimage

from factory.axes import ijk_from_zyx, spacing_zyx
from factory.counted import counted
from factory.errors import CaseError
from factory.geometry import describe_spacing
from factory.ingest.nifti import read_labels
from factory.layouts import BACKGROUND, LUNG, NODULE, compose_layout

REACH_MM = 30.0
"""Furthest that a nodule may reach out of the lungs: the largest that is still a nodule."""

_SAME_MM = 1e-2
"""Headers store float32, and converters round."""


def write_nifti(path: Path, volume: NDArray[Any], affine: NDArray[np.float64]) -> None:
    """Write a (z, y, x) volume as NIfTI, whole or not at all.

    Args:
        path: `.nii.gz` to write or replace; its folder is made when missing.
        volume: int16 HU or uint8 labels.
        affine: 4x4, voxel (i, j, k) to RAS mm.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nib.Nifti1Image(ijk_from_zyx(volume), affine)  # type: ignore[no-untyped-call]
    image.header.set_xyzt_units("mm")  # type: ignore[no-untyped-call]
    # Of the scanner: viewers then take the affine for the patient's own space.
    image.set_sform(affine, code=1)  # type: ignore[no-untyped-call]
    # A sheared grid has no quaternion; it is left out, for some viewers prefer it to the affine.
    try:
        image.set_qform(affine, code=1, strip_shears=False)  # type: ignore[no-untyped-call]
    except HeaderDataError:
        image.header["qform_code"] = 0
    aside = path.with_name(f".{uuid.uuid4().hex}.nii.gz")
    try:
        nib.save(image, aside)
        with aside.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(aside, path)
    finally:
        with suppress(FileNotFoundError):
            aside.unlink()


def read_layout(
    case_id: str, path: Path, own: NDArray[np.uint8], affine: NDArray[np.float64]
) -> NDArray[np.uint8]:
    """Read a layout that may have been edited, onto the lungs of its case.

    The nodules are the file's, the lungs are the case's: where an editor has erased a nodule, there
    is lung again. A nodule may reach out of the lungs, as one that grows into the wall does.

    Args:
        case_id: The case.
        path: NIfTI file of labels 0, 1 and 2.
        own: (z, y, x) layout of the case itself.
        affine: 4x4 of the case, voxel (i, j, k) to RAS mm.

    Returns:
        (z, y, x) uint8 labels.

    Raises:
        CaseError: Unreadable, on another grid, with other labels, with lung where the case has
            none, without a nodule, or with one further than 30 mm out of the lungs.
    """
    labels, found_affine = read_labels(case_id, str(path), frozenset({BACKGROUND, LUNG, NODULE}))
    _check_grid(case_id, path, labels, found_affine, own, affine)
    nodule, lungs = labels == NODULE, own != BACKGROUND
    _check_lungs(case_id, path, labels, lungs)
    _check_nodules(case_id, path, nodule, lungs, affine)
    return compose_layout(lungs, nodule)


def _check_grid(
    case_id: str,
    path: Path,
    labels: NDArray[np.uint8],
    found: NDArray[np.float64],
    own: NDArray[np.uint8],
    affine: NDArray[np.float64],
) -> None:
    if labels.shape != own.shape or not np.allclose(found, affine, atol=_SAME_MM):
        raise CaseError(
            case_id,
            f"{path} has shape (z, y, x) {labels.shape} at {describe_spacing(found)}; expected the "
            f"case's grid, {own.shape} at {describe_spacing(affine)}, in the same place. Export it with "
            "ct.nii.gz as the reference volume.",
        )


def _check_lungs(
    case_id: str, path: Path, labels: NDArray[np.uint8], lungs: NDArray[np.bool_]
) -> None:
    added = int(np.count_nonzero((labels == LUNG) & ~lungs))
    if added:
        raise CaseError(
            case_id,
            f"{path} has {counted(added, 'voxel')} of lung (label {LUNG}) where the case has none; expected the "
            "case's lungs, for only nodules are edited here. Remove them, or correct the lung mask of "
            "the scan and ingest it again.",
        )


def _check_nodules(
    case_id: str,
    path: Path,
    nodule: NDArray[np.bool_],
    lungs: NDArray[np.bool_],
    affine: NDArray[np.float64],
) -> None:
    if not nodule.any():
        raise CaseError(
            case_id,
            f"{path} has no nodule (label {NODULE}); expected at least one. Draw one, or delete the "
            "file: `factory layouts` makes it again.",
        )
    outside_mm = ndimage.distance_transform_edt(~lungs, sampling=spacing_zyx(affine))
    furthest_mm = float(outside_mm[nodule].max())
    if furthest_mm > REACH_MM:
        raise CaseError(
            case_id,
            f"{path} has a nodule {furthest_mm:.0f} mm outside the lungs; expected at most "
            f"{REACH_MM:g} mm. Remove what lies there.",
        )
