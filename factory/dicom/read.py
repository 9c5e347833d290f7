"""Read a CT series as a stack of slices in HU.

places -> an even grid -> decoded slice by slice -> missing ones filled -> Stack
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from factory.axes import affine_from_dicom
from factory.counted import counted
from factory.dicom.decode import Decoder
from factory.dicom.elements import DicomError
from factory.dicom.grid import SliceGrid, slice_grid
from factory.dicom.headers import Header
from factory.dicom.order import places
from factory.dicom.pixels import PIXELS_AT_MOST, SliceHu, read_slice
from factory.dicom.series import CtSeries
from factory.dicom.stack import Stack
from factory.dicom.tilt import Upright
from factory.errors import CaseError
from factory.geometry import MAX_VOXELS
from factory.intensity import AIR_AT_MOST_HU, METAL_AT_LEAST_HU


def read_stack(case_id: str, series: CtSeries) -> Stack:
    """Read a CT series.

    Slices are ordered by their positions along their normal. What is repaired is in the stack's
    notes: slices that are there twice, single missing ones (interpolated, at most 2 % of all),
    positions up to a tenth of the gap beside an even grid, and a tilted gantry.

    Args:
        case_id: For messages, which hold no identifier and no file name; a slice is named by
            the z of its ImagePositionPatient.
        series: One of those found.

    Raises:
        CaseError: A slice cannot be decoded, two differ at one place, too many are missing, they
            lie unevenly, or they hold no HU.
    """
    try:
        return _read(series)
    except DicomError as error:
        raise CaseError(case_id, f"{error}.") from None
    except MemoryError:
        raise CaseError(
            case_id,
            f"the CT series of {' x '.join(map(str, series.shape))} voxels found no memory; expected "
            "2 bytes a voxel. Run with fewer workers.",
        ) from None


def _read(series: CtSeries) -> Stack:
    stacked = places(series.slices)
    firsts = [place[0] for place in stacked]
    grid = slice_grid(firsts)
    affine = affine_from_dicom(
        position=np.asarray(firsts[0].position),
        orientation=np.asarray(firsts[0].orientation),
        pixel_spacing=(firsts[0].pixel_spacing[0], firsts[0].pixel_spacing[1]),
        step=grid.step,
    )
    shape = (grid.num_slices, firsts[0].rows, firsts[0].columns)
    _check_size(firsts, affine, shape)
    ct_hu = np.empty(shape, np.int16)
    notes = _fill(ct_hu, stacked, grid)
    sop_uids = [""] * grid.num_slices
    for number, header in zip(grid.numbers, firsts, strict=True):
        sop_uids[number] = header.sop_uid
    return Stack(
        ct_hu=ct_hu,
        affine=affine,
        sop_uids=tuple(sop_uids),
        series_uid=series.series_uid,
        study_uid=series.study_uid,
        frame_uid=series.frame_uid,
        notes=(*series.notes, *grid.notes, *notes),
        filled=grid.missing,
    )


def _check_size(
    firsts: Sequence[Header], affine: NDArray[np.float64], shape: tuple[int, int, int]
) -> None:
    """Compare what the headers declare with what there is, before there is an array of it."""
    upright = Upright.of(affine, shape).shape
    num_pixels = shape[1] * shape[2]
    num_voxels = max(np.prod(size, dtype=object) for size in (shape, upright))
    if num_pixels > PIXELS_AT_MOST or num_voxels > MAX_VOXELS:
        raise DicomError(
            f"the slices declare {' x '.join(map(str, upright))} voxels; expected at most {MAX_VOXELS}, "
            f"and {PIXELS_AT_MOST} a slice. Export the series as the scanner reconstructed it"
        )
    for header in firsts:
        num_bytes = min(header.pixel_bytes, header.file_bytes)
        # A compressed slice says nothing of what it grows to; the limits above hold for it.
        if 0 <= num_bytes < num_pixels:
            raise DicomError(
                f"{_named(header)} declares {shape[1]} x {shape[2]} pixels and has {num_bytes} bytes of "
                "them; expected one or more a pixel. It was cut short: copy it again"
            )


def _fill(
    ct_hu: NDArray[np.int16], stacked: Sequence[Sequence[Header]], grid: SliceGrid
) -> tuple[str, ...]:
    """Decode slice by slice into the array; return what was assumed."""
    notes: set[str] = set()
    low, high, num_twice = np.inf, -np.inf, 0
    with Decoder() as decoder:
        for number, place in zip(grid.numbers, stacked, strict=True):
            image = _slice_of(place, decoder)
            ct_hu[number] = image.hu
            notes.update(image.notes)
            low, high = min(low, image.low), max(high, image.high)
            num_twice += len(place) - 1
    _check_hu(low, high)
    for number in grid.missing:
        between = (ct_hu[number - 1].astype(np.int32) + ct_hu[number + 1]) / 2
        ct_hu[number] = np.rint(between)
    twice = (
        (f"taken once: {counted(num_twice, 'slice')} that the series has twice",)
        if num_twice
        else ()
    )
    return (*twice, *sorted(notes))


def _slice_of(place: Sequence[Header], decoder: Decoder) -> SliceHu:
    """Return the one slice at a place, where every file of it holds the same."""
    images = [_decoded(header, decoder) for header in place]
    if any(not np.array_equal(images[0].hu, image.hu) for image in images[1:]):
        raise DicomError(
            f"{len(place)} different slices lie at one place ({_named(place[0])}); {_phases(place)}"
        )
    return images[0]


def _phases(place: Sequence[Header]) -> str:
    for what, values in (
        ("TemporalPositionIdentifier", {header.phase for header in place}),
        ("AcquisitionNumber", {header.acquisition for header in place}),
    ):
        if len(values) == len(place):
            return (
                f"expected one. Their {what} tells them apart: these are phases or repeated scans. Export "
                "each as a series of its own"
            )
    return "expected one, and no header tells them apart. Export each scan as a series of its own"


def _decoded(header: Header, decoder: Decoder) -> SliceHu:
    try:
        return read_slice(header, decoder)
    except DicomError as error:
        raise DicomError(f"{_named(header)} {error}") from None


def _named(header: Header) -> str:
    return f"slice at z {header.position[2]:.2f} mm"


def _check_hu(low: float, high: float) -> None:
    # Padding alone leaves both at infinity.
    if not (low <= AIR_AT_MOST_HU and high <= METAL_AT_LEAST_HU):
        raise DicomError(
            f"slices have values from {low:g} to {high:g}; expected HU, with air near -1000. Export the "
            "original slices with their rescale slope and intercept"
        )
