"""Small series to be read as stacks, and why one could not be."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dicom_files import write_series

from factory.dicom.find import find_series
from factory.dicom.read import read_stack
from factory.dicom.series import SeriesFindings
from factory.dicom.stack import Stack
from factory.errors import CaseError

SPACING = (2.0, 0.7, 0.8)
ROWS, COLUMNS = 10, 12

StackOf = Callable[..., Stack]


def hu(num: int = 6, *, seed: int = 0, rows: int = ROWS, columns: int = COLUMNS) -> np.ndarray:
    """Return slices of HU, one unlike the other."""
    return np.random.default_rng(seed).integers(-1000, 1500, (num, rows, columns)).astype(np.int16)


def smooth(num: int = 6, rows: int = ROWS, columns: int = COLUMNS) -> np.ndarray:
    """Return HU that change linearly along each axis, so that interpolation is exact."""
    z, y, x = np.meshgrid(*map(np.arange, (num, rows, columns)), indexing="ij")
    return (-1000 + 20 * z + 7 * y + 11 * x).astype(np.int16)


def written_stack(folder: Path, ct: np.ndarray, affine: Any = SPACING, **changes: Any) -> Stack:
    """Write a series, find it and read it."""
    write_series(folder, ct, affine, **changes)
    (series,) = find_series(folder).series
    return read_stack("a", series)


def problem(stack_of: StackOf, *given: Any, **changes: Any) -> str:
    """Return why a series could not be read."""
    with pytest.raises(CaseError) as caught:
        stack_of(*given, **changes)
    return str(caught.value)


def ramp_hu(num: int = 5, rows: int = 8, columns: int = 6) -> np.ndarray:
    """Return slices of HU that rise from the first voxel to the last."""
    ramp = np.linspace(-1000, 400, num * rows * columns)
    return ramp.reshape(num, rows, columns).astype(np.int16)


def reasons(findings: SeriesFindings) -> list[str]:
    """Return why series were left out."""
    return [left.reason for left in findings.left_out]
