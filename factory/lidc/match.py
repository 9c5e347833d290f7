"""Which reads of different readers are one nodule.

LIDC gives nodules no name that readers share. Two reads of different readers are linked where
they share a voxel, or come as close as one slice to the next. Links are followed from the best
overlap (intersection over union) to the widest gap, and two groups become one nodule unless that
gives a reader two reads of it.

A reader may have drawn in pieces what another drew as a whole. Where a link was refused, the
groups are one nodule all the same if at least as many readers drew a whole (one read, which
covers half or more of a read on the other side) as drew pieces (reads on both sides). The pieces
of a reader are then united, and rated as the largest.

Nothing depends on the order of readers or nodules in the file.
"""

import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from factory.axes import Triple
from factory.lidc.draw import DrawnRead

_COVERED = 0.5
"""Share of a piece's voxels that a read must hold to be the whole of which it is a piece."""


@dataclass(frozen=True, slots=True, order=True)
class _Link:
    """Two reads that may be one nodule; the smallest link is the best."""

    less_iou: float
    """1 - intersection over union."""
    apart_mm: float
    """From centre to centre."""
    a: int
    b: int


_Rule = Callable[[list[int], list[int]], bool]
"""Whether two groups of reads are one nodule."""


def match_reads(
    reads: Sequence[DrawnRead], spacing_mm: Triple, reach_mm: float
) -> list[tuple[DrawnRead, ...]]:
    """Group the reads that are one nodule.

    Args:
        reads: Of all readers, on one grid.
        spacing_mm: Voxel size (slice, row, column).
        reach_mm: Between the nearest voxels of two reads that may be one nodule without sharing
            a voxel.

    Returns:
        The reads of each nodule, at most one of a reader, largest first; nodules in the order
        of their largest read.
    """
    reads = sorted(reads, key=_content)
    shared = _shared_voxels(reads)
    links = sorted(_links(reads, shared, spacing_mm, reach_mm))
    groups = _Groups(reads, shared)
    for link in links:
        groups.unite_if(link, groups.are_of_different_readers)
    for link in links:
        groups.unite_if(link, groups.are_pieces_of_a_whole)
    return [tuple(_one_of_each_reader([reads[i] for i in group])) for group in groups.in_order()]


class _Groups:
    """The reads of each nodule so far, by their place among all reads."""

    def __init__(self, reads: Sequence[DrawnRead], shared: NDArray[np.int64]) -> None:
        self._reads = reads
        self._shared = shared
        self._of = [[i] for i in range(len(reads))]

    def unite_if(self, link: _Link, allowed: _Rule) -> None:
        a, b = self._of[link.a], self._of[link.b]
        if a is not b and allowed(a, b):
            a.extend(b)
            for i in b:
                self._of[i] = a

    def are_of_different_readers(self, a: list[int], b: list[int]) -> bool:
        return self._readers(a).isdisjoint(self._readers(b))

    def are_pieces_of_a_whole(self, a: list[int], b: list[int]) -> bool:
        in_pieces = self._readers(a) & self._readers(b)
        as_whole = self._readers(self._covering(a, b) + self._covering(b, a)) - in_pieces
        return len(as_whole) >= len(in_pieces)

    def in_order(self) -> list[list[int]]:
        """Return each group once, its reads and the groups by the order of the reads."""
        unique = {id(group): group for group in self._of}
        return sorted(sorted(group) for group in unique.values())

    def _readers(self, group: list[int]) -> set[int]:
        return {self._reads[i].reader for i in group}

    def _covering(self, wholes: list[int], pieces: list[int]) -> list[int]:
        sizes = np.array([self._reads[j].num_voxels for j in pieces])
        covered = self._shared[np.ix_(wholes, pieces)] >= _COVERED * sizes
        return [wholes[i] for i in np.flatnonzero(covered.any(axis=1))]


