"""Readers' scores find the nodules of the layout that they speak of."""

import numpy as np
import pytest

from factory.geometry import ModelGrid, grid_over_scan, resample_labels
from factory.ingest.readings import Readings, count_nodules, nodule_rows

SHAPE = (16, 32, 32)
LARGE, SMALL, UNREAD = np.s_[4:8, 4:12, 4:12], np.s_[0:2, 20:24, 20:24], np.s_[12:14, 4:6, 24:26]
AFFINE = np.diag([1.0, 1.0, 1.0, 1.0])


def scores(num_readers: int) -> dict[str, object]:
    return {"num_readers": num_readers, "malignancy": float(num_readers)}


@pytest.fixture
def readings() -> Readings:
    labels = np.zeros(SHAPE, np.uint8)
    # Label 1 is the smaller one: rank of the readers' own volumes, not of the layout's.
    labels[SMALL], labels[LARGE] = 1, 2
    return Readings(labels=labels, scores={1: scores(1), 2: scores(4)}, notes=())


@pytest.fixture
def layout() -> np.ndarray:
    layout = np.ones(SHAPE, np.uint8)
    for nodule in (LARGE, SMALL, UNREAD):
        layout[nodule] = 2
    return layout


def on_grid(layout: np.ndarray, grid: ModelGrid) -> np.ndarray:
    return resample_labels(layout, grid)


def test_each_nodule_has_the_scores_of_the_readers_nodule_that_it_overlaps(
    layout: np.ndarray, readings: Readings
) -> None:
    grid = grid_over_scan(SHAPE, size=16)
    rows = nodule_rows(on_grid(layout, grid), grid.affine(AFFINE), readings, grid)
    assert [row.get("num_readers") for row in rows] == [4, 1, None]
    assert [row["num_voxels"] for row in rows] == sorted(
        (row["num_voxels"] for row in rows), reverse=True
    )


def test_a_nodule_of_two_readings_takes_the_scores_of_the_larger_part(
    layout: np.ndarray, readings: Readings
) -> None:
    layout[8:10, 4:24, 4:24] = 2
    grid = grid_over_scan(SHAPE, size=16)
    first, *_ = nodule_rows(on_grid(layout, grid), grid.affine(AFFINE), readings, grid)
    assert first["num_readers"] == 4


def test_without_readers_the_table_has_measures_alone(layout: np.ndarray) -> None:
    grid = grid_over_scan(SHAPE, size=16)
    rows = nodule_rows(on_grid(layout, grid), grid.affine(AFFINE), None, grid)
    assert len(rows) == 3
    assert all("malignancy" not in row for row in rows)


def test_nodules_are_counted_where_they_touch_at_a_corner_as_one(layout: np.ndarray) -> None:
    assert count_nodules(layout) == 3
    layout[8, 12, 12] = 2
    assert count_nodules(layout) == 3
    assert count_nodules(np.ones(SHAPE, np.uint8)) == 0
