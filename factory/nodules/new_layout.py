"""New layouts by rule: which nodules, how large, where, and what came of it.

    rule, zone, diameter drawn -> a shape of the bank, scaled and turned -> a site by the rule
                  ^                                                            |
                  +-- 15 % smaller after `tries_per_size`, down to the least --+--> none: recorded

Random numbers are drawn as integers, so that one seed gives one layout whatever the machine.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from factory.axes import Triple, ras_from_zyx
from factory.counted import counted
from factory.layouts import NODULE
from factory.nodules.attach import FINDERS, Room, Site
from factory.nodules.bank import NoduleBank
from factory.nodules.diameters import Diameters
from factory.nodules.lung_map import LungMap
from factory.nodules.measure import sphere_diameter_mm
from factory.nodules.place import MIN_VOXELS_ACROSS, NoRoomError
from factory.nodules.rules import ATTACHMENTS, LayoutsConfig
from factory.nodules.turn import Index, TurnedShape, draw_rotation, turn_shape
from factory.nodules.zones import ZONES

_SHRINK = 0.85
_SHOWN = 3
_CUT_PARTS = 1000
_SPARE_WISHES = 8
"""Nodules drawn beyond the number, one after the other, where fewer than the fewest found room."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Wish:
    """What was drawn of a nodule before it was placed."""

    attachment: str
    """One of `ATTACHMENTS`."""

    zone: str
    """One of `ZONES`."""

    wanted_diameter_mm: float
    """Diameter (sphere of the same volume) that was drawn."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NewNodule:
    """One nodule as it was placed; lengths in mm."""

    bank_name: str
    """Name of its shape in the bank."""

    attachment: str
    """Rule that it was placed by."""

    zone: str
    """Zone that its centre was drawn in, or the voxel of pleura or vessel that it touches."""

    wanted_diameter_mm: float
    """Diameter (sphere of the same volume) that was drawn."""

    diameter_mm: float
    """Diameter that it has: smaller where there was no room, or where the grid rounds."""

    scale: float
    """Its shape's edge over the bank's."""

    rotation: tuple[float, ...]
    """3x3 row by row, from (z, y, x) of the bank to (z, y, x) of the layout; it may mirror."""

    center_zyx: Index
    """Voxel at which the shape's centre of mass was put."""

    center_ras_mm: Triple
    """That voxel, (right, anterior, superior)."""

    volume_mm3: float
    """Volume of its voxels."""

    pleura_mm: float
    """From its nearest voxel to what lies outside the lungs, from centre to centre."""

    vessel_mm: float
    """From its nearest voxel to the nearest vessel, 0 where it covers one; -1 where there are none."""

    cut_share: float
    """Share of the shape that lay outside the lung and was cut away."""

    def as_row(self) -> dict[str, Any]:
        """Return plain numbers and lists, as a table stores them."""
        lists = {key: list(getattr(self, key)) for key in _LISTS}
        return {**asdict(self), **lists}


_LISTS = ("rotation", "center_zyx", "center_ras_mm")


@dataclass(frozen=True, slots=True, eq=False)
class NewLayout:
    """A layout made by rule."""

    layout: NDArray[np.uint8]
    """(z, y, x) labels: the case's own, and the new nodules."""

    placed: tuple[NewNodule, ...]
    """In the order of placing."""

    missing: tuple[Wish, ...]
    """Nodules that found no room, at any size."""


def make_layout(
    lungs: LungMap,
    affine: NDArray[np.float64],
    bank: NoduleBank,
    diameters: Diameters,
    *,
    seed: int,
    config: LayoutsConfig,
) -> NewLayout:
    """Add nodules to a case's layout, by rule.

    A nodule for which there is no room at any size is missing. Only where there are then fewer than
    `min_nodules`, others are drawn in its place.

    Args:
        lungs: The case's lungs.
        affine: 4x4 of the case, voxel (i, j, k) to RAS mm.
        bank: Shapes to draw from.
        diameters: How large nodules are.
        seed: 0 or more. Lungs, bank digest, diameters, seed and config fix every voxel.
        config: The rules.

    Raises:
        NoRoomError: Fewer than `min_nodules` found room.
        ValueError: No diameter is left between the bounds, or none of the zones is in the lungs.
    """
    rng = np.random.Generator(np.random.PCG64(seed))
    smallest_mm = least_diameter_mm(lungs.spacing, config)
    sizes = diameters.within(smallest_mm, config.max_diameter_mm)
    zones = {name: _zone_weights(lungs, config, name) for name in ATTACHMENTS}
    room, layout = Room(lungs, config), lungs.layout.copy()
    placed: list[NewNodule] = []
    missing: list[Wish] = []
    num_wanted = int(rng.integers(config.min_nodules, config.max_nodules, endpoint=True))
    for num_drawn in range(num_wanted + _SPARE_WISHES):
        if num_drawn >= num_wanted and len(placed) >= config.min_nodules:
            break
        attachment = _drawn(config.shares.weights(), rng)
        wish = Wish(
            attachment=attachment,
            zone=_drawn(zones[attachment], rng),
            wanted_diameter_mm=float(sizes[rng.integers(sizes.size)]),
        )
        found = _find(room, bank, wish, smallest_mm, rng)
        if found is None:
            missing.append(wish)
            continue
        site, turned, scale = found
        layout[site.window][site.voxels] = NODULE
        room.take(site.window, site.voxels)
        placed.append(_recorded(lungs, affine, wish, site, turned, scale))
    if len(placed) < config.min_nodules:
        raise NoRoomError(_no_room(lungs, config, placed, missing, smallest_mm))
    return NewLayout(layout, tuple(placed), tuple(missing))


