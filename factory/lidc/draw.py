"""Each reader's nodules as voxels on the slices of a CT."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from factory.counted import counted
from factory.dicom.stack import Stack
from factory.errors import CaseError
from factory.lidc.outline import enclosed, on_outline
from factory.lidc.reads import Contour, LidcReads, Ratings, ReadNodule
from factory.lidc.slices import Slices

_VOXELS_AT_MOST = 1 << 26
"""In the boxes around all contours and all reads of a CT: five times those of the fullest."""
_STEPS_AT_MOST = 100_000
"""Of one outline. Readers draw from pixel to neighbour; one that jumps about is no outline."""

_ADVICE = "Check that the XML is of this CT, or leave it out."
_ABSENT = "contour", "on slices that the CT lacks: left out"
_BY_HEIGHT = "contour", "placed by height: no slice has the UID"
_NOWHERE = "outlined nodule", "wholly on slices that the CT lacks: left out"
_EMPTY = "outlined nodule", "without a voxel inside: left out"

Corner = tuple[int, int, int]
Placed = Sequence[tuple[int, Contour]]
"""Contours, each with its slice."""


@dataclass(frozen=True, kw_only=True, eq=False)
class DrawnRead:
    """One reader's outline of one nodule, as voxels of the CT."""

    reader: int
    """Place of the reader in the file, from 0."""

    ratings: Ratings
    """Of this reader."""

    corner: Corner
    """(slice, row, column) of the first voxel of `mask`."""

    mask: NDArray[np.bool_]
    """(slice, row, column), cut to the box around its voxels; not empty."""

    @cached_property
    def num_voxels(self) -> int:
        """Voxels of the read."""
        return int(np.count_nonzero(self.mask))


def draw_reads(reads: LidcReads, stack: Stack) -> tuple[list[DrawnRead], list[str]]:
    """Draw the outlined nodules of all readers.

    A contour lies on the slice with its SOP instance UID, else on the one at its height. Drawn
    pixels are not nodule, neither those around a nodule nor those around a hole in it: what an
    exclusion encloses is taken out together with its outline.

    LIDC's annotated XML (March 2010) calls an outline the first voxel just outside the nodule. It
    says nothing of exclusions; that their outlines are no nodule either is how pylidc reads them.

    Args:
        reads: Of this CT.
        stack: The CT.

    Returns:
        The reads that enclose a voxel, in the order of the file. And notes: on contours whose
        slice the CT lacks or that were placed by their height, on nodules of which nothing is left.

    Raises:
        CaseError: The reads are of another series, a contour leaves the image or is no outline,
            or the reads take more room than nodules do.
    """
    canvas = _Canvas(reads.case_id, Slices.of(reads, stack), stack.ct_hu.shape)
    drawn = [
        canvas.draw(place, rank, nodule)
        for place, reader in enumerate(reads.readers)
        for rank, nodule in enumerate(reader.nodules, start=1)
    ]
    notes = [
        f"{counted(count, noun)} {what}" for (noun, what), count in sorted(canvas.told.items())
    ]
    return [read for read in drawn if read is not None], notes


class _Canvas:
    """Where reads are drawn: the slices, and how much may still be drawn on them."""

    def __init__(self, case_id: str, slices: Slices, shape: tuple[int, ...]) -> None:
        self.case_id = case_id
        self.slices = slices
        self.shape = shape
        self.room = _VOXELS_AT_MOST
        self.told: Counter[tuple[str, str]] = Counter()

    def draw(self, reader: int, rank: int, nodule: ReadNodule) -> DrawnRead | None:
        where = f"LIDC reader {reader + 1}, outlined nodule {rank}"
        placed = self._placed(nodule.contours)
        if not placed:
            self.told[_NOWHERE] += 1
            return None
        corner, mask = self._empty(where, placed)
        # Inclusions first: a hole is a hole whichever of them was written first.
        for k, contour in sorted(placed, key=lambda item: not item[1].inclusion):
            self._add(where, contour, mask[k - corner[0]], corner)
        if not mask.any():
            self.told[_EMPTY] += 1
            return None
        return _cut(reader, nodule.ratings, corner, mask)

    def _placed(self, contours: Sequence[Contour]) -> Placed:
        placed = []
        for contour in contours:
            k = self.slices.index_of.get(contour.sop_uid)
            if k is None:
                k = self.slices.at_height(contour.z_mm)
                self.told[_ABSENT if k is None else _BY_HEIGHT] += 1
            if k is not None:
                placed.append((k, contour))
        return placed

    def _empty(self, where: str, placed: Placed) -> tuple[Corner, NDArray[np.bool_]]:
        """Return corner and voxels of the box around all contours of a read."""
        edge = np.array([pixel for _, contour in placed for pixel in contour.edge])
        low, high = edge.min(axis=0), edge.max(axis=0)
        if low.min() < 0 or high[0] >= self.shape[1] or high[1] >= self.shape[2]:
            raise CaseError(
                self.case_id,
                f"{where} has pixels (row, column) from ({low[0]}, {low[1]}) to ({high[0]}, {high[1]}); "
                f"expected them within the {self.shape[1]} x {self.shape[2]} image. {_ADVICE}",
            )
        first, last = min(k for k, _ in placed), max(k for k, _ in placed)
        rows, columns = (int(n) for n in high - low + 1)
        self._take(where, (last - first + 1) * rows * columns)
        mask = np.zeros((last - first + 1, rows, columns), np.bool_)
        return (first, int(low[0]), int(low[1])), mask

    def _add(self, where: str, contour: Contour, image: NDArray[np.bool_], corner: Corner) -> None:
        """Draw one contour on its slice of a read's box."""
        edge = np.array(contour.edge, np.int64) - corner[1:]
        num_steps = int(np.abs(np.roll(edge, -1, axis=0) - edge).max(axis=1).sum())
        if num_steps > _STEPS_AT_MOST:
            raise CaseError(
                self.case_id,
                f"{where} has an outline of {num_steps} pixels' length; expected one that goes round "
                f"a nodule, at most {_STEPS_AT_MOST}. {_ADVICE}",
            )
        low, high = edge.min(axis=0), edge.max(axis=0) + 1
        part = image[low[0] : high[0], low[1] : high[1]]
        self._take(where, part.size)
        inside = enclosed(edge - low, part.shape)
        if contour.inclusion:
            part |= inside
        else:
            part &= ~inside
            part[on_outline(edge - low)] = False

    def _take(self, where: str, num_voxels: int) -> None:
        self.room -= num_voxels
        if self.room < 0:
            raise CaseError(
                self.case_id,
                f"{where}: the boxes around all contours have more than {_VOXELS_AT_MOST} voxels; "
                f"expected those around nodules. {_ADVICE}",
            )


def _cut(reader: int, ratings: Ratings, corner: Corner, mask: NDArray[np.bool_]) -> DrawnRead:
    """Return a read, its mask cut to the box around its voxels."""
    hits = [np.flatnonzero(mask.any(axis=others)) for others in ((1, 2), (0, 2), (0, 1))]
    window = tuple(slice(int(hit[0]), int(hit[-1]) + 1) for hit in hits)
    z, y, x = (at + along.start for at, along in zip(corner, window, strict=True))
    return DrawnRead(reader=reader, ratings=ratings, corner=(z, y, x), mask=mask[window].copy())
