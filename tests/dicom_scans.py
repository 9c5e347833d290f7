"""Phantoms as DICOM series, with what readers drew on them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from dicom_files import SeriesFiles, write_series

from factory.axes import to_orientation
from factory.dicom.find import series_of
from factory.dicom.read import read_stack
from factory.dicom.stack import Stack
from factory.phantom import Phantom, draw_phantom

SCAN_SIZE = (30, 48, 64)
STORED = "SPL"
"""Slices from the feet up, rows to the back, columns to the patient's left."""


@dataclass(frozen=True, kw_only=True)
class DicomScan:
    """A phantom and the files that hold it."""

    drawn: Phantom
    files: SeriesFiles

    @property
    def stack(self) -> Stack:
        """The series as it is read."""
        return read_stack("phantom", series_of(self.files.paths))

    def stored(self, mask: np.ndarray) -> np.ndarray:
        """Return a (z, y, x) mask of the phantom on the series' own slices."""
        return to_orientation(mask, STORED)


def write_dicom_scan(
    folder: Path, seed: int, *, size: tuple[int, int, int] = SCAN_SIZE, **changes: Any
) -> DicomScan:
    """Write one phantom as a DICOM series.

    Args:
        folder: Made where it is not there.
        seed: Of the phantom.
        size: Voxels (z, y, x).
        changes: See `write_series`.
    """
    drawn = draw_phantom(seed, size=size)
    return DicomScan(
        drawn=drawn,
        files=write_series(
            folder, to_orientation(drawn.ct, STORED), stored_affine(drawn), **changes
        ),
    )


def stored_affine(drawn: Phantom) -> np.ndarray:
    """Return the 4x4 of a phantom that is stored as `STORED`."""
    z_mm, y_mm, x_mm = drawn.spacing_mm
    affine = np.diag([-x_mm, -y_mm, z_mm, 1.0])
    _, rows, columns = drawn.ct.shape
    affine[:3, 3] = (drawn.affine @ [columns - 1, rows - 1, 0, 1])[:3]
    return affine
