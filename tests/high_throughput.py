"""A series in high-throughput JPEG 2000, which no encoder of the test environment writes.

Its codestreams are those of `imagecodecs.htj2k_encode` (OpenJPH 0.26), without loss, of `HU` + 1024 as uint16.
"""

from base64 import b64decode
from pathlib import Path
from typing import Any

import numpy as np
from dicom_files import SeriesFiles, write_series
from pydicom import dcmread
from pydicom.encaps import encapsulate

HU = np.linspace(-1000, 900, 3 * 20 * 16).reshape(3, 20, 16).astype(np.int16)
"""(z, y, x) of the slices."""

_FRAMES = (
    (
        "/0//UQApQAAAAAAQAAAAFAAAAAAAAAAAAAAAEAAAABQAAAAAAAAAAAABDwEB/1AACAACAAAACv9SAAwAAgABAAIEBEAB/1wA"
        "CiCIkJCQiIiI/2QAFwABT3BlbkpQSCBWZXIgMC4yNi4zLv+QAAoAAAAAAJcAAf+TwAAuvM3/Z/69/z/9rf9X/s1/p3+6X80/"
        "3F/Mn+3X8kP7o/zZ/dH95D5wP3P1l0IAMbkAwAAVEAAFbAABIEAAAafykFUAAEZGRscAQgN9YL24AP6wAwDAACqgABbEAAJw"
        "APzn9PT09PJ4AAAA+N57731iAABSPAAD2Wmahhh1qBQRAfCvDBAQBgD/2Q=="
    ),
    (
        "/0//UQApQAAAAAAQAAAAFAAAAAAAAAAAAAAAEAAAABQAAAAAAAAAAAABDwEB/1AACAACAAAACv9SAAwAAgABAAIEBEAB/1wA"
        "CiCIkJCQiIiI/2QAFwABT3BlbkpQSCBWZXIgMC4yNi4zLv+QAAoAAAAAAJkAAf+TwAAuvNn67fxk/eV8rn43f6pPzXfjw++b"
        "8aPvvfjheys+9h5sH2sPtT/aP3P1l0IAMbkAwAAVEAAFdAABIEAAAafykFUAAMXIYDj+CEB7nWi9uAD8gIMAwAAqoAAW1AAC"
        "YAD85/T09PTyeAAAAADfe++972AAACkeAAHstLNwY8X3qBQSAfz3iAQlAP/Z"
    ),
    (
        "/0//UQApQAAAAAAQAAAAFAAAAAAAAAAAAAAAEAAAABQAAAAAAAAAAAABDwEB/1AACAACAAAACv9SAAwAAgABAAIEBEAB/1wA"
        "CiCIkJCQiIiI/2QAFwABT3BlbkpQSCBWZXIgMC4yNi4zLv+QAAoAAAAAAJEAAf+TwAAuvOf1dPrr+mz6cT2ZXlvPpbfP3+W7"
        "57/lzfNn+e68V94c3xtvjXfGP3P1l0IAMbkAwAAVEAAFbAABIACAsSOnQnYAAEZGRscAQgN9YL24AP7wAwDAACsgABbQAPDl"
        "6BTinpyn0noAAADge++99/1AAABSPAAD2W7JqGGHUNAUEgH/2Q=="
    ),
)


def write_high_throughput(folder: Path, spacing: Any, transfer_syntax: str) -> SeriesFiles:
    """Write the series; the syntax says which kind of it the codestreams are."""
    files = write_series(folder, HU, spacing)
    for path, frame in zip(files.paths, _FRAMES, strict=True):
        data = dcmread(path)
        data.file_meta.TransferSyntaxUID = transfer_syntax
        data.PixelData = encapsulate([b64decode(frame)])
        data["PixelData"].is_undefined_length = True
        data.save_as(path)
    return files
