"""Semantic layouts: which voxel is background, lung or nodule."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

BACKGROUND, LUNG, NODULE = 0, 1, 2
"""Labels of a layout, as in Lung-DDPM's segmentations."""

LABELS = {"lung": LUNG, "nodule": NODULE}
"""What a model can be told of, by name, in the order of its channels."""


def compose_layout(lung: NDArray[np.bool_], nodule: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Return the (z, y, x) uint8 union of two masks; a nodule wins over the lung.

    Tumours reach outside lung masks, so a nodule need not lie inside `lung`.
    """
    layout = np.where(lung, np.uint8(LUNG), np.uint8(BACKGROUND))
    layout[nodule] = NODULE
    return layout


def layout_channels(
    layout: NDArray[np.uint8], labels: Sequence[str] = tuple(LABELS)
) -> NDArray[np.float32]:
    """Return the (L, z, y, x) float32 condition: one-hot `labels`, -1 absent, +1 present."""
    present = np.stack([layout == LABELS[label] for label in labels])
    return np.where(present, np.float32(1.0), np.float32(-1.0))


def labelled_voxels(layout: NDArray[np.uint8], labels: Sequence[str]) -> NDArray[np.bool_]:
    """Return the (z, y, x) bool mask of the voxels that have one of `labels`."""
    return np.isin(layout, [LABELS[label] for label in labels])
