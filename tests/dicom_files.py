"""CT series as DICOM files, as scanners and archives write them, with what goes wrong there."""

import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.config import disable_value_validation
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import (
    CTImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGLSLossless,
    RLELossless,
    generate_uid,
)

IDENTIFIERS = (
    "Doe",
    "Jane",
    "19541231",
    "St. Elsewhere",
    "20190704",
    "ACC-7781",
    "Referrer",
    "secret of a vendor",
    "Ward 9",
)
"""Each is in every file that `write_series` writes, beside the patient's id."""

_UNCOMPRESSED = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian)


@dataclass(frozen=True, kw_only=True)
class SeriesFiles:
    """What was written, in the order of the slices of the array."""

    series_uid: str
    study_uid: str
    frame_uid: str
    sop_uids: tuple[str, ...]
    paths: tuple[Path, ...]


Edit = Callable[[int, Dataset], None]


def write_series(
    folder: Path,
    ct_hu_zyx: np.ndarray,
    affine_or_spacing: Any,
    *,
    patient_id: str = "P1",
    patient_name: str = "Doe^Jane",
    series_uid: str | None = None,
    study_uid: str | None = None,
    **changes: Any,
) -> SeriesFiles:
    """Write a CT as one file a slice, under file names in no order.

    Args:
        folder: Made where it is not there.
        ct_hu_zyx: (slice, row, column) HU.
        affine_or_spacing: 4x4, (column, row, slice) index to RAS mm; sheared for a tilted
            gantry. Or (z, y, x) mm of a patient on the back: slices from the feet up, rows to
            the back, columns to the patient's left.
        patient_id: PatientID.
        patient_name: PatientName.
        series_uid: SeriesInstanceUID; a new one by default.
        study_uid: StudyInstanceUID; a new one by default.
        changes: frame_uid, slope, intercept, signed, bits_stored, missing (slices that are not
            written), twice (slices that are written again, under another SOP instance UID),
            transfer_syntax (a UID), preamble (False writes no file meta), tags (keyword or tag to
            value, for every file; None takes the element out), edit (called with the number of
            the slice and its dataset, last).
    """
    options = _Options(**changes)
    affine = _affine_of(affine_or_spacing)
    folder.mkdir(parents=True, exist_ok=True)
    series = SeriesFiles(
        series_uid=series_uid or generate_uid(),
        study_uid=study_uid or generate_uid(),
        frame_uid=options.frame_uid or generate_uid(),
        sop_uids=(),
        paths=(),
    )
    present = [k for k in range(len(ct_hu_zyx)) if k not in options.missing]
    written = [*present, *options.twice]
    names = [f"{series.series_uid[-6:]}_{n:04d}.dcm" for n in range(len(written))]
    random.Random(len(written)).shuffle(names)
    sop_uids, paths = [], []
    for k, name in zip(written, names, strict=True):
        # Without validation, for what goes wrong is not valid.
        with disable_value_validation():
            data = slice_dataset(ct_hu_zyx[k], affine, k, series, options)
            data.PatientID, data.PatientName = patient_id, patient_name
            _change(data, options.tags)
            if options.edit:
                options.edit(k, data)
            paths.append(save_slice(folder / name, data, options))
            sop_uids.append(str(data.get("SOPInstanceUID", "")))
    return SeriesFiles(
        series_uid=series.series_uid,
        study_uid=series.study_uid,
        frame_uid=series.frame_uid,
        sop_uids=tuple(sop_uids),
        paths=tuple(paths),
    )


def write_localizer(folder: Path, *, study_uid: str | None = None, num: int = 2) -> SeriesFiles:
    """Write a coronal scout of a few images."""
    affine = np.array([[-1.0, 0, 0, 50], [0, 0, -5.0, 0], [0, -1.0, 0, 50], [0, 0, 0, 1]])
    scout = np.full((num, 16, 16), -900, np.int16)
    tags = {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}
    return write_series(folder, scout, affine, study_uid=study_uid, tags=tags)


@dataclass(kw_only=True)
class _Options:
    frame_uid: str | None = None
    slope: float = 1.0
    intercept: float = -1024.0
    signed: bool = False
    bits_stored: int = 16
    missing: Iterable[int] = ()
    twice: Iterable[int] = ()
    transfer_syntax: str = ExplicitVRLittleEndian
    preamble: bool = True
    tags: Mapping[Any, Any] | None = None
    edit: Edit | None = None


def _affine_of(affine_or_spacing: Any) -> np.ndarray:
    given = np.asarray(affine_or_spacing, float)
    if given.shape == (4, 4):
        return given
    z, y, x = given
    return np.array([[-x, 0, 0, 100.0], [0, -y, 0, 80.0], [0, 0, z, -200.0], [0, 0, 0, 1.0]])


