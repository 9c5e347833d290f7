"""Decode the stored values of one slice, whatever its transfer syntax, without harm to the process."""

import json
import os
import re
import select
import subprocess
import sys
import time
from contextlib import suppress
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.encaps import get_frame
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    UID,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from factory.dicom.apart import DECODED
from factory.dicom.codestream import coded_of
from factory.dicom.elements import DicomError
from factory.dicom.frame import decode_frame
from factory.dicom.headers import Header

_SECONDS_AT_MOST = 60.0
"""For a slice that is decoded apart, and for that process to start; milliseconds are usual."""

_PLUGINS = {
    RLELossless: "pydicom",
    JPEGBaseline8Bit: "pillow",
    JPEGExtended12Bit: "pillow",
    JPEG2000: "pillow",
    JPEG2000Lossless: "pillow",
    JPEGLSLossless: "pyjpegls",
    JPEGLSNearLossless: "pyjpegls",
}
"""Those that end broken bytes with an exception."""

_AS_JPEG2000 = {
    HTJ2K: JPEG2000,
    HTJ2KLossless: JPEG2000Lossless,
    HTJ2KLosslessRPCL: JPEG2000Lossless,
}
"""High throughput is another coding of blocks in the same codestream, and pillow's decoder has both."""

_APART = frozenset({JPEGLossless, JPEGLosslessSV1})
"""What gdcm alone decodes, and archives write most."""


class Decoder:
    """Decodes slices; to be closed, for a process of its own may work for it."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "Decoder":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end()

    def decode(self, data: Dataset, header: Header) -> NDArray[Any]:
        """Return the stored values of a slice, (row, column).

        Args:
            data: Its pixels and what describes them, compared with `header` before.
            header: Of the same file.

        Raises:
            DicomError: They are fewer than declared, or nothing here decodes them.
        """
        named = UID(header.transfer_syntax)
        syntax = _AS_JPEG2000.get(named, named)
        try:
            if syntax in _PLUGINS or syntax in _APART:
                return self._decompressed(data, syntax, header)
            _check_length(data, header)
            array, _ = get_decoder(syntax).as_array(data, index=0, raw=True)
            return array
        except DicomError:
            raise
        except Exception as error:  # whatever the plugins of pydicom raise
            told = f"has pixels in {_name(named)} that cannot be decoded ({type(error).__name__}); expected "
            if syntax in _PLUGINS or syntax in _APART:
                raise DicomError(
                    f"{told}whole ones. Copy it again, or decompress it where it came from"
                ) from None
            raise DicomError(
                f"{told}uncompressed, RLE, JPEG of 8 bits or lossless, JPEG-LS or JPEG 2000. Decompress it "
                "(gdcmconv --raw)"
            ) from None

    def _decompressed(self, data: Dataset, syntax: UID, header: Header) -> NDArray[Any]:
        frame = get_frame(data.PixelData, 0, number_of_frames=1)
        if syntax != RLELossless:
            _check_coded(frame, header, int(data.BitsAllocated))
        described = {
            "rows": int(data.Rows),
            "columns": int(data.Columns),
            "bits_allocated": int(data.BitsAllocated),
            "bits_stored": int(data.BitsStored),
            "pixel_representation": int(data.PixelRepresentation),
        }
        if syntax in _APART:
            return self._apart(frame, syntax, described)
        return decode_frame(frame, syntax=syntax, plugin=_PLUGINS[syntax], **described)

    def _apart(self, frame: bytes, syntax: UID, described: dict[str, int]) -> NDArray[Any]:
        request = {"syntax": str(syntax), "num_bytes": len(frame), **described}
        shape = described["rows"], described["columns"]
        process = self._started()
        assert process.stdin is not None
        assert process.stdout is not None
        deadline = time.monotonic() + _SECONDS_AT_MOST
        try:
            process.stdin.write(json.dumps(request).encode() + b"\n" + frame)
            process.stdin.flush()
            if _read(process.stdout.fileno(), 1, deadline) != DECODED:
                raise ValueError("the decoder refused the frame")
            values = _read(process.stdout.fileno(), 4 * shape[0] * shape[1], deadline)
        except (OSError, EOFError, TimeoutError):
            # It ended, or has to: the next slice starts another.
            self._end()
            raise
        return np.frombuffer(values, "<i4").reshape(shape)

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            # Workers may have this code from a path that a new interpreter does not know.
            environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
            self._process = subprocess.Popen(
                [sys.executable, "-m", "factory.dicom.apart"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=environment,
            )
        return self._process

    def _end(self) -> None:
        if self._process is not None:
            self._process.kill()
            # Closes its pipes and waits for it.
            with suppress(OSError):
                self._process.communicate()
            self._process = None


def _read(descriptor: int, size: int, deadline: float) -> bytes:
    """Read so many bytes of a pipe, in time."""
    found = bytearray()
    while len(found) < size:
        left_s = deadline - time.monotonic()
        if left_s <= 0 or not select.select([descriptor], [], [], left_s)[0]:
            raise TimeoutError
        if not (part := os.read(descriptor, min(size - len(found), 2**20))):
            raise EOFError
        found += part
    return bytes(found)


def _check_length(data: Dataset, header: Header) -> None:
    expected = header.rows * header.columns * int(data.BitsAllocated) // 8
    if (found := len(data.get("PixelData") or b"")) < expected:
        raise DicomError(
            f"has {found} bytes of pixels; expected {expected} for {header.rows} x {header.columns}. It was "
            "cut short: copy it again"
        )


def _check_coded(frame: bytes, header: Header, bits: int) -> None:
    found = coded_of(frame)
    if found is None:
        return
    if (found.rows, found.columns) != (header.rows, header.columns):
        raise DicomError(
            f"holds a compressed image of {found.rows} x {found.columns}; expected {header.rows} x "
            f"{header.columns}, as its header says. Export it again"
        )
    if found.bits > bits:
        raise DicomError(
            f"holds a compressed image of {found.bits} bits a sample; expected at most {bits}, as its header "
            "says. Export it again"
        )


def _name(syntax: UID) -> str:
    # A UID that pydicom does not know is its own name, and may be any text.
    if syntax.name != str(syntax):
        return syntax.name
    return (
        f"transfer syntax {syntax}"
        if re.fullmatch("[0-9.]{1,64}", syntax)
        else "no transfer syntax"
    )
