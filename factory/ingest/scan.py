"""The CT of a case, from one file or from a DICOM series."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from factory.axes import Triple, spacing_zyx
from factory.dicom.stack import Stack
from factory.errors import CaseError, FactoryError
from factory.ingest.nifti import has_orientation, read_ct
from factory.ingest.sources import SourceCase


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Scan:
    """A CT in closest-canonical orientation."""

    case_id: str
    ct: NDArray[np.int16]
    """(z, y, x) HU."""
    affine: NDArray[np.float64]
    """4x4, voxel (i, j, k) to RAS mm."""
    stack: Stack | None
    """The slices as they were stored, where the CT is a DICOM series: what masks are drawn on."""
    notes: tuple[str, ...]
    """What was repaired or assumed."""

    @property
    def spacing_mm(self) -> Triple:
        """Voxel size (z, y, x)."""
        return spacing_zyx(self.affine)


def read_scan(source: SourceCase) -> Scan:
    """Read the CT of a case.

    Raises:
        CaseError: It cannot be read, or is no CT in HU.
    """
    if source.series:
        return _read_series(source)
    ct, affine = read_ct(source.case_id, source.ct)
    oriented = has_orientation(source.ct)
    return Scan(
        case_id=source.case_id,
        ct=ct,
        affine=affine,
        stack=None,
        notes=() if oriented else ("no orientation in the header: assumed",),
    )


def _read_series(source: SourceCase) -> Scan:
    # Loaded late: most workers never read DICOM.
    from factory.dicom.find import series_of
    from factory.dicom.read import read_stack

    with _naming(source.case_id):
        series = series_of(Path(path) for path in source.series)
        stack = read_stack(source.case_id, series)
        return Scan(
            case_id=source.case_id,
            ct=stack.canonical(stack.ct_hu),
            affine=stack.canonical_affine,
            stack=stack,
            notes=stack.notes,
        )


@contextmanager
def _naming(case_id: str) -> Iterator[None]:
    """Name the case in an error that does not: readers of DICOM know files, not cases."""
    try:
        yield
    except CaseError:
        raise
    except FactoryError as error:
        raise CaseError(case_id, str(error)) from error
