"""Layouts nobody has drawn: nodules from a bank, turned and put into a lung.

    depth of the lung -> draw a shape -> turn it onto the grid -> draw a centre -> does it fit?
                           ^                                                       |
                           +------------- a smaller shape, if it does not ---------+

Random numbers are drawn as integers, so that one seed gives one layout whatever the machine.
"""

import math
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from factory.axes import Triple
from factory.counted import counted
from factory.digests import digest_json
from factory.layouts import LUNG, NODULE
from factory.nodules.bank import NoduleBank, box_of
from factory.nodules.turn import (
    Index,
    TurnedShape,
    draw_rotation,
    overlap,
    surroundings,
    turn_shape,
)

_ALGORITHM = 1
"""Part of every placement digest; raise it when a change moves a voxel."""

MIN_VOXELS_ACROSS = 1.5
_CENTERS_PER_TRY = 16

Matrix = tuple[Triple, Triple, Triple]


class NoRoomError(ValueError):
    """Fewer nodules found room in a lung than were asked for."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PlacementConfig:
    """How many nodules are placed into a lung, and how large they may be."""

    min_nodules: int = 1
    """Fewest nodules of a layout; fewer is an error."""

    max_nodules: int = 3
    """Most nodules of a layout. The number is drawn evenly from the two bounds."""

    min_diameter_mm: float = 4.0
    """Shapes of the bank below this diameter (sphere of the same volume) are not used."""

    max_diameter_mm: float = 30.0
    """Shapes of the bank above this diameter are not used. Above 30 mm it is a mass."""

    margin_mm: float = 1.0
    """Every voxel of a nodule lies further than this from the edge of the lung and from
    other nodules, from centre to centre of the voxels. Nodules never touch, even at 0."""

    max_tries: int = 64
    """Shapes tried for one nodule, each one smaller than the last, before giving up."""

    def __post_init__(self) -> None:
        if not 0 <= self.min_nodules <= self.max_nodules:
            raise ValueError(
                f"min_nodules is {self.min_nodules} and max_nodules is {self.max_nodules}, "
                "expected 0 <= min_nodules <= max_nodules"
            )
        if not 0.0 < self.min_diameter_mm <= self.max_diameter_mm:
            raise ValueError(
                f"min_diameter_mm is {self.min_diameter_mm} and max_diameter_mm is "
                f"{self.max_diameter_mm}, expected 0 < min_diameter_mm <= max_diameter_mm"
            )
        if not 0.0 <= self.margin_mm < math.inf:
            raise ValueError(f"margin_mm is {self.margin_mm}, expected 0 or more")
        if self.max_tries < 1:
            raise ValueError(f"max_tries is {self.max_tries}, expected 1 or more")


@dataclass(frozen=True, slots=True)
class Placement:
    """One nodule as it was placed."""

    bank_name: str
    """Name of its shape in the bank."""

    center_zyx: Index
    """Voxel at which the shape's centre of mass was put."""

    rotation: Matrix
    """Orthogonal, from (z, y, x) of the bank to (z, y, x) of the layout; it may mirror."""

    volume_mm3: float
    """Volume of its voxels in the layout."""


def placement_digest(
    base_layout_sha256: str, bank_digest: str, config: PlacementConfig, seed: int
) -> str:
    """Return 32 hex digits that name a placed layout without drawing it.

    Args:
        base_layout_sha256: Of the voxels of the layout that nodules are placed into. It knows
            nothing of the spacing, so a work item's id needs the case's digest as well.
        bank_digest: `NoduleBank.digest`.
        config: Settings of the placement; `1` and `1.0` mm are the same.
        seed: Seed of the placement.
    """
    settings = {
        name: float(value) if name.endswith("_mm") else int(value)
        for name, value in asdict(config).items()
    }
    return digest_json(
        {
            "algorithm": _ALGORITHM,
            "bank": bank_digest,
            "base_layout": base_layout_sha256,
            "config": settings,
            "seed": int(seed),
        }
    )


