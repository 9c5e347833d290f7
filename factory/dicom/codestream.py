"""What a compressed image says of its own size, read before a decoder makes room for it."""

_JPEG_START = b"\xff\xd8"
_J2K_START = b"\xff\x4f\xff\x51"
_FRAME_HEADERS = frozenset({*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC})
"""SOF0 to SOF15 of JPEG and SOF55 of JPEG-LS, without the tables and the reserved one among them."""

_WITHOUT_LENGTH = frozenset({0x01, *range(0xD0, 0xD9), 0xFF})


def size_of(frame: bytes) -> tuple[int, int] | None:
    """Return (rows, columns) of a JPEG, JPEG-LS or JPEG 2000 image; None where it has no header."""
    if frame.startswith(_JPEG_START):
        return _jpeg_size(frame)
    # In its own file format, boxes come before it.
    at = frame.find(_J2K_START)
    return _j2k_size(frame, at) if at >= 0 else None


def _jpeg_size(frame: bytes) -> tuple[int, int] | None:
    at = len(_JPEG_START)
    while at + 9 <= len(frame) and frame[at] == 0xFF:
        marker = frame[at + 1]
        if marker in _FRAME_HEADERS:
            return _number(frame, at + 5, 2), _number(frame, at + 7, 2)
        at += 1 if marker == 0xFF else 2
        if marker not in _WITHOUT_LENGTH:
            at += _number(frame, at, 2)
    return None


def _j2k_size(frame: bytes, at: int) -> tuple[int, int] | None:
    if len(frame) < at + 24:
        return None
    right, bottom, left, top = (_number(frame, at + 8 + 4 * n, 4) for n in range(4))
    return bottom - top, right - left


def _number(frame: bytes, at: int, size: int) -> int:
    return int.from_bytes(frame[at : at + size], "big")
