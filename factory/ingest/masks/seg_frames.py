"""The frames of a DICOM SEG: what a file declares of them, and their pixels, one by one.

A file of a hundred organs unpacks to more than a machine has.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.encaps import generate_frames
from pydicom.pixels.utils import iter_pixels
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless, RLELossless

from factory.dicom.codestream import coded_of

_MAX_FRAMES = 60_000
_BITS = {"BINARY": (1, 8), "FRACTIONAL": (8,), "LABELMAP": (8, 16)}
_PLUGINS = {RLELossless: "pydicom", JPEGLSLossless: "pyjpegls", JPEG2000Lossless: "pillow"}
"""Of the compressions that masks have, those that end broken bytes with an exception."""


@dataclass(frozen=True, slots=True)
class SegFrames:
    """What a file says of its pixels."""

    num: int
    kind: str
    """BINARY, FRACTIONAL or LABELMAP."""
    bits: int
    rows: int
    columns: int
    maximum: int
    """Value of a pixel that belongs to the segment wholly; FRACTIONAL only."""


def described_frames(dataset: Dataset) -> SegFrames:
    """Return what a file says of its pixels."""
    return SegFrames(
        num=int(dataset.get("NumberOfFrames", 1)),
        kind=str(dataset.get("SegmentationType", "")),
        bits=int(dataset.BitsAllocated),
        rows=int(dataset.Rows),
        columns=int(dataset.Columns),
        maximum=int(dataset.get("MaximumFractionalValue", 1)),
    )


def problem_of(dataset: Dataset, frames: SegFrames, size: tuple[int, int]) -> str:
    """Return what is wrong with the frames of a file, and the way out; or nothing.

    Args:
        dataset: The file.
        frames: What it says of its pixels.
        size: (row, column) of the CT.
    """
    if not 1 <= frames.num <= _MAX_FRAMES:
        return f"has {frames.num} frames; expected 1 to {_MAX_FRAMES}. Export only what is needed"
    if (frames.rows, frames.columns) != size:
        return (
            f"has frames of {frames.rows} x {frames.columns} pixels; expected the CT's {size[0]} x "
            f"{size[1]}. Resample it onto the CT"
        )
    if frames.bits not in _BITS.get(frames.kind, ()):
        return (
            f"is {frames.kind if frames.kind in _BITS else 'of no known type'} with {frames.bits} bits a pixel; expected BINARY, "
            "FRACTIONAL or LABELMAP. Export it again"
        )
    if frames.kind == "FRACTIONAL" and not 1 <= frames.maximum <= 255:
        return f"has {frames.maximum} as largest fraction; expected 1 to 255. Export it again"
    if dataset.file_meta.TransferSyntaxUID.is_compressed:
        return _compression_problem(dataset, frames)
    num_bytes = (frames.num * frames.rows * frames.columns * frames.bits + 7) // 8
    if len(dataset.PixelData) < num_bytes:
        return (
            f"declares {num_bytes} bytes of pixels and has {len(dataset.PixelData)}; expected all of "
            "them. Copy it again"
        )
    return ""


def _compression_problem(dataset: Dataset, frames: SegFrames) -> str:
    """Return what is wrong with compressed frames, before a decoder makes room for them."""
    syntax = dataset.file_meta.TransferSyntaxUID
    if syntax not in _PLUGINS:
        return (
            f"is compressed by {syntax.name[:64]}; expected RLE, JPEG-LS, JPEG 2000 without loss, or "
            "nothing. Decompress it (gdcmconv --raw)"
        )
    for frame in generate_frames(dataset.PixelData, number_of_frames=frames.num):
        coded = coded_of(frame) if syntax != RLELossless else None
        if coded and (coded.rows, coded.columns) != (frames.rows, frames.columns):
            return (
                f"has a compressed frame of {coded.rows} x {coded.columns} pixels; expected {frames.rows} x "
                f"{frames.columns}. Export it again"
            )
        if coded and coded.bits > max(8, frames.bits):
            return (
                f"has a compressed frame of {coded.bits} bits a pixel; expected at most {max(8, frames.bits)}. "
                "Export it again"
            )
    return ""


def frame_pixels(dataset: Dataset, frames: SegFrames, wanted: list[int]) -> Iterator[NDArray[Any]]:
    """Yield the (row, column) pixels of frames, one after the other."""
    if frames.bits != 1 or not dataset.file_meta.TransferSyntaxUID.is_little_endian:
        if wanted:
            plugin = _PLUGINS.get(dataset.file_meta.TransferSyntaxUID, "")
            yield from iter_pixels(dataset, raw=True, indices=wanted, decoding_plugin=plugin)
        return
    content = np.frombuffer(dataset.PixelData, dtype=np.uint8)
    num_pixels = frames.rows * frames.columns
    for frame in wanted:
        # Frames follow each other without a gap: one may begin within a byte (PS3.5, 8.1.1).
        first, last = frame * num_pixels, (frame + 1) * num_pixels
        bits = np.unpackbits(content[first // 8 : -(-last // 8)], bitorder="little")
        yield bits[first % 8 :][:num_pixels].reshape(frames.rows, frames.columns)