def place_nodules(
    layout: NDArray[np.uint8],
    spacing_mm: Triple,
    bank: NoduleBank,
    *,
    seed: int,
    config: PlacementConfig,
) -> tuple[NDArray[np.uint8], list[Placement]]:
    """Place nodules of a bank into the lung of a layout.

    Nodules lie wholly in the lung and touch neither each other nor those that the layout
    already has. A shape keeps its volume on the layout's grid, to half a voxel and at least
    one. Shapes less than 1.5 voxels across (voxel: the cube of the same volume) are used
    only if the bank has no larger ones within the configured diameters.

    Args:
        layout: (z, y, x) uint8 labels with lung. It is not changed.
        spacing_mm: Voxel size (z, y, x) of the layout.
        bank: Shapes to draw from, evenly; after one that does not fit, from smaller ones.
        seed: 0 or more. Layout, spacing, bank digest, seed and config fix every voxel.
        config: How many nodules, and how large.

    Returns:
        The layout with nodules, and one `Placement` for each new one, in the order of placing.

    Raises:
        NoRoomError: Fewer than `min_nodules` found room.
        ValueError: No shape has a configured diameter, or an argument is not what it says.
    """
    spacing = _checked_spacing(layout, spacing_mm)
    shapes = _usable_shapes(bank, spacing, config)
    rng = np.random.Generator(np.random.PCG64(seed))
    room = _Room(layout, spacing, config.margin_mm)
    placed = layout.copy()
    placements: list[Placement] = []
    for _ in range(rng.integers(config.min_nodules, config.max_nodules, endpoint=True)):
        turned, center = _find_room(room, bank, shapes, rng, config.max_tries)
        if center is None:
            if len(placements) < config.min_nodules:
                raise NoRoomError(_no_room(room, turned, config, len(placements)))
            break
        corner = turned.corner(center)
        placed[_window(corner, turned.voxels)][turned.voxels] = NODULE
        room.close(turned.voxels, corner)
        placements.append(_placement(turned, center, spacing))
    return placed, placements


class _Room:
    """The lung of a layout, and what nodules have left of it."""

    def __init__(
        self, layout: NDArray[np.uint8], spacing: NDArray[np.float64], margin_mm: float
    ) -> None:
        lung, nodules = layout == LUNG, layout == NODULE
        self.spacing = spacing
        self.lung_ml = float(np.count_nonzero(lung) * spacing.prod()) / 1000.0
        self._margin_mm = margin_mm
        self._depth_mm = depth_within(lung, spacing)
        self._free = self._depth_mm > margin_mm
        self._index()
        if nodules.any():
            box = box_of(nodules)
            self.close(nodules[box], (box[0].start, box[1].start, box[2].start))

    def _index(self) -> None:
        self._voxels = np.flatnonzero(self._free)
        self._depths = self._depth_mm.ravel()[self._voxels]

    def close(self, voxels: NDArray[np.bool_], corner: Index) -> None:
        """Take a nodule, its neighbours and the margin around it out of the free lung."""
        near, reach = surroundings(voxels, self.spacing, self._margin_mm)
        window, inner = overlap(np.array(corner) - reach, near.shape, self._free.shape)
        self._free[window] &= ~near[inner]
        self._index()

    def draw_center(self, turned: TurnedShape, rng: np.random.Generator) -> Index | None:
        """Return a voxel around which the shape lies in the free lung, if one is soon found."""
        # A shape that lies in the lung leaves the lung at least as deep as itself at its
        # centre. The slack is for the last bits of two square roots.
        centers = self._voxels[self._depths >= turned.depth_mm - 1e-3]
        for _ in range(_CENTERS_PER_TRY if len(centers) else 0):
            flat = centers[rng.integers(len(centers))]
            z, y, x = (int(index) for index in np.unravel_index(flat, self._free.shape))
            if self._holds(turned, turned.corner((z, y, x))):
                return z, y, x
        return None

    def _holds(self, turned: TurnedShape, corner: Index) -> bool:
        # Where the shape reaches over the edge of the grid, the window is cut or empty.
        window = self._free[_window(corner, turned.voxels)]
        return window.shape == turned.voxels.shape and bool(window[turned.voxels].all())


