"""Decodes with gdcm in a process of its own: `python -m factory.dicom.apart`.

gdcm ends its process where compressed bytes are broken (a C++ exception that it lets pass), and
that would be a worker with all that it holds.

stdin    a line of JSON with the frame's shape, bits and length, and then the frame
stdout   `+` and rows x columns int32, little endian; or `-` where it cannot be decoded
"""

import json
import resource
import sys
from typing import BinaryIO

import numpy as np

from factory.dicom.frame import decode_frame

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


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    serve(sys.stdin.buffer, sys.stdout.buffer)
