"""Read one NIfTI or MetaImage file as a (z, y, x) array in closest-canonical RAS, or refuse it."""

import gzip
import warnings
from pathlib import Path
from typing import Any, cast

import nibabel as nib
import numpy as np
from nibabel.spatialimages import SpatialImage
from numpy.typing import NDArray

from factory.axes import zyx_from_ijk
from factory.counted import counted
from factory.errors import CaseError
from factory.geometry import VOXEL_MM
from factory.ingest.declared import MAX_OFFSET, check_offset, check_regular, check_size
from factory.ingest.meta_image import names_orientation, read_meta_image
from factory.intensity import AIR_AT_MOST_HU, HU_MAX, HU_MIN, METAL_AT_LEAST_HU

_META_IMAGE = (".mhd", ".mha")
_AFTER_VOXELS = 2**20


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
            f"{path} has {counted(missing, 'voxel')} with NaN or infinity; expected HU in every voxel. "
            "Fill them (air is -1000 HU), or leave the case out.",
        )
    low, high = float(values.min()), float(values.max())
    if low > AIR_AT_MOST_HU or high > METAL_AT_LEAST_HU:
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
        path: NIfTI or MetaImage file.
        allowed: Labels that may occur; None allows any label from 0 to 255.

    Raises:
        CaseError: Unreadable, not 3D, not whole numbers, or with another label.
    """
    values, affine = _read(case_id, path)
    wrong = (values < 0) | (values > 255)
    if values.dtype.kind == "f":
        wrong |= values != np.rint(values)
    if wrong.any():
        bad = np.unique(values[wrong])[:5].tolist()
    else:
        values = values.astype(np.uint8)
        bad = [label for label in np.unique(values).tolist() if allowed and label not in allowed]
    if bad:
        expected = "whole numbers from 0 to 255" if allowed is None else _listed(sorted(allowed))
        raise CaseError(
            case_id,
            f"{path} has label {_listed(bad[:5])}; expected {expected}. "
            "Relabel the mask, or leave the case out.",
        )
    return values, affine


def _read(case_id: str, path: str) -> tuple[NDArray[Any], NDArray[np.float64]]:
    try:
        # Headers of doubtful scans make numpy and nibabel warn; what matters of it is refused.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _read_canonical(case_id, path)
    except CaseError:
        raise
    except Exception as error:
        reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        kind = "MetaImage" if path.endswith(_META_IMAGE) else "NIfTI"
        raise CaseError(
            case_id,
            f"{path} cannot be read ({type(error).__name__}: {reason}); expected a whole {kind} "
            "file. Copy or convert it again.",
        ) from error


def _read_canonical(case_id: str, path: str) -> tuple[NDArray[Any], NDArray[np.float64]]:
    image = _opened(case_id, path)
    _check_geometry(case_id, path, image)
    if len(image.shape) == 4:
        image = image.slicer[..., 0]
    canonical: SpatialImage = nib.as_closest_canonical(image)  # type: ignore[no-untyped-call]
    values = np.asanyarray(canonical.dataobj)
    if path.endswith(".gz"):
        _check_gzip(case_id, path, values.size * image.get_data_dtype().itemsize)
    if values.dtype.kind not in "iuf":
        raise CaseError(
            case_id,
            f"{path} holds {values.dtype} voxels; expected numbers. Convert from DICOM again.",
        )
    return zyx_from_ijk(values), np.asarray(canonical.affine, np.float64)


def _opened(case_id: str, path: str) -> SpatialImage:
    """Return an image whose voxels are not in memory yet, or are known to be there."""
    check_regular(case_id, path)
    if path.endswith(_META_IMAGE):
        return read_meta_image(case_id, path)
    check_offset(case_id, path)
    image = cast(SpatialImage, nib.load(path))
    num_bytes = image.get_data_dtype().itemsize
    for num in image.shape:
        num_bytes *= num
    stored = Path(path).stat().st_size if path.endswith(".gz") else None
    check_size(case_id, path, image.shape, num_bytes, stored)
    return image


def _check_geometry(case_id: str, path: str, image: SpatialImage) -> None:
    shape, affine = image.shape, image.affine
    if len(shape) != 3 and not (len(shape) == 4 and shape[3] == 1):
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
    if edges.min() < VOXEL_MM[0] or edges.max() > VOXEL_MM[1]:
        raise CaseError(
            case_id,
            f"{path} has voxels of {' x '.join(f'{edge:g}' for edge in edges)} mm; expected "
            f"{VOXEL_MM[0]:g} to {VOXEL_MM[1]:g} mm. Convert from DICOM again, in millimetres.",
        )
    if min(shape[:3]) < 2:
        raise CaseError(
            case_id,
            f"{path} has shape {tuple(shape)}; expected at least 2 voxels along each axis. "
            "Stack the slices into one volume.",
        )


def _check_gzip(case_id: str, path: str, num_bytes: int) -> None:
    # nibabel stops at the last voxel, before the checksum: a flipped bit would go unnoticed.
    left = MAX_OFFSET + num_bytes + _AFTER_VOXELS
    with gzip.open(path) as file:
        while content := file.read(1 << 20):
            left -= len(content)
            if left < 0:
                raise CaseError(
                    case_id,
                    f"{path} goes on after its last voxel; expected it to end there. Convert from "
                    "DICOM again.",
                )


def has_orientation(path: str | Path) -> bool:
    """Tell whether a header says how the scan lies in the patient."""
    if str(path).endswith(_META_IMAGE):
        return names_orientation(str(path))
    header = cast(Any, nib.load(path)).header
    return bool(header["qform_code"] > 0 or header["sform_code"] > 0)


def _listed(values: list[Any]) -> str:
    texts = [f"{value:g}" for value in values]
    return texts[0] if len(texts) == 1 else f"{', '.join(texts[:-1])} or {texts[-1]}"