def _checked_spacing(layout: NDArray[np.uint8], spacing_mm: Triple) -> NDArray[np.float64]:
    if layout.ndim != 3 or layout.dtype != np.uint8:
        raise ValueError(f"the layout is {layout.dtype} {layout.shape}, expected uint8 (z, y, x)")
    spacing = np.asarray(spacing_mm, dtype=np.float64)
    if spacing.shape != (3,) or not (np.isfinite(spacing) & (spacing > 0)).all():
        raise ValueError(f"spacing_mm is {spacing_mm}, expected three positive numbers (z, y, x)")
    return spacing


def _usable_shapes(
    bank: NoduleBank, spacing: NDArray[np.float64], config: PlacementConfig
) -> NDArray[np.intp]:
    """Return indices into the bank, smallest shape first."""
    order = np.argsort(bank.diameters_mm, kind="stable")
    diameters = bank.diameters_mm[order]
    inside = (diameters >= config.min_diameter_mm) & (diameters <= config.max_diameter_mm)
    if not inside.any():
        raise ValueError(
            f"the bank's {len(bank)} nodules measure {diameters[0]:.1f} to {diameters[-1]:.1f} mm, "
            f"expected at least one of {config.min_diameter_mm:g} to {config.max_diameter_mm:g} mm; "
            "set min_diameter_mm and max_diameter_mm to what the bank has, or use another bank"
        )
    resolved = inside & (diameters**3 >= MIN_VOXELS_ACROSS**3 * spacing.prod())
    return order[resolved if resolved.any() else inside]


def depth_within(lung: NDArray[np.bool_], spacing: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the distance of each lung voxel to what is not lung, or not in the volume."""
    depth = np.zeros(lung.shape)
    if lung.any():
        box = box_of(lung)
        padded = ndimage.distance_transform_edt(np.pad(lung[box], 1), sampling=spacing)
        depth[box] = padded[1:-1, 1:-1, 1:-1]
    return depth


def _find_room(
    room: _Room,
    bank: NoduleBank,
    shapes: NDArray[np.intp],
    rng: np.random.Generator,
    max_tries: int,
) -> tuple[TurnedShape, Index | None]:
    """Return a shape and where it fits, or the smallest that was tried and None."""
    num_left = len(shapes)
    for _ in range(max_tries):
        rank = int(rng.integers(num_left))
        turned = turn_shape(bank, int(shapes[rank]), draw_rotation(rng), room.spacing)
        center = room.draw_center(turned, rng)
        if center is not None:
            return turned, center
        num_left = max(rank, 1)
    return turned, None


def _placement(turned: TurnedShape, center: Index, spacing: NDArray[np.float64]) -> Placement:
    z, y, x = ((float(row[0]), float(row[1]), float(row[2])) for row in turned.rotation)
    volume_mm3 = float(np.count_nonzero(turned.voxels) * spacing.prod())
    return Placement(turned.name, center, (z, y, x), volume_mm3)


def _window(corner: Index, voxels: NDArray[np.bool_]) -> tuple[slice, ...]:
    return tuple(slice(c, c + n) for c, n in zip(corner, voxels.shape, strict=True))


def _no_room(room: _Room, smallest: TurnedShape, config: PlacementConfig, num_placed: int) -> str:
    return (
        f"{counted(num_placed, 'nodule')} found room in a lung of {room.lung_ml:.1f} ml, expected at least "
        f"{config.min_nodules}; the smallest of {config.max_tries} tries was {smallest.name} of "
        f"{smallest.diameter_mm:.1f} mm. Lower min_nodules, margin_mm or min_diameter_mm, use a "
        "bank with smaller nodules, or check the lung mask"
    )
