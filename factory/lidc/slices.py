"""Which slice of a CT a contour was drawn on."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from factory.dicom.stack import Stack
from factory.errors import CaseError
from factory.lidc.reads import LidcReads

_TOLERANCE = 0.2
"""Of the way to the next slice, by which a contour's height may miss its slice."""


@dataclass(frozen=True, slots=True, eq=False)
class Slices:
    """The slices of a CT by their UIDs and heights."""

    index_of: dict[str, int]
    """Slice of each SOP instance UID."""

    heights_mm: NDArray[np.float64]
    """z of each slice's ImagePositionPatient."""

    tolerance_mm: float
    """By which a contour's height may miss its slice."""

    @classmethod
    def of(cls, reads: LidcReads, stack: Stack) -> "Slices":
        """Return the slices of the CT that the reads are of.

        Raises:
            CaseError: Neither the series' UID nor that of any slice agrees.
        """
        index_of = {uid: k for k, uid in enumerate(stack.sop_uids) if uid}
        drawn_on = {
            contour.sop_uid
            for reader in reads.readers
            for nodule in reader.nodules
            for contour in nodule.contours
        }
        differ = reads.series_uid and stack.series_uid not in ("", reads.series_uid)
        # Heights alone prove nothing: those of two patients agree as often as not.
        if differ and drawn_on.isdisjoint(index_of):
            raise CaseError(
                reads.case_id,
                "the LIDC reads are of another series: neither the series' UID nor that of any slice "
                "agrees; expected reads of this CT. Put the XML beside the CT that it was drawn on.",
            )
        step_mm = float(stack.affine[2, 2])
        heights_mm = stack.affine[2, 3] + step_mm * np.arange(len(stack.sop_uids))
        return cls(index_of, heights_mm, abs(step_mm) * _TOLERANCE)

    def at_height(self, z_mm: float) -> int | None:
        """Return the slice at a height, or None where there is none."""
        away_mm = np.abs(self.heights_mm - z_mm)
        nearest = int(np.argmin(away_mm))
        return nearest if away_mm[nearest] <= self.tolerance_mm else None
