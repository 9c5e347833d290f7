"""The scan that a case was ingested from, found again and checked to be the same."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from factory.axes import affine_from_orientation, orientation_of, to_orientation
from factory.counted import counted
from factory.errors import CaseError, FactoryError
from factory.geometry import ModelGrid, resample_hu
from factory.ingest.fingerprint import fingerprint
from factory.ingest.meta_image import read_meta_image
from factory.ingest.scan import Scan, read_scan
from factory.ingest.sources import SourceCase
from factory.intensity import HU_MIN
from factory.native import NativeVolume
from factory.refused import found_of
from jobs.export.given import DICOM

_OFF_HU = 1
"""Between two releases of SciPy a voxel may be rounded to the other side."""

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class FoundScan:
    """A scan in closest-canonical orientation, and the way to the axes of its file."""

    scan: Scan
    affine: NDArray[np.float64]
    """4x4 of the volume as it is written, voxel (i, j, k) to RAS mm."""
    codes: str
    """Where the indices (z, y, x) of the volume as it is written grow."""

    def as_stored(self, volume: NativeVolume) -> NativeVolume:
        """Turn a canonical volume to the axes of the file."""
        return NativeVolume(
            to_orientation(volume.ct, self.codes), to_orientation(volume.layout, self.codes)
        )


def find_scan(donor: Row, source: str) -> FoundScan:
    """Read the scan of a case again.

    Args:
        donor: Row of the real case.
        source: Its file, or the folder that its DICOM series lies in.

    Raises:
        CaseError: It is gone, or is another than the case was made from. Of DICOM no path is named.
    """
    case_id = donor["case_id"]
    if not source:
        raise CaseError(
            case_id,
            "found no path of its scan; expected the file, or for DICOM the folder, that it was ingested "
            "from. Name the private folder of the case store with --private, or export without --native.",
        )
    if str(donor["source_uri"]).startswith(DICOM):
        scan = _read_series(donor, source)
        _refuse_other_grid(donor, scan)
        return FoundScan(scan, scan.affine, orientation_of(scan.affine))
    scan = read_scan(_file(donor, source))
    _refuse_other_grid(donor, scan)
    return _as_stored(scan, source)


def refuse_other_voxels(
    donor: Row, prepared: NDArray[np.int16], scan: Scan, grid: ModelGrid
) -> None:
    """Refuse a scan that does not become the case again: the way back would lead elsewhere.

    Raises:
        CaseError: Voxels differ.
    """
    again = resample_hu(scan.ct, grid, air_hu=HU_MIN).astype(np.int32)
    if num_off := int(np.count_nonzero(np.abs(again - prepared) > _OFF_HU)):
        raise CaseError(
            donor["case_id"],
            f"found {counted(num_off, 'other voxel')} when the scan is brought to the model grid again; expected "
            "none. Ingest the case again with this release.",
        )


def _file(donor: Row, source: str) -> SourceCase:
    given = SourceCase(case_id=donor["case_id"], patient_id=donor["patient_id"], ct=source)
    try:
        digest = fingerprint(given).ct_sha256
    except OSError as error:
        raise CaseError(
            donor["case_id"],
            f"{source}: found {found_of(error)}; expected the scan that the case was ingested from. Put "
            "it back, or export without --native.",
        ) from error
    if digest != donor["source_sha256"]:
        raise CaseError(
            donor["case_id"],
            f"{source}: found sha256 {digest}; expected {donor['source_sha256']}, of the scan that the case was "
            "ingested from. Put that file back, or ingest the case again.",
        )
    return given


def _read_series(donor: Row, folder: str) -> Scan:
    """Read the series of a folder that has the case's digest; errors name no path and no header."""
    try:
        given = _series(donor, folder)
        if given:
            return read_scan(given)
    except OSError as error:
        raise _closed(donor, error) from None
    raise CaseError(
        donor["case_id"],
        f"found no DICOM series with sha256 {donor['source_sha256']} in the folder that it was ingested from; "
        "expected it there, unchanged. Put it back, or ingest the case again.",
    )


def _series(donor: Row, folder: str) -> SourceCase | None:
    try:
        for given in _all_series(donor, folder):
            if fingerprint(given).ct_sha256 == donor["source_sha256"]:
                return given
    except FactoryError as error:
        # It names the folder, or a file of it.
        raise _closed(donor, error) from None
    return None


def _all_series(donor: Row, folder: str) -> Iterator[SourceCase]:
    # Loaded late: most exports never read DICOM.
    from factory.dicom.find import find_series

    for series in find_series(Path(folder)).series:
        yield SourceCase(
            case_id=donor["case_id"],
            patient_id=donor["patient_id"],
            series=tuple(map(str, series.paths)),
        )


def _refuse_other_grid(donor: Row, scan: Scan) -> None:
    shape, affine = donor["source_shape"], donor["source_affine"]
    is_same = shape is not None and affine is not None and tuple(shape) == scan.ct.shape
    if not is_same or not np.allclose(scan.affine.ravel(), affine, rtol=0, atol=1e-6):
        raise CaseError(
            donor["case_id"],
            f"found a scan of {scan.ct.shape} voxels; expected {_shown(shape)}, where the manifest says that it "
            "lay. Ingest the case again with this release.",
        )


def _closed(donor: Row, error: Exception) -> CaseError:
    return CaseError(
        donor["case_id"],
        f"its DICOM folder cannot be read ({type(error).__name__}); expected the series that it was "
        "ingested from. Put it back, or export without --native.",
    )


def _as_stored(scan: Scan, path: str) -> FoundScan:
    """Return a scan with the way back to the axes of its NIfTI or MetaImage file."""
    shape, stored = _stored_grid(scan.case_id, path)
    codes = orientation_of(stored)
    there = affine_from_orientation(stored, shape, codes)
    if not np.allclose(there, scan.affine, rtol=0, atol=1e-4):
        raise CaseError(
            scan.case_id,
            "found axes in the file that do not lead to the scan as it was read; expected them to. Convert the "
            "scan to NIfTI again.",
        )
    return FoundScan(scan, stored, codes)


def _stored_grid(case_id: str, path: str) -> tuple[tuple[int, ...], NDArray[np.float64]]:
    """Return shape (z, y, x) and affine of a file, as it has them."""
    import nibabel as nib

    # `read_scan` has read and judged the very file.
    image: Any = (
        read_meta_image(case_id, path) if path.endswith((".mhd", ".mha")) else nib.load(path)
    )
    return tuple(image.shape[2::-1]), np.asarray(image.affine, np.float64)


def _shown(shape: Sequence[int] | None) -> str:
    return "a shape" if shape is None else str(tuple(shape))
