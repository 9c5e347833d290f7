"""Where a shape can lie: inside the lung, against the pleura, against a vessel.

inside   a voxel as deep as the shape --> does all of it lie in free lung?
pleura   a voxel of the pleura --inward, until at most a share is outside--> the rest is cut away
vessel   a voxel of a vessel --outward, until the shape only touches it--> as inside
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from factory.layouts import NODULE
from factory.nodules.bank import box_of
from factory.nodules.lung_map import LungMap
from factory.nodules.measure import TOUCHING
from factory.nodules.rules import LayoutsConfig
from factory.nodules.turn import Index, TurnedShape, overlap, surroundings

_PLACES_PER_TRY = 16
_INWARD_MM = 15.0
"""The lung this near to a voxel of the pleura tells where inward is."""
_DIRECTION_RANGE = 1000


@dataclass(frozen=True, slots=True, eq=False)
class Site:
    """Where a shape was found to lie."""

    center: Index
    """Voxel of its centre."""

    window: tuple[slice, ...]
    """Its box, where that overlaps the grid."""

    voxels: NDArray[np.bool_]
    """(z, y, x) of the window: what of the shape becomes nodule."""

    cut_share: float
    """Of the shape's voxels, those that do not."""


class Room:
    """The lung of a case, and what nodules have left of it."""

    def __init__(self, lungs: LungMap, config: LayoutsConfig) -> None:
        self.lungs, self.config = lungs, config
        self.taken = np.zeros(lungs.lung.shape, dtype=bool)
        """Nodules, their neighbours and the margin around them."""
        nodules = lungs.layout == NODULE
        if nodules.any():
            box = box_of(nodules)
            self.take(box, nodules[box])

    def take(self, window: tuple[slice, ...], voxels: NDArray[np.bool_]) -> None:
        """Take a nodule, its neighbours and the margin around it out of the free lung."""
        near, reach = surroundings(voxels, self.lungs.spacing, self.config.margin_mm)
        corner = np.array([along.start for along in window]) - reach
        place, inner = overlap(corner, near.shape, self.taken.shape)
        self.taken[place] |= near[inner]

    def holds(self, site: Site) -> bool:
        """Tell whether a site is free, in the lung, and does not touch its edge, nor nearly."""
        depth = self.lungs.inner_mm[site.window][site.voxels]
        return bool(
            self.lungs.inner[site.window][site.voxels].all()
            and not self.taken[site.window][site.voxels].any()
            and (depth > self.config.margin_mm).all()
        )


Finder = Callable[[Room, TurnedShape, int, float, np.random.Generator], Site | None]


def find_inside(
    room: Room, turned: TurnedShape, zone: int, _: float, rng: np.random.Generator
) -> Site | None:
    """Return a site wholly inside the lung, its centre in a zone; None where none is soon found."""
    lungs = room.lungs
    # The slack is for the last bits of two square roots.
    deep = lungs.inner_mm >= turned.depth_mm - 1e-3
    centers = deep & (lungs.zones == zone) & lungs.inner & ~room.taken
    for center in _drawn(centers, rng):
        site = _site(room, turned, center)
        if site is not None and room.holds(site):
            return site
    return None


def find_at_pleura(
    room: Room, turned: TurnedShape, zone: int, cut: float, rng: np.random.Generator
) -> Site | None:
    """Return a site against the pleura of a zone.

    From a voxel of the pleura the shape is pushed inward, in steps of half a voxel, until at most
    `cut` of it lies outside the lung. That is cut away; what is left is one piece, holds the
    shape's centre, and has a face on what lies outside the lungs.

    Args:
        room: What is free.
        turned: The shape.
        zone: Number of the zone that the voxel of the pleura lies in.
        cut: Largest share of the shape that may be cut away.
        rng: Draws the voxels.
    """
    for start in _drawn((room.lungs.zones == zone) & room.lungs.pleura & ~room.taken, rng):
        site = _pushed_in(room, turned, start, cut)
        if site is not None and _touches_pleura(room, site):
            return site
    return None


def find_at_vessel(
    room: Room, turned: TurnedShape, zone: int, _: float, rng: np.random.Generator
) -> Site | None:
    """Return a site inside the lung that touches a vessel of a zone.

    From a voxel of the vessel the shape is pushed, in a drawn direction and in steps of half a
    voxel, until it leaves that voxel free and still touches it. Of what it covers, at most
    `max_vessel_share` is vessel.
    """
    vessels = room.lungs.vessels
    for start in _drawn((room.lungs.zones == zone) & vessels & ~room.taken, rng):
        site = _pushed_off(room, turned, start, _direction(rng))
        if site is None or not room.holds(site):
            continue
        covered = vessels[site.window][site.voxels].mean()
        if covered <= room.config.max_vessel_share:
            return site
    return None


FINDERS: dict[str, Finder] = {
    "inside": find_inside,
    "pleura": find_at_pleura,
    "vessel": find_at_vessel,
}
"""One for each of `ATTACHMENTS`."""


