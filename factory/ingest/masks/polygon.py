"""Polygons into pixels."""

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]
Edges = tuple[NDArray[np.float64], ...]


def num_crossings(polygons: list[Points], num_rows: int) -> int:
    """Return how many edges cross the rows of an image: what filling the polygons costs."""
    return sum(int(_rows_of(_edges(polygon), num_rows)[1].sum()) for polygon in polygons)


def box_of(
    polygons: list[Points], shape: tuple[int, int]
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return the first pixel (row, column) and the shape of the part of an image that polygons may cover."""
    points = np.concatenate(polygons)
    first = np.clip(np.floor(points.min(axis=0)), 0, shape).astype(int)
    stop = np.clip(np.ceil(points.max(axis=0)) + 1, first, shape).astype(int)
    rows, columns = (stop - first).tolist()
    return (int(first[0]), int(first[1])), (rows, columns)


def fill(polygons: list[Points], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Return the pixels whose centre lies in an odd number of polygons.

    So a polygon within another is a hole, and an outline that runs inwards along a slit, round
    the hole and back, leaves it open as well. Each row is crossed by the polygons' edges, and
    between an odd crossing and the next lies the inside.

    Args:
        polygons: Each (n, 2) vertices (row, column), the centre of the first pixel being
            (0, 0), closed from the last to the first.
        shape: (row, column) of the image. What lies beyond is cut off.
    """
    parity = np.zeros((shape[0], shape[1] + 1), dtype=np.uint8)
    for polygon in polygons:
        edges = _edges(polygon)
        first, num = _rows_of(edges, shape[0])
        row, slope, column = edges[0], edges[2], edges[1]
        of_edge = np.repeat(np.arange(len(num)), num)
        rows = np.arange(len(of_edge)) - np.repeat(np.cumsum(num) - num, num) + first[of_edge]
        at = column[of_edge] + slope[of_edge] * (rows - row[of_edge])
        columns = np.ceil(np.clip(at, 0, shape[1])).astype(np.intp)
        # Not fancy assignment: several edges may cross at one pixel.
        np.bitwise_xor.at(parity, (rows, columns), np.uint8(1))
    inside: NDArray[np.bool_] = np.bitwise_xor.accumulate(parity, axis=1)[:, :-1].astype(np.bool_)
    return inside


def _edges(polygon: Points) -> Edges:
    """Return lower row, its column, columns per row and upper row of the edges of a polygon."""
    ends = np.roll(polygon, -1, axis=0)
    upwards = polygon[:, 0] <= ends[:, 0]
    low, high = np.where(upwards[:, None], (polygon, ends), (ends, polygon))
    rise = high[:, 0] - low[:, 0]
    slope = (high[:, 1] - low[:, 1]) / np.where(rise > 0, rise, 1.0)
    return low[:, 0], low[:, 1], slope, high[:, 0]


def _rows_of(edges: Edges, num_rows: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the first row that each edge crosses, and how many: from its lower end on, below its upper."""
    first = np.ceil(np.clip(edges[0], 0, num_rows)).astype(np.intp)
    stop = np.ceil(np.clip(edges[3], 0, num_rows)).astype(np.intp)
    return first, np.maximum(stop - first, 0)