def slice_dataset(
    hu: np.ndarray, affine: np.ndarray, k: int, series: SeriesFiles, options: _Options
) -> FileDataset:
    """Return one slice as a dataset that is not compressed yet."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = (
        options.transfer_syntax
        if options.transfer_syntax in _UNCOMPRESSED
        else ExplicitVRLittleEndian
    )
    data = FileDataset(
        "",
        {},
        file_meta=meta,
        preamble=b"\0" * 128,
        is_implicit_VR=meta.TransferSyntaxUID == ImplicitVRLittleEndian,
        is_little_endian=meta.TransferSyntaxUID != ExplicitVRBigEndian,
    )
    data.SOPClassUID = CTImageStorage
    data.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    data.StudyInstanceUID, data.SeriesInstanceUID = series.study_uid, series.series_uid
    data.FrameOfReferenceUID = series.frame_uid
    _identify(data)
    data.Modality, data.ImageType = "CT", ["ORIGINAL", "PRIMARY", "AXIAL"]
    data.InstanceNumber = 1000 - k
    _place(data, affine, k)
    _fill(data, hu, options)
    return data


def _identify(data: Dataset) -> None:
    data.PatientBirthDate = "19541231"
    data.StudyDate = data.SeriesDate = data.AcquisitionDate = "20190704"
    data.InstitutionName, data.AccessionNumber = "St. Elsewhere", "ACC-7781"
    data.ReferringPhysicianName = "Referrer^Rose"
    block = data.private_block(0x0019, "VENDOR 1.0", create=True)
    block.add_new(0x10, "LO", "secret of a vendor")
    data.StudyDescription = data.SeriesDescription = "Ward 9"


def _place(data: Dataset, affine: np.ndarray, k: int) -> None:
    # DICOM counts to the left and to the back.
    lps = np.diag([-1.0, -1.0, 1.0]) @ affine[:3]
    along_row, along_column = lps[:, 0], lps[:, 1]
    between_columns, between_rows = np.linalg.norm(along_row), np.linalg.norm(along_column)
    data.PixelSpacing = _ds([between_rows, between_columns])
    data.ImageOrientationPatient = _ds([*along_row / between_columns, *along_column / between_rows])
    data.ImagePositionPatient = _ds(lps[:, 3] + k * lps[:, 2])
    data.SliceThickness = _ds([np.linalg.norm(lps[:, 2])])


def _ds(values: Iterable[float]) -> list[str]:
    return [f"{value:.6f}" for value in values]


def _fill(data: Dataset, hu: np.ndarray, options: _Options) -> None:
    low = -(2 ** (options.bits_stored - 1)) if options.signed else 0
    stored = np.rint((hu.astype(float) - options.intercept) / options.slope)
    stored = np.clip(stored, low, low + 2**options.bits_stored - 1).astype(np.int64)
    endian = ">" if options.transfer_syntax == ExplicitVRBigEndian else "<"
    # The unused high bits of a stored value stay empty, as scanners leave them.
    kept = (stored & (2**options.bits_stored - 1)).astype(f"{endian}u2")
    data.Rows, data.Columns = hu.shape
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated, data.BitsStored = 16, options.bits_stored
    data.HighBit, data.PixelRepresentation = options.bits_stored - 1, int(options.signed)
    data.RescaleSlope, data.RescaleIntercept = f"{options.slope:g}", f"{options.intercept:g}"
    data.RescaleType = "HU"
    data.PixelData = kept.tobytes()
    data["PixelData"].VR = "OW"


def _change(data: Dataset, tags: Mapping[Any, Any] | None) -> None:
    for tag, value in (tags or {}).items():
        if value is None:
            if tag in data:
                del data[tag]
        else:
            setattr(data, tag, value)


def save_slice(path: Path, data: FileDataset, options: _Options) -> Path:
    """Write one slice in the transfer syntax that was asked for."""
    wanted = options.transfer_syntax
    if wanted in (RLELossless, JPEGLSLossless):
        data.compress(wanted, generate_instance_uid=False)
    if options.preamble:
        data.save_as(path, enforce_file_format=True)
    else:
        data.preamble = None
        bare = Dataset(data)
        bare.save_as(path, implicit_vr=wanted == ImplicitVRLittleEndian, little_endian=True)
    if data.file_meta.TransferSyntaxUID != wanted:
        _transcode(path, wanted)
    return path


def _transcode(path: Path, transfer_syntax: str) -> None:
    """Compress a file as archives do (JPEG lossless, JPEG 2000)."""
    import gdcm

    reader = gdcm.ImageReader()
    reader.SetFileName(str(path))
    assert reader.Read()
    change = gdcm.ImageChangeTransferSyntax()
    change.SetTransferSyntax(
        gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(str(transfer_syntax)))
    )
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer = gdcm.ImageWriter()
    writer.SetFileName(str(path))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()
