"""Decode the pixels of one slice to HU, or say why they cannot be."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from factory.dicom.decode import Decoder
from factory.dicom.elements import DicomError, quiet_pydicom, read_elements, tags_of
from factory.dicom.headers import Header
from factory.intensity import HU_MAX, HU_MIN

PIXELS_AT_MOST = 2**24
"""Of one slice; scanners reconstruct 512 x 512 to 2048 x 2048."""

_RESCALE_AT_MOST = 1e5
_HU_TYPES = ("", "HU", "US")
"""RescaleType of a CT; `US` is unspecified. Others are maps of dual energy, in other units."""

_TISSUE_HU = (-900.0, float(HU_MAX))
"""Outside the scan circle lies no tissue."""

_TAGS = tags_of(
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "PixelPaddingValue",
    "PixelPaddingRangeLimit",
    "RescaleIntercept",
    "RescaleSlope",
    "RescaleType",
    "PixelData",
)


@dataclass(frozen=True, slots=True, eq=False)
class SliceHu:
    """One decoded slice."""

    hu: NDArray[np.int16]
    """(row, column), clipped to [-1024, 3071]; -1024 outside the scan circle."""

    low: float
    """Lowest HU inside the scan circle, before clipping."""

    high: float
    """Highest HU there; of a slice that is all padding, `low` is inf and `high` is -inf."""

    notes: tuple[str, ...]
    """What was assumed."""


def read_slice(header: Header, decoder: Decoder) -> SliceHu:
    """Decode one slice to HU.

    Raises:
        DicomError: It cannot be decoded, or does not hold HU.
    """
    data, _ = read_elements(header.path, _TAGS)
    try:
        with quiet_pydicom():
            _check(data, header)
            stored = decoder.decode(data, header)
            return _to_hu(data, stored)
    except DicomError:
        raise
    except Exception as error:  # of an element that is missing, or no number
        raise DicomError(
            f"has pixels that cannot be read ({type(error).__name__}); expected a whole CT slice. Copy "
            "or export it again"
        ) from None


def _check(data: Dataset, header: Header) -> None:
    if (int(data.Rows), int(data.Columns)) != (header.rows, header.columns):
        raise DicomError("changed while it was read; expected a file at rest. Run ingest again")
    if header.rows * header.columns > PIXELS_AT_MOST:
        raise DicomError(
            f"declares {header.rows} x {header.columns} pixels; expected at most {PIXELS_AT_MOST}. Export "
            "the slice as the scanner reconstructed it"
        )
    if int(data.get("SamplesPerPixel", 1)) != 1 or data.PhotometricInterpretation != "MONOCHROME2":
        # Whether MONOCHROME1 turns the HU round, or the display alone, writers do not agree.
        raise DicomError(
            "found colours, or grey values that are bright where they are low; expected one sample a "
            "pixel, MONOCHROME2. Export the original slices"
        )
    allocated, stored = int(data.BitsAllocated), int(data.BitsStored)
    if (
        allocated not in (8, 16, 32)
        or not 1 <= stored <= allocated
        or int(data.HighBit) != stored - 1
    ):
        raise DicomError(
            f"has {stored} bits in {allocated}; expected 8, 16 or 32 with the lowest of them used. "
            "Convert it with dcmconv"
        )
    if str(data.get("RescaleType") or "").strip().upper() not in _HU_TYPES:
        raise DicomError(
            "has a RescaleType that is not HU: a map of dual energy; expected HU. Choose another series "
            "of the study"
        )


def _to_hu(data: Dataset, stored: NDArray[Any]) -> SliceHu:
    slope, intercept, notes = _rescale(data)
    hu = stored * slope + intercept
    padding = _padding(data, stored)
    if padding.any():
        # A circle that is air to the scanner may be tissue to a writer who set the tag wrongly.
        low, high = _TISSUE_HU
        tissue = padding & (hu > low) & (hu <= high)
        if tissue.any():
            notes = (*notes, "PixelPaddingValue is the HU of tissue, and is left as it is")
            padding &= ~tissue
    inside = hu[~padding]
    bounds = (float(inside.min()), float(inside.max())) if inside.size else (math.inf, -math.inf)
    hu[padding] = HU_MIN
    clipped = np.rint(np.clip(hu, HU_MIN, HU_MAX)).astype(np.int16)
    return SliceHu(clipped, *bounds, notes)


def _rescale(data: Dataset) -> tuple[float, float, tuple[str, ...]]:
    found = data.get("RescaleSlope"), data.get("RescaleIntercept")
    slope, intercept = (
        default if value is None else float(value)
        for value, default in zip(found, (1.0, 0.0), strict=True)
    )
    finite = math.isfinite(slope) and math.isfinite(intercept)
    if not finite or not slope or max(abs(slope), abs(intercept)) > _RESCALE_AT_MOST:
        raise DicomError(
            f"has rescale slope {slope:g} and intercept {intercept:g}; expected what turns stored values "
            "to HU. Export it again"
        )
    notes = ("values without rescale slope or intercept are taken as HU",) if None in found else ()
    return slope, intercept, notes


def _padding(data: Dataset, stored: NDArray[Any]) -> NDArray[np.bool_]:
    """Return where a slice holds PixelPaddingValue, or lies between it and PixelPaddingRangeLimit."""
    found = [data.get("PixelPaddingValue"), data.get("PixelPaddingRangeLimit")]
    if found[0] is None:
        return np.zeros(stored.shape, np.bool_)
    # Signed values are often written with the sign lost: 63536 for -2000.
    values = [_as_stored(int(value), data) for value in found if value is not None]
    between: NDArray[np.bool_] = (stored >= min(values)) & (stored <= max(values))
    return between


def _as_stored(value: int, data: Dataset) -> int:
    bits = int(data.BitsAllocated)
    value %= 2**bits
    return value - 2**bits if int(data.PixelRepresentation) and value >= 2 ** (bits - 1) else value
