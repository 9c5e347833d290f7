"""Decodes with gdcm in a process of its own: `python -m factory.dicom.apart`.

gdcm ends its process where compressed bytes are broken (a C++ exception that it lets pass), and
that would be a worker with all that it holds.

stdin    a line of JSON with the frame's shape, bits and length, and then the frame
stdout   `+` and rows x columns int32, little endian; or `-` where it cannot be decoded
"""

import json
import resource
import sys
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from pydicom.encaps import encapsulate
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import UID

DECODED, REFUSED = b"+", b"-"

_MEMORY_BYTES = 4 * 2**30
"""What a decoder may ask for, whatever its image says of itself."""


def serve(requests: BinaryIO, replies: BinaryIO) -> None:
    """Decode frames until there are no more requests."""
    while line := requests.readline():
        request = json.loads(line)
        frame = requests.read(request.pop("num_bytes"))
        try:
            values = decode_frame(frame, plugin="gdcm", **request)
            replies.write(DECODED + np.ascontiguousarray(values, "<i4").tobytes())
        except Exception:  # the reader is told that there is no image; why is gdcm's own affair
            replies.write(REFUSED)
        replies.flush()


def decode_frame(frame: bytes, *, syntax: str, plugin: str, **described: int) -> NDArray[Any]:
    """Return the stored values of a compressed frame, (row, column), with one grey sample a pixel.

    Args:
        frame: Its bytes, out of their items.
        syntax: UID of the transfer syntax.
        plugin: Of pydicom, which decodes it.
        **described: rows, columns, bits_allocated, bits_stored and pixel_representation.
    """
    options: dict[str, Any] = {
        **described,
        "number_of_frames": 1,
        "samples_per_pixel": 1,
        "photometric_interpretation": "MONOCHROME2",
        "pixel_keyword": "PixelData",
    }
    decoder = get_decoder(UID(syntax))
    array, _ = decoder.as_array(encapsulate([frame]), raw=True, decoding_plugin=plugin, **options)
    return array


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    serve(sys.stdin.buffer, sys.stdout.buffer)
