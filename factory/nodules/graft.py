"""Real nodules painted into the lungs of other patients, while a model trains.

    layout --place_nodules--> where, which crop, how turned --crop's HU, turned alike--> CT

A nodule of the layout and its voxels in the CT come from one crop, one turn and one centre.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from factory.axes import Triple
from factory.intensity import HU_MAX, HU_MIN
from factory.layouts import LUNG
from factory.nodules.crops import SOFT_TISSUE_HU, CropTissue, NoduleCrops
from factory.nodules.place import NoRoomError, Placement, PlacementConfig, place_nodules
from factory.nodules.turn import half_width, overlap, turned_mean

_MAX_TRIES = 16
"""Each shape tried is smaller than the last: of a thousand, ten come down to the smallest."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GraftConfig:
    """How often real nodules are grafted into training examples, how many and how large."""

    probability: float = 0.0
    """Share of the examples that get grafts; 0 grafts none."""

    max_nodules: int = 3
    """Most grafts of an example; their number is drawn evenly from 1 to this."""

    min_diameter_mm: float = 6.0
    """Crops of a nodule below this diameter (sphere of the same volume) are not used."""

    max_diameter_mm: float = 30.0
    """Crops of a nodule above this diameter are not used. Above 30 mm it is a mass."""

    margin_mm: float = 1.0
    """As in `PlacementConfig`: from the edge of the lung and from other nodules."""

    def __post_init__(self) -> None:
        # Negated, so that NaN is refused too: TOML has it.
        if not 0.0 <= self.probability <= 1.0:
            raise ValueError(f"probability is {self.probability}; it must lie in [0, 1]")
        if self.max_nodules < 1:
            raise ValueError(f"max_nodules is {self.max_nodules}; it must be at least 1")
        _ = self.placement

    @property
    def is_on(self) -> bool:
        """Whether any example gets grafts."""
        return self.probability > 0.0

    @property
    def placement(self) -> PlacementConfig:
        """The same bounds, as placement takes them."""
        return PlacementConfig(
            min_nodules=1,
            max_nodules=self.max_nodules,
            min_diameter_mm=self.min_diameter_mm,
            max_diameter_mm=self.max_diameter_mm,
            margin_mm=self.margin_mm,
            max_tries=_MAX_TRIES,
        )


def graft(
    ct: NDArray[np.int16],
    layout: NDArray[np.uint8],
    spacing_mm: Triple,
    crops: NoduleCrops,
    config: GraftConfig,
    rng: np.random.Generator,
) -> tuple[NDArray[np.int16], NDArray[np.uint8]]:
    """Graft real nodules into the lung of a CT, or leave it as it is.

    With `config.probability` one to `config.max_nodules` crops are placed into the lung, as
    `place_nodules` places shapes, and their tissue is painted where their labels are and a
    voxel around. Where no nodule finds room, the example passes as it is.

    Args:
        ct: (z, y, x) int16 HU. It is not changed.
        layout: (z, y, x) uint8 labels of the same grid. It is not changed.
        spacing_mm: Voxel size (z, y, x) of both.
        crops: Nodules to draw from.
        config: How often, how many and how large.
        rng: Says all that is drawn; its state fixes every voxel.

    Returns:
        The CT and the layout, or those given where nothing was grafted. New voxels of a nodule
        were lung; every voxel that no crop reaches keeps its HU.

    Raises:
        ValueError: No crop has a configured diameter, or an argument is not what it says.
    """
    if ct.shape != layout.shape or ct.dtype != np.int16:
        raise ValueError(
            f"the CT is {ct.dtype} {ct.shape}, expected int16 {layout.shape} like the layout"
        )
    if not config.is_on or rng.random() >= config.probability:
        return ct, layout
    seed = int(rng.integers(2**63))
    try:
        placed, placements = place_nodules(
            layout, spacing_mm, crops.bank, seed=seed, config=config.placement
        )
    except NoRoomError:
        return ct, layout
    return _paint(ct, layout == LUNG, spacing_mm, crops, placements), placed


def lung_level(hu: NDArray[Any], lung: NDArray[np.bool_]) -> float:
    """Return the median HU of a host's lung, at most that of soft tissue.

    Args:
        hu: (z, y, x) HU.
        lung: (z, y, x) voxels to take it of; at least one.
    """
    return min(float(np.median(hu[lung])), SOFT_TISSUE_HU)


def _paint(
    ct: NDArray[np.int16],
    lung: NDArray[np.bool_],
    spacing_mm: Triple,
    crops: NoduleCrops,
    placements: list[Placement],
) -> NDArray[np.int16]:
    """Return the CT with the tissue of every placed crop in its lung."""
    painted = ct.copy()
    covered = np.zeros(ct.shape, dtype=np.float32)
    spacing = np.asarray(spacing_mm, dtype=np.float64)
    for placement in placements:
        fraction, opacity = _on_grid(crops.tissue(placement.bank_name), placement, spacing, crops)
        half = np.array(opacity.shape) // 2
        corner = np.array(placement.center_zyx) - half
        window, inner = overlap(corner, opacity.shape, ct.shape)
        opacity, fraction = opacity[inner], fraction[inner]
        host = ct[window].astype(np.float32)
        around = lung[window] & (opacity == 0.0)
        lung_hu = lung_level(host, around if around.any() else lung[window])
        tissue = opacity * lung_hu + fraction * (SOFT_TISSUE_HU - lung_hu)
        hu = np.clip(np.rint((1.0 - opacity) * host + tissue), HU_MIN, HU_MAX)
        # Where two crops reach one voxel, the one that covers more of it has it.
        mine = lung[window] & (opacity > covered[window])
        painted[window][mine] = hu[mine].astype(np.int16)
        covered[window][mine] = opacity[mine]
    return painted


def _on_grid(
    tissue: CropTissue, placement: Placement, spacing: NDArray[np.float64], crops: NoduleCrops
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return tissue and opacity averaged over the voxels of the host, and a voxel around.

    Both are averaged before they are blended (premultiplied opacity; Porter and Duff, 1984), so
    that a small nodule loses contrast on a coarse grid as a scan of it would, and only once.
    """
    rotation = np.array(placement.rotation)
    half = half_width(tissue.points, tissue.center, crops.spacing_mm, spacing) + 1
    fraction, opacity = (
        turned_mean(volume, tissue.center, crops.spacing_mm, rotation, spacing, half)
        for volume in (tissue.fraction, tissue.opacity)
    )
    return fraction, opacity
