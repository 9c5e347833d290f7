"""The pixels that an outline encloses."""

import numpy as np
from numpy.typing import NDArray


def enclosed(edge: NDArray[np.int64], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Return the pixels whose centres lie strictly inside a closed outline.

    The outline is the polygon through the centres of its pixels, in their order, from the last
    back to the first. Inside is where it winds around, however often: an outline that crosses
    or repeats itself encloses each of its loops. What lies on the polygon is not inside.

    Args:
        edge: (n, 2) row and column of each pixel, all of them within `shape`.
        shape: (rows, columns).

    Returns:
        (row, column) bool.
    """
    winding = np.zeros((shape[0], shape[1] + 1), np.int64)
    rows, columns, turns = _crossings(edge)
    np.add.at(winding, (rows, columns), turns)
    inside: NDArray[np.bool_] = np.cumsum(winding, axis=1)[:, :-1] != 0
    inside[on_outline(edge)] = False
    return inside


def on_outline(edge: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return (rows, columns) of the pixels whose centres lie on the polygon through `edge`.

    These are the drawn pixels and, where the drawing left a gap, those that the straight line
    across it meets exactly.
    """
    run = np.roll(edge, -1, axis=0) - edge
    num_steps = np.maximum(np.gcd(run[:, 0], run[:, 1]), 1)
    line, step = _repeated(num_steps)
    on = edge[line] + step[:, None] * (run // num_steps[:, None])[line]
    return on[:, 0], on[:, 1]


def _crossings(
    edge: NDArray[np.int64],
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return (row, column, turn): where the polygon meets each row, and whether it goes down.

    The column is the first at or right of the line, exact in whole numbers. A line meets the
    rows from its upper end to the one above its lower end, so that a corner counts once.
    """
    to = np.roll(edge, -1, axis=0)
    rise, run = (to - edge).T
    line, step = _repeated(np.abs(rise))
    row = np.minimum(edge[line, 0], to[line, 0]) + step
    column = edge[line, 1] - (-(row - edge[line, 0]) * run[line]) // rise[line]
    return row, column, np.sign(rise[line])


def _repeated(counts: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return each index as often as its count, and beside it 0, 1, 2, ..."""
    index = np.repeat(np.arange(len(counts)), counts)
    start = np.cumsum(counts) - counts
    return index, np.arange(len(index)) - start[index]
