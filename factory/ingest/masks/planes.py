"""Planes of contours onto slices, and the slices between that nobody outlined.

plane --nearest--> slice --even-odd--> pixels of the contours' box
two planes, a few mm apart --what overlaps--> the slices between

Many outline every second slice, or the slices of a thicker series, and mean what lies between.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from factory.counted import counted
from factory.errors import CaseError
from factory.ingest.masks.annotation import Mask
from factory.ingest.masks.polygon import Points, box_of, fill, num_crossings

_BRIDGED_MM = 10.0
"""Outlines this far apart belong together; so does every second slice, however thick it is."""

_BESIDE = 0.1
"""Of the distance between slices: the slices of a scan may themselves lie so far beside an even grid."""

_MAX_STEPS = 100_000_000
"""Rows crossed by all edges together, and pixels filled; what takes seconds, not hours."""

_PIXELS_A_STEP = 16
"""A pixel is filled in so much less time than a crossing is found."""

_TOUCHING = np.ones((3, 3), dtype=np.bool_)

Corner = tuple[int, int]


@dataclass(frozen=True, slots=True)
class _Plane:
    index: int
    corner: Corner
    """(row, column) of the first pixel of the contours' box."""
    inside: Mask
    """(row, column) of the box."""

    def draw(self, mask: Mask) -> None:
        """Add this plane to a (row, column) slice."""
        (row, column), (rows, columns) = self.corner, self.inside.shape
        mask[row : row + rows, column : column + columns] |= self.inside

    def window(self, corner: Corner, size: Corner) -> tuple[slice, slice]:
        """Return where a box of the slice lies in this one's."""
        (row, column), (rows, columns) = np.subtract(corner, self.corner).tolist(), size
        return slice(row, row + rows), slice(column, column + columns)

    def pieces_at(self, window: tuple[slice, slice], pixels: Mask) -> "_Plane":
        """Return the connected pieces alone that have some of the pixels of a window."""
        pieces, num_pieces = ndimage.label(self.inside, structure=_TOUCHING)
        wanted = np.zeros(num_pieces + 1, dtype=np.bool_)
        wanted[pieces[window][pixels]] = True
        return _Plane(self.index, self.corner, wanted[pieces])


@dataclass(kw_only=True, slots=True)
class PlaneDrawing:
    """Draws the structures of one file, and counts what it did."""

    case_id: str
    kind: str
    """Of the file, for messages: `RTSTRUCT`."""
    slice_mm: float
    """Between two slices."""
    num_steps: int = 0
    num_bridged: int = 0
    """Slices filled between outlines."""
    num_open: int = 0
    """Gaps that are too wide for that."""
    num_drawn: int = 0
    """Planes drawn on a slice."""
    num_beside: int = 0
    """Of them, those that lie between two slices."""
    furthest: float = 0.0
    """Of them, from its slice; in slices."""

    def draw(self, planes: Mapping[float, list[Points]], mask: Mask) -> None:
        """Fill, on each slice, the plane that is nearest to it, and what lies between two planes.

        Args:
            planes: Contours (n, 2) of one structure in (row, column) pixels, by the place of
                their plane among the slices.
            mask: (slice, row, column), drawn into.

        Raises:
            CaseError: All structures so far take more work than one file may.
        """
        before: _Plane | None = None
        for k, at in _nearest(planes, len(mask)):
            plane = self._filled(k, planes[at], (mask.shape[1], mask.shape[2]))
            plane.draw(mask[k])
            self._count(abs(at - k))
            if before is not None and k - before.index > 1:
                self._bridge(before, plane, mask)
            before = plane

    def notes(self) -> Iterator[str]:
        """Say what was moved, what was filled, and what was not."""
        if self.num_beside:
            yield (
                f"{self.kind}: contours of {self.num_beside} of {counted(self.num_drawn, 'plane')} lie up to "
                f"{self.furthest * self.slice_mm:.1f} mm from the slice that they are drawn on"
            )
        if self.num_bridged:
            yield (
                f"{self.kind}: {counted(self.num_bridged, 'slice')} between contours of one structure filled "
                "from the nearest of them"
            )
        if self.num_open:
            yield (
                f"{self.kind}: {counted(self.num_open, 'gap')} of more than {_BRIDGED_MM:g} mm between contours "
                "of one structure left open"
            )

    def _count(self, beside: float) -> None:
        self.num_drawn += 1
        if beside > _BESIDE:
            self.num_beside += 1
            self.furthest = max(self.furthest, beside)

    def _filled(self, k: int, contours: list[Points], shape: tuple[int, int]) -> _Plane:
        corner, size = box_of(contours, shape)
        crossings = num_crossings(contours, shape[0])
        self._take(crossings + size[0] * size[1] // _PIXELS_A_STEP)
        return _Plane(k, corner, fill([points - corner for points in contours], size))

    def _bridge(self, before: _Plane, after: _Plane, mask: Mask) -> None:
        """Fill the slices between two planes with the pieces that overlap, each from the nearer plane."""
        corner, size = _common(before, after)
        windows = before.window(corner, size), after.window(corner, size)
        shared = before.inside[windows[0]] & after.inside[windows[1]]
        if not shared.any():
            return
        num_slices = after.index - before.index
        if num_slices > 2 and num_slices * self.slice_mm > _BRIDGED_MM:
            self.num_open += 1
            return
        num_pixels = max(before.inside.size, after.inside.size) * num_slices
        self._take(num_pixels // _PIXELS_A_STEP)
        lower, upper = before.pieces_at(windows[0], shared), after.pieces_at(windows[1], shared)
        for k in range(before.index + 1, after.index):
            (lower if k - before.index <= after.index - k else upper).draw(mask[k])
        self.num_bridged += num_slices - 1

    def _take(self, num_steps: int) -> None:
        self.num_steps += num_steps
        if self.num_steps > _MAX_STEPS:
            raise CaseError(
                self.case_id,
                f"its {self.kind} takes more than {_MAX_STEPS} steps to draw; expected fewer edges and "
                "pixels. Draw it with fewer points, or export only the lungs and nodules.",
            )


def _common(one: _Plane, two: _Plane) -> tuple[Corner, Corner]:
    """Return the first pixel (row, column) and the shape of what two boxes share; it may be nothing."""
    first = np.maximum(one.corner, two.corner)
    ends = (np.add(plane.corner, plane.inside.shape) for plane in (one, two))
    rows, columns = np.maximum(np.minimum(*ends) - first, 0).tolist()
    return (int(first[0]), int(first[1])), (rows, columns)


def _nearest(planes: Mapping[float, list[Points]], num_slices: int) -> list[tuple[int, float]]:
    """Return the slices that are drawn on, in their order, each with the plane nearest to it."""
    nearest: dict[int, float] = {}
    for at in sorted(planes):
        k = int(np.clip(np.rint(at), 0, num_slices - 1))
        if k not in nearest or abs(at - k) < abs(nearest[k] - k):
            nearest[k] = at
    return list(nearest.items())
