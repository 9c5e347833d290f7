"""By which rules new layouts are made: how many nodules, how large, where and attached to what."""

import math
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from factory.errors import UsageError
from factory.nodules.diameters import diameters_of

ATTACHMENTS = ("inside", "pleura", "vessel")
"""What a nodule may be placed by: wholly inside the lung, against the pleura, against a vessel."""

ALGORITHM = 1
"""Part of what a folder of layouts was made with; raise it when a change moves a voxel."""

_PARTS = 1_000_000
"""Shares are drawn by as whole numbers of these."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AttachmentShares:
    """How often a nodule is asked for by each rule, in parts of their sum."""

    inside: float = 0.6
    """Wholly inside the lung, at least `margin_mm` from its edge."""

    pleura: float = 0.25
    """Against the pleura, with at most `max_cut` of it cut away by the wall."""

    vessel: float = 0.15
    """Against a vessel, otherwise as `inside`."""

    def __post_init__(self) -> None:
        _check_shares(self, needed=True)

    def weights(self) -> dict[str, int]:
        """Return the share of each rule as a whole number."""
        return {name: _part(share) for name, share in asdict(self).items()}


@dataclass(frozen=True, kw_only=True, slots=True)
class ZoneShares:
    """How often a nodule is asked for in each zone, in parts of their sum.

    All 0, which is the default, takes zones by their volume, so that every part of the lungs is as
    likely. Where lobes are given, `left_middle` counts for the left upper lobe, which has the lingula.
    """

    right_upper: float = 0.0
    """Upper third of the right lung, or its upper lobe."""

    right_middle: float = 0.0
    """Middle third of the right lung, or its middle lobe."""

    right_lower: float = 0.0
    """Lower third of the right lung, or its lower lobe."""

    left_upper: float = 0.0
    """Upper third of the left lung, or its upper lobe."""

    left_middle: float = 0.0
    """Middle third of the left lung."""

    left_lower: float = 0.0
    """Lower third of the left lung, or its lower lobe."""

    def __post_init__(self) -> None:
        _check_shares(self, needed=False)

    def weights(self) -> dict[str, int]:
        """Return the share of each zone as a whole number; empty where all are 0."""
        shares = {name.replace("_", "-"): _part(share) for name, share in asdict(self).items()}
        return shares if any(shares.values()) else {}


@dataclass(frozen=True, kw_only=True, slots=True)
class LayoutsConfig:
    """Settings of the `layouts` job."""

    min_nodules: int = 1
    """Fewest new nodules of a layout; one that has room for fewer is given up."""

    max_nodules: int = 3
    """Most new nodules of a layout. The number is drawn evenly from the two bounds."""

    diameters: str = "LIDC"
    """Where diameters are drawn from: `LIDC`, `uniform:LOW:HIGH`, `lognormal:MEDIAN:SIGMA`, or a
    CSV with a column `diameter_mm`."""

    min_diameter_mm: float = 4.0
    """Diameters below are not drawn, nor those that the grid cannot show: a nodule is at least 1.5
    voxels across (voxel: the cube of the same volume)."""

    max_diameter_mm: float = 30.0
    """Diameters above are not drawn. Above 30 mm it is a mass."""

    shares: AttachmentShares = field(default_factory=AttachmentShares)
    """How often each rule is asked for."""

    zones: ZoneShares = field(default_factory=ZoneShares)
    """How often each part of the lungs is asked for."""

    margin_mm: float = 1.0
    """Every voxel of a nodule lies further than this from other nodules, and, unless it is placed
    against the pleura, from the edge of the lung; from centre to centre of the voxels. Even at 0 it
    touches neither."""

    max_cut: float = 0.25
    """Largest share of a nodule at the pleura that lies outside the lung and is cut away."""

    max_vessel_share: float = 0.25
    """Largest share of a nodule at a vessel that covers vessels."""

    max_scale: float = 1.5
    """Shapes of the bank are enlarged or shrunk by no more than this, where it has one so close."""

    tries_per_size: int = 12
    """Shapes tried at each size before a nodule is made 15 % smaller."""

    vessel_hu: float = -500.0
    """Voxels of the lung above this are vessels, where they hang together."""

    vessel_border_mm: float = 5.0
    """Voxels nearer than this to the lung's edge are no vessels: they share a voxel with the wall."""

    hilum_mm: float = 10.0
    """Voxels nearer than this to the mediastinum are hilum, and no vessel to place nodules at."""

    def __post_init__(self) -> None:
        whole = 0 <= self.min_nodules <= self.max_nodules and self.max_nodules >= 1
        sizes = 0.0 < self.min_diameter_mm <= self.max_diameter_mm < math.inf
        for names, right, expected in (
            (("min_nodules", "max_nodules"), whole, "0 <= min_nodules <= max_nodules, at least 1"),
            (("min_diameter_mm", "max_diameter_mm"), sizes, "0 < minimum <= maximum, in mm"),
            (("margin_mm",), 0.0 <= self.margin_mm < math.inf, "0 or more, in mm"),
            (("vessel_border_mm",), 0.0 <= self.vessel_border_mm < math.inf, "0 or more, in mm"),
            (("hilum_mm",), 0.0 <= self.hilum_mm < math.inf, "0 or more, in mm"),
            (("max_cut",), 0.0 <= self.max_cut <= 0.5, "a share from 0 to 0.5"),
            (("max_vessel_share",), 0.0 <= self.max_vessel_share <= 1.0, "a share from 0 to 1"),
            (("max_scale",), 1.0 <= self.max_scale < math.inf, "1 or more"),
            (("tries_per_size",), self.tries_per_size >= 1, "1 or more"),
            (("vessel_hu",), -1024.0 <= self.vessel_hu <= 3071.0, "HU from -1024 to 3071"),
        ):
            if not right:
                found = " and ".join(f"{name} = {getattr(self, name)}" for name in names)
                raise ValueError(f"found {found}; expected {expected}. Correct the recipe")
        if not self.diameters.endswith(".csv"):
            _check_diameters(self.diameters)


def _check_diameters(text: str) -> None:
    try:
        diameters_of(text)
    except UsageError as error:
        raise ValueError(str(error)) from error


def _check_shares(shares: Any, *, needed: bool) -> None:
    values = {share.name: getattr(shares, share.name) for share in fields(shares)}
    for name, value in values.items():
        if not 0.0 <= value < math.inf:
            raise ValueError(f"found {name} = {value}; expected a share of 0 or more. Correct it")
    if needed and not any(_part(value) for value in values.values()):
        raise ValueError(f"found only 0 for {', '.join(values)}; expected a share above 0")


def _part(share: float) -> int:
    return round(share * _PARTS)
