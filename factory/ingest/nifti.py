"""Read one NIfTI file as a (z, y, x) array in closest-canonical RAS, or say what is wrong."""

import gzip
import zlib
from pathlib import Path
from typing import Any, cast

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError, SpatialImage
from numpy.typing import NDArray

from factory.axes import zyx_from_ijk
from factory.errors import CaseError
from factory.intensity import HU_MAX, HU_MIN

_AIR_AT_MOST_HU = -500
"""Every thorax has air; a CT whose darkest voxel is brighter is not in HU."""

_METAL_AT_LEAST_HU = 70_000
"""Sixteen bits; whatever lies above is no HU."""

_VOXEL_MM = (0.05, 50.0)
"""A voxel of a chest CT is no smaller and no larger; metres or microns are another unit."""

_UNREADABLE = (ImageFileError, HeaderDataError, OSError, EOFError, zlib.error, ValueError)


def read_ct(case_id: str, path: str) -> tuple[NDArray[np.int16], NDArray[np.float64]]:
    """Read a CT.

    Returns:
        (z, y, x) int16 HU clipped to [-1024, 3071], and the 4x4 affine, voxel
        (i, j, k) to RAS mm.

    Raises:
        CaseError: Unreadable, not 3D, not finite, or not in HU.
    """
    values, affine = _read(case_id, path)
    missing = int(np.count_nonzero(~np.isfinite(values))) if values.dtype.kind == "f" else 0
    if missing:
        raise CaseError(
            case_id,
            f"{path} has {missing} voxels that are NaN or infinite; expected HU in every voxel. "
            "Fill them (air is -1000 HU), or leave the case out.",
        )
    low, high = float(values.min()), float(values.max())
    if low > _AIR_AT_MOST_HU or high > _METAL_AT_LEAST_HU:
        raise CaseError(
            case_id,
            f"{path} has values from {low:g} to {high:g}; expected HU, with air near -1000. "
            "Apply the rescale slope and intercept, or convert from DICOM again.",
        )
    return np.rint(np.clip(values, HU_MIN, HU_MAX)).astype(np.int16), affine


def read_labels(
    case_id: str, path: str, allowed: frozenset[int] | None
) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """Read a mask or segmentation.

    Args:
        case_id: For messages.
        path: NIfTI file.
        allowed: Labels that may occur; None allows any label from 0 to 255.

    Raises:
        CaseError: Unreadable, not 3D, not whole numbers, or with another label.
    """
    values, affine = _read(case_id, path)
    found = np.unique(values)
    bad = [v for v in found.tolist() if v != v or v % 1 or not 0 <= v <= 255]
    if not bad and allowed is not None:
        bad = [v for v in found.tolist() if v not in allowed]
    if bad:
        expected = "whole numbers from 0 to 255" if allowed is None else _listed(sorted(allowed))
        raise CaseError(
            case_id,
            f"{path} has label {_listed(bad[:5])}; expected {expected}. "
            "Relabel the mask, or leave the case out.",
        )
    return values.astype(np.uint8), affine


def _read(case_id: str, path: str) -> tuple[NDArray[Any], NDArray[np.float64]]:
    try:
        image = cast(SpatialImage, nib.load(path))
        shape, affine = image.shape, image.affine
        if len(shape) == 4 and shape[3] == 1:
            image = image.slicer[..., 0]
        elif len(shape) != 3:
            raise CaseError(
                case_id,
                f"{path} has {len(shape)} dimensions {tuple(shape)}; expected 3. "
                "Split a series into volumes, or stack slices into one.",
            )
        if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-6:
            raise CaseError(
                case_id,
                f"{path} has an affine that cannot be inverted; expected voxel to mm. "
                "Convert from DICOM again.",
            )
        edges = np.sqrt((affine[:3, :3] ** 2).sum(axis=0))
        if edges.min() < _VOXEL_MM[0] or edges.max() > _VOXEL_MM[1]:
            raise CaseError(
                case_id,
                f"{path} has voxels of {' x '.join(f'{edge:g}' for edge in edges)} mm; expected "
                f"{_VOXEL_MM[0]:g} to {_VOXEL_MM[1]:g} mm. Convert from DICOM again, in millimetres.",
            )
        if min(image.shape) < 2:
            raise CaseError(
                case_id,
                f"{path} has shape {tuple(image.shape)}; expected at least 2 voxels along each axis. "
                "Stack the slices into one volume.",
            )
        canonical: SpatialImage = nib.as_closest_canonical(image)  # type: ignore[no-untyped-call]
        values = np.asanyarray(canonical.dataobj)
        if path.endswith(".gz"):
            _check_gzip(path)
    except _UNREADABLE as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CaseError(
            case_id,
            f"{path} cannot be read ({type(error).__name__}: {reason}); expected a whole NIfTI "
            "file. Copy or convert it again.",
        ) from error
    if values.dtype.kind not in "iuf":
        raise CaseError(
            case_id,
            f"{path} holds {values.dtype} voxels; expected numbers. Convert from DICOM again.",
        )
    return zyx_from_ijk(values), np.asarray(canonical.affine, np.float64)


def _check_gzip(path: str) -> None:
    # nibabel stops at the last voxel, before the checksum: a flipped bit would go unnoticed.
    with gzip.open(path) as file:
        while file.read(1 << 20):
            pass


def has_orientation(path: str | Path) -> bool:
    """Tell whether a NIfTI header says how the scan lies in the patient."""
    header = cast(Any, nib.load(path)).header
    return bool(header["qform_code"] > 0 or header["sform_code"] > 0)


def _listed(values: list[Any]) -> str:
    texts = [f"{value:g}" for value in values]
    return texts[0] if len(texts) == 1 else f"{', '.join(texts[:-1])} or {texts[-1]}"
