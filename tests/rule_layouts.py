"""A thorax with a vessel in each lung, and layouts that are made in it by rules."""

from typing import Any

import numpy as np
from scipy import ndimage

from factory.nodules.bank import NoduleBank, embedded_bank
from factory.nodules.diameters import diameters_of
from factory.nodules.lung_map import LungMap
from factory.nodules.measure import TOUCHING
from factory.nodules.new_layout import NewLayout, make_layout
from factory.nodules.rules import AttachmentShares, LayoutsConfig

SPACING = (3.0, 2.5, 2.5)
AFFINE = np.diag([2.5, 2.5, 3.0, 1.0])
SIZES = diameters_of("uniform:8:14")
BANK = embedded_bank()
SEEDS = range(4)


def thorax(size: int = 64) -> tuple[np.ndarray, np.ndarray]:
    """Return two lungs of ellipsoids, each with a straight vessel from front to back; CT and layout."""
    z, y, x = (np.ogrid[:size, :size, :size][axis] / size - 0.5 for axis in range(3))
    layout = np.zeros((size,) * 3, np.uint8)
    ct = np.full((size,) * 3, 40, np.int16)
    for side in (-0.23, 0.23):
        lung = (z / 0.42) ** 2 + (y / 0.36) ** 2 + ((x - side) / 0.2) ** 2 < 1
        layout[lung] = 1
        ct[lung] = -850
        vessel = (abs(z) < 0.025) & (abs(x - side) < 0.025) & lung
        ct[vessel] = 0
    return ct, layout


CT, LAYOUT = thorax()


def only(attachment: str, **changes: Any) -> LayoutsConfig:
    """Return settings of three nodules by one rule."""
    shares = AttachmentShares(**{"inside": 0.0, "pleura": 0.0, "vessel": 0.0} | {attachment: 1.0})
    return LayoutsConfig(shares=shares, **{"min_nodules": 3, "max_nodules": 3} | changes)


def made(
    lungs: LungMap, config: LayoutsConfig, seed: int = 0, bank: NoduleBank = BANK
) -> NewLayout:
    """Make a layout in the thorax."""
    return make_layout(lungs, AFFINE, bank, SIZES, seed=seed, config=config)


def pieces_of(layout: NewLayout) -> list[np.ndarray]:
    """Return the voxels of each new nodule, in the order of placing."""
    labels, _ = ndimage.label(layout.layout == 2, structure=TOUCHING)
    return [labels == labels[nodule.center_zyx] for nodule in layout.placed]
