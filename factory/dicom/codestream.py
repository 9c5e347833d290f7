"""What a compressed image says of itself, read before a decoder makes room for it.

A decoder goes by the image and not by the header of its file: it takes the room that the image says, and gives
the bits that fit into what the header says, without a word of those that do not.
"""

from typing import NamedTuple

_JPEG_START = b"\xff\xd8"
_J2K_START = b"\xff\x4f\xff\x51"
_FRAME_HEADERS = frozenset({*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC})
"""SOF0 to SOF15 of JPEG and SOF55 of JPEG-LS, without the tables and the reserved one among them."""

_WITHOUT_LENGTH = frozenset({0x01, *range(0xD0, 0xD9), 0xFF})


class Coded(NamedTuple):
    """What an image says of itself."""

    rows: int
    columns: int
    bits: int
    """Of a sample."""


def coded_of(frame: bytes) -> Coded | None:
    """Return what a JPEG, JPEG-LS or JPEG 2000 image says of itself; None where it has no header."""
    if frame.startswith(_JPEG_START):
        return _jpeg(frame)
    # In its own file format, boxes come before it.
    at = frame.find(_J2K_START)
    return _j2k(frame, at) if at >= 0 else None


def _jpeg(frame: bytes) -> Coded | None:
    at = len(_JPEG_START)
    while at + 9 <= len(frame) and frame[at] == 0xFF:
        marker = frame[at + 1]
        if marker in _FRAME_HEADERS:
            return Coded(_number(frame, at + 5, 2), _number(frame, at + 7, 2), frame[at + 4])
        at += 1 if marker == 0xFF else 2
        if marker not in _WITHOUT_LENGTH:
            at += _number(frame, at, 2)
    return None


def _j2k(frame: bytes, at: int) -> Coded | None:
    if len(frame) < at + 43:
        return None
    right, bottom, left, top = (_number(frame, at + 8 + 4 * n, 4) for n in range(4))
    # Its highest bit says whether samples are signed.
    return Coded(bottom - top, right - left, (frame[at + 42] & 0x7F) + 1)


def _number(frame: bytes, at: int, size: int) -> int:
    return int.from_bytes(frame[at : at + size], "big")