def box_around(reads: Sequence[DrawnRead]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the first (slice, row, column) of the box around all reads, and its shape."""
    low = np.min([read.corner for read in reads], axis=0)
    high = np.max([np.add(read.corner, read.mask.shape) for read in reads], axis=0)
    return low, high - low


def window_in(read: DrawnRead, corner: NDArray[np.int64]) -> tuple[slice, ...]:
    """Return where a read's mask lies in a box that starts at `corner`."""
    start = np.subtract(read.corner, corner)
    return tuple(slice(at, at + n) for at, n in zip(start, read.mask.shape, strict=True))


def num_shared(a: DrawnRead, b: DrawnRead) -> int:
    """Return how many voxels two reads share."""
    low = np.maximum(a.corner, b.corner)
    high = np.minimum(np.add(a.corner, a.mask.shape), np.add(b.corner, b.mask.shape))
    if (low >= high).any():
        return 0
    parts = [read.mask[tuple(map(slice, low - read.corner, high - read.corner))] for read in (a, b)]
    return int(np.count_nonzero(parts[0] & parts[1]))


def _content(read: DrawnRead) -> tuple[object, ...]:
    """Order reads by what they are, never by whose they are: the largest first."""
    ratings = tuple(rating or 0 for rating in read.ratings.values())
    return -read.num_voxels, read.corner, read.mask.shape, ratings, read.mask.tobytes()


def _shared_voxels(reads: Sequence[DrawnRead]) -> NDArray[np.int64]:
    shared = np.zeros((len(reads), len(reads)), np.int64)
    for i, j in itertools.combinations(range(len(reads)), 2):
        shared[i, j] = shared[j, i] = num_shared(reads[i], reads[j])
    return shared


def _links(
    reads: Sequence[DrawnRead],
    shared: NDArray[np.int64],
    spacing_mm: Triple,
    reach_mm: float,
) -> Iterator[_Link]:
    centres_mm = [_centre(read) * spacing_mm for read in reads]

    @functools.cache
    def halo(i: int) -> DrawnRead:
        return _halo(reads[i], spacing_mm, reach_mm)

    for i, j in itertools.combinations(range(len(reads)), 2):
        both = int(shared[i, j])
        if reads[i].reader == reads[j].reader or not (both or num_shared(halo(i), reads[j])):
            continue
        either = reads[i].num_voxels + reads[j].num_voxels - both
        apart_mm = float(np.linalg.norm(centres_mm[i] - centres_mm[j]))
        yield _Link(1.0 - both / either, apart_mm, i, j)


def _halo(read: DrawnRead, spacing_mm: Triple, reach_mm: float) -> DrawnRead:
    """Return a read with every voxel within reach of it."""
    pad = np.ceil(np.divide(reach_mm, spacing_mm)).astype(int)
    padded = np.pad(read.mask, np.stack([pad, pad], axis=1))
    # A nanometre: neighbours are to be within reach of each other however spacings round.
    near = ndimage.distance_transform_edt(~padded, sampling=spacing_mm) <= reach_mm + 1e-6
    z, y, x = (int(at) for at in np.subtract(read.corner, pad))
    return replace(read, corner=(z, y, x), mask=near)


def _centre(read: DrawnRead) -> NDArray[np.float64]:
    return np.add(read.corner, np.mean(np.nonzero(read.mask), axis=1))


def _one_of_each_reader(reads: Sequence[DrawnRead]) -> list[DrawnRead]:
    pieces: dict[int, list[DrawnRead]] = {}
    for read in reads:
        pieces.setdefault(read.reader, []).append(read)
    return sorted(map(_united, pieces.values()), key=_content)


def _united(pieces: list[DrawnRead]) -> DrawnRead:
    """Return the pieces of one reader as one read, rated as the first of them."""
    if len(pieces) == 1:
        return pieces[0]
    corner, shape = box_around(pieces)
    mask = np.zeros(shape, np.bool_)
    for piece in pieces:
        mask[window_in(piece, corner)] |= piece.mask
    z, y, x = (int(at) for at in corner)
    return replace(pieces[0], corner=(z, y, x), mask=mask)