def _drawn(where: NDArray[np.bool_], rng: np.random.Generator) -> Iterator[Index]:
    voxels = np.flatnonzero(where)
    for _ in range(_PLACES_PER_TRY if voxels.size else 0):
        flat = voxels[rng.integers(voxels.size)]
        z, y, x = (int(index) for index in np.unravel_index(flat, where.shape))
        yield z, y, x


def _site(room: Room, turned: TurnedShape, center: Index) -> Site | None:
    """Return the whole shape around a centre; None where the edge of the grid cuts it."""
    window, voxels = _on_grid(room, turned, center)
    return Site(center, window, voxels, 0.0) if voxels.shape == turned.voxels.shape else None


def _on_grid(
    room: Room, turned: TurnedShape, center: Index
) -> tuple[tuple[slice, ...], NDArray[np.bool_]]:
    """Return where on the grid the shape around a centre lies, and what of it; nothing beyond it."""
    grid: tuple[int, ...] = room.taken.shape
    if not all(0 <= c < n for c, n in zip(center, grid, strict=True)):
        return (slice(0, 0),) * 3, np.zeros((0, 0, 0), dtype=bool)
    window, inner = overlap(np.array(turned.corner(center)), turned.voxels.shape, grid)
    return window, turned.voxels[inner]


def _pushed_in(room: Room, turned: TurnedShape, start: Index, cut: float) -> Site | None:
    """Return the first site, on the way inward, of which no more than a share is cut."""
    lungs, num_voxels = room.lungs, np.count_nonzero(turned.voxels)
    for center in _way(start, _inward(lungs, start), turned, lungs.spacing):
        window, whole = _on_grid(room, turned, center)
        if not whole.size or (whole & room.taken[window]).any():
            return None
        voxels = whole & lungs.lung[window]
        cut_share = 1.0 - np.count_nonzero(voxels) / num_voxels
        if cut_share <= cut:
            return Site(center, window, voxels, cut_share)
    return None


def _touches_pleura(room: Room, site: Site) -> bool:
    at_pleura = room.lungs.pleura[site.window][site.voxels].any()
    center = tuple(c - along.start for c, along in zip(site.center, site.window, strict=True))
    _, num_pieces = ndimage.label(site.voxels, structure=TOUCHING)
    return bool(at_pleura and num_pieces == 1 and _at(site.voxels, center))


def _pushed_off(
    room: Room, turned: TurnedShape, start: Index, direction: NDArray[np.float64]
) -> Site | None:
    """Return the first site, on the way out of a vessel, that leaves a voxel of it free."""
    for center in _way(start, direction, turned, room.lungs.spacing):
        site = _site(room, turned, center)
        if site is None:
            return None
        at = tuple(s - along.start for s, along in zip(start, site.window, strict=True))
        if not _at(site.voxels, at):
            return site if _near(site.voxels, at) else None
    return None


def _at(voxels: NDArray[np.bool_], index: tuple[int, ...]) -> bool:
    return all(0 <= i < n for i, n in zip(index, voxels.shape, strict=True)) and bool(voxels[index])


def _near(voxels: NDArray[np.bool_], index: tuple[int, ...]) -> bool:
    around = tuple(slice(max(i - 1, 0), max(i + 2, 0)) for i in index)
    return bool(voxels[around].any())


def _way(
    start: Index,
    direction: NDArray[np.float64],
    turned: TurnedShape,
    spacing: NDArray[np.float64],
) -> Iterator[Index]:
    """Yield the voxels from a start along a direction (3,) of mm, as far as the shape is long."""
    step_mm = float(spacing.min()) / 2.0
    longest_mm = float(np.sqrt(((np.array(turned.voxels.shape) * spacing) ** 2).sum()))
    last: Index | None = None
    for step in range(int(longest_mm / step_mm) + 2):
        offset = np.rint(direction * (step * step_mm) / spacing).astype(int)
        z, y, x = (int(s + o) for s, o in zip(start, offset, strict=True))
        if last != (z, y, x):
            last = (z, y, x)
            yield last


def _inward(lungs: LungMap, start: Index) -> NDArray[np.float64]:
    """Return the unit direction (3,) from a voxel of the pleura to the middle of the lung near it."""
    reach = np.ceil(_INWARD_MM / lungs.spacing).astype(int)
    window, _ = overlap(np.array(start) - reach, (2 * reach + 1).tolist(), lungs.lung.shape)
    points = np.argwhere(lungs.lung[window]) + [along.start for along in window] - np.array(start)
    # Whole numbers until here: a sum of them is the same on every machine.
    return _unit(points.sum(axis=0) * lungs.spacing)


def _direction(rng: np.random.Generator) -> NDArray[np.float64]:
    length = 0
    # Points of a ball, not of its cube: only those make every direction as likely.
    while not 0 < length <= _DIRECTION_RANGE**2:
        vector = rng.integers(-_DIRECTION_RANGE, _DIRECTION_RANGE, 3, endpoint=True)
        length = int((vector**2).sum())
    return _unit(vector.astype(np.float64))


def _unit(vector: NDArray[np.float64]) -> NDArray[np.float64]:
    length = float(np.sqrt((vector**2).sum()))
    return np.asarray(vector / length if length > 0.0 else vector)
