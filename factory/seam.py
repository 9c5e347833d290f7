"""How visible the border is between what was drawn and what was kept."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def seam_score(
    synthetic_hu: NDArray[np.int16], reference_hu: NDArray[np.int16], drawn: NDArray[np.bool_]
) -> float:
    """Return how much larger the jumps across the border are than the reference's own.

    `mean_jump` divided by that of the reference, where one scanner saw both sides. 1 is a border
    like a real one, 2 an edge twice as hard, 0.5 a wall that melts into the lung.

    Args:
        synthetic_hu: (z, y, x) HU.
        reference_hu: (z, y, x) HU, equal to `synthetic_hu` where nothing was drawn.
        drawn: (z, y, x) bool, True where the volume was drawn.

    Returns:
        The ratio; NaN where there is no border, or the reference has no jump across it.
    """
    found, expected = mean_jump(synthetic_hu, drawn), mean_jump(reference_hu, drawn)
    return found / expected if expected > 0 else float("nan")


def mean_jump(hu: NDArray[np.int16], drawn: NDArray[np.bool_]) -> float:
    """Return the mean absolute difference in HU over all faces between a drawn and a kept voxel.

    Args:
        hu: (z, y, x) HU.
        drawn: (z, y, x) bool, True where the volume was drawn.

    Returns:
        The mean in HU; NaN where there is no border.
    """
    jumps: list[NDArray[Any]] = []
    for axis in range(3):
        drawn_here, hu_here = np.moveaxis(drawn, axis, 0), np.moveaxis(hu, axis, 0)
        border = drawn_here[1:] != drawn_here[:-1]
        jumps.append(np.abs(hu_here[1:][border].astype(np.int32) - hu_here[:-1][border]))
    across = np.concatenate(jumps)
    return float(across.mean()) if across.size else float("nan")
