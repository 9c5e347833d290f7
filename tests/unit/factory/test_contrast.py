"""How far nodules stand out, wherever they lie."""

import math

import numpy as np
import pytest

from factory.contrast import nodule_contrast
from factory.layouts import BACKGROUND, LUNG, NODULE


def lungs_with(*nodules: tuple[int, int, int]) -> np.ndarray:
    """Lung of 20^3 with nodules of 2^3 whose lowest corners are given."""
    layout = np.full((20, 20, 20), LUNG, np.uint8)
    for z, y, x in nodules:
        layout[z : z + 2, y : y + 2, x : x + 2] = NODULE
    return layout


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_lung_on_both_sides_of_a_nodule_counts_alike(axis: int) -> None:
    layout = lungs_with((9, 9, 9))
    slope = np.arange(-190, 200, 20)
    hu = np.broadcast_to(np.moveaxis(slope[:, None, None], 0, axis) - 850, layout.shape)
    hu = np.where(layout == NODULE, -50, hu).astype(np.int16)
    assert nodule_contrast(hu, layout) == 800.0


@pytest.mark.parametrize("corner", [(0, 0, 0), (18, 18, 18), (0, 9, 18)])
def test_a_nodule_at_the_edge_of_the_volume_is_compared_with_the_lung_inside(
    corner: tuple[int, int, int],
) -> None:
    layout = lungs_with(corner)
    hu = np.array([0, -900, 30], np.int16)[layout]
    assert nodule_contrast(hu, layout) == 930.0


def test_all_nodules_count_together_by_their_voxels() -> None:
    layout = lungs_with((3, 3, 3), (12, 12, 12))
    hu = np.array([0, -900, 30], np.int16)[layout]
    hu[12:14, 12:14, 12:14] = -900
    layout[12, 12, 12] = LUNG
    assert nodule_contrast(hu, layout) == 930.0


def test_without_a_nodule_or_without_lung_around_there_is_no_contrast() -> None:
    layout = lungs_with()
    hu = np.full(layout.shape, -850, np.int16)
    assert math.isnan(nodule_contrast(hu, layout))
    alone = np.where(lungs_with((9, 9, 9)) == NODULE, NODULE, BACKGROUND).astype(np.uint8)
    assert math.isnan(nodule_contrast(hu, alone))