def least_diameter_mm(spacing: NDArray[np.float64], config: LayoutsConfig) -> float:
    """Return the smallest diameter in mm that is asked for and that a grid shows."""
    return max(config.min_diameter_mm, MIN_VOXELS_ACROSS * math.cbrt(float(spacing.prod())))


def _find(
    room: Room, bank: NoduleBank, wish: Wish, smallest_mm: float, rng: np.random.Generator
) -> tuple[Site, TurnedShape, float] | None:
    """Return where a nodule fits, and the shape with its scale, at the largest size that does."""
    config, diameter_mm = room.config, wish.wanted_diameter_mm
    zone = ZONES.index(wish.zone) + 1
    if not (room.lungs.zones[_anchors(room.lungs, wish.attachment)] == zone).any():
        return None
    while diameter_mm >= smallest_mm:
        for _ in range(config.tries_per_size):
            cut = 0.0
            if wish.attachment == "pleura":
                cut = int(rng.integers(int(config.max_cut * _CUT_PARTS) + 1)) / _CUT_PARTS
            # What the wall cuts away is added first, so that the diameter is what stays.
            turned, scale = _turned(bank, diameter_mm / math.cbrt(1.0 - cut), room, rng)
            site = FINDERS[wish.attachment](room, turned, zone, cut, rng)
            if site is not None:
                return site, turned, scale
        diameter_mm *= _SHRINK
    return None


def _turned(
    bank: NoduleBank, diameter_mm: float, room: Room, rng: np.random.Generator
) -> tuple[TurnedShape, float]:
    """Return a shape of the bank at a diameter, turned onto the grid, and its scale."""
    ratios = diameter_mm / bank.diameters_mm
    apart = np.maximum(ratios, 1.0 / ratios)
    close = np.flatnonzero(apart <= max(room.config.max_scale, float(apart.min())))
    index = int(close[rng.integers(close.size)])
    # Rounded, so that the last bit of a machine's root cannot move a voxel.
    scale = round(float(ratios[index]), 4)
    scaled = NoduleBank((bank.masks[index],), (bank.names[index],), bank.spacing_mm * scale)
    return turn_shape(scaled, 0, draw_rotation(rng), room.lungs.spacing), scale


def _zone_weights(lungs: LungMap, config: LayoutsConfig, attachment: str) -> dict[str, int]:
    """Return how often each zone is asked for; those that have nothing to attach to are left out."""
    num_voxels = np.bincount(lungs.zones[lungs.lung], minlength=len(ZONES) + 1)
    volumes = {zone: int(num_voxels[number]) for number, zone in enumerate(ZONES, start=1)}
    asked = config.zones.weights()
    if not volumes["left-middle"] and asked:
        # Lobes: what is the middle third of a left lung is for the most part of its upper lobe.
        asked["left-upper"] += asked["left-middle"]
    weights = {zone: asked.get(zone, 0) if asked else n for zone, n in volumes.items() if n}
    if not any(weights.values()):
        found = ", ".join(weights) or "none"
        raise ValueError(
            f"the lungs have the zones {found}, and [layouts.zones] asks for others; expected one of "
            "them. Change the shares"
        )
    anchors = lungs.zones[_anchors(lungs, attachment)]
    has_anchor = np.bincount(anchors, minlength=len(ZONES) + 1) > 0
    there = {zone: n for zone, n in weights.items() if has_anchor[ZONES.index(zone) + 1]}
    # With no vessel in sight any zone will do: the nodule is missing from it.
    return there if any(there.values()) else weights


def _anchors(lungs: LungMap, attachment: str) -> NDArray[np.bool_]:
    """Return the voxels (z, y, x) that a rule begins at."""
    return {"inside": lungs.inner, "pleura": lungs.pleura, "vessel": lungs.vessels}[attachment]


def _drawn(weights: Mapping[str, int], rng: np.random.Generator) -> str:
    """Return a name, each as often as its weight says."""
    ends = np.cumsum(list(weights.values()))
    place = int(rng.integers(ends[-1]))
    return list(weights)[int(np.searchsorted(ends, place, side="right"))]


def _recorded(
    lungs: LungMap,
    affine: NDArray[np.float64],
    wish: Wish,
    site: Site,
    turned: TurnedShape,
    scale: float,
) -> NewNodule:
    volume_mm3 = float(np.count_nonzero(site.voxels) * lungs.spacing.prod())
    z, y, x = site.center
    vessel_mm = float(lungs.vessel_mm[site.window][site.voxels].min())
    return NewNodule(
        **asdict(wish),
        bank_name=turned.name,
        diameter_mm=sphere_diameter_mm(volume_mm3),
        scale=scale,
        rotation=tuple(float(part) for part in turned.rotation.ravel()),
        center_zyx=site.center,
        center_ras_mm=ras_from_zyx(affine, (float(z), float(y), float(x))),
        volume_mm3=volume_mm3,
        pleura_mm=float(lungs.pleura_mm[site.window][site.voxels].min()),
        vessel_mm=vessel_mm if math.isfinite(vessel_mm) else -1.0,
        cut_share=site.cut_share,
    )


def _no_room(
    lungs: LungMap,
    config: LayoutsConfig,
    placed: list[NewNodule],
    missing: list[Wish],
    smallest_mm: float,
) -> str:
    texts = [
        f"{wish.wanted_diameter_mm:.1f} mm {wish.attachment} in {wish.zone}" for wish in missing
    ]
    more = f" and {len(texts) - _SHOWN} more" if len(texts) > _SHOWN else ""
    return (
        f"{counted(len(placed), 'new nodule')} found room in {lungs.lung_ml:.0f} ml of lung, expected at least "
        f"{config.min_nodules}; none was found for {', '.join(texts[:_SHOWN])}{more}, down to {smallest_mm:.1f} mm. Lower "
        "min_nodules or the diameters, change the shares, or check the lung mask"
    )
