import math

import numpy as np
import pytest

from factory.nodules.measure import measure_nodules, sphere_diameter_mm

AFFINE = np.array(
    [
        [0.7, 0.0, 0.0, -120.0],
        [0.0, 0.8, 0.0, -90.0],
        [0.0, 0.0, 2.5, 30.0],
        [0.0, 0.0, 0.0, 1.0],
    ]
)


def layout_with(*boxes: tuple[slice, slice, slice]) -> np.ndarray:
    layout = np.ones((12, 20, 24), dtype=np.uint8)
    for box in boxes:
        layout[box] = 2
    return layout


def test_a_nodule_lies_where_the_affine_puts_its_centre():
    (nodule,) = measure_nodules(layout_with(np.s_[4:7, 10:12, 20:21]), AFFINE)
    assert nodule.center_ras_mm == pytest.approx((-120 + 0.7 * 20, -90 + 0.8 * 10.5, 30 + 2.5 * 5))


def test_a_nodule_is_measured_in_mm_of_an_anisotropic_grid():
    (nodule,) = measure_nodules(layout_with(np.s_[4:7, 10:12, 20:21]), AFFINE)
    assert nodule.num_voxels == 6
    assert nodule.volume_mm3 == pytest.approx(6 * 0.7 * 0.8 * 2.5)
    assert math.pi / 6 * nodule.diameter_mm**3 == pytest.approx(nodule.volume_mm3)


def test_a_mirrored_affine_does_not_make_volumes_negative():
    mirrored = AFFINE @ np.diag([-1.0, 1.0, 1.0, 1.0])
    (nodule,) = measure_nodules(layout_with(np.s_[4:5, 10:11, 20:21]), mirrored)
    assert nodule.volume_mm3 == pytest.approx(1.4)


def test_nodules_come_largest_first_and_are_ranked_from_one():
    layout = layout_with(np.s_[0:1, 0:1, 0:2], np.s_[8:10, 8:10, 8:10], np.s_[4:5, 0:1, 0:4])
    nodules = measure_nodules(layout, AFFINE)
    assert [nodule.num_voxels for nodule in nodules] == [8, 4, 2]
    assert [nodule.label for nodule in nodules] == [1, 2, 3]


def test_voxels_that_share_only_a_corner_are_one_nodule():
    layout = layout_with(np.s_[4:5, 4:5, 4:5], np.s_[5:6, 5:6, 5:6])
    assert [nodule.num_voxels for nodule in measure_nodules(layout, AFFINE)] == [2]


def test_a_layout_without_nodules_has_an_empty_table():
    assert measure_nodules(layout_with(), AFFINE) == []


def test_a_row_holds_plain_numbers_for_the_manifest():
    (nodule,) = measure_nodules(layout_with(np.s_[4:5, 10:11, 20:21]), AFFINE)
    row = nodule.as_row()
    assert list(row) == ["label", "center_ras_mm", "diameter_mm", "volume_mm3", "num_voxels"]
    assert row["center_ras_mm"] == pytest.approx([-106.0, -82.0, 40.0])
    kinds = {type(value) for value in row.values()} | {type(mm) for mm in row["center_ras_mm"]}
    assert kinds == {int, list, float}


def test_a_sphere_of_ten_mm_has_a_diameter_of_ten_mm():
    assert sphere_diameter_mm(math.pi / 6 * 1000) == pytest.approx(10.0)


def test_an_affine_that_gives_voxels_no_volume_is_refused():
    with pytest.raises(ValueError, match=r"volume of 0\.0 mm3, expected more than 0"):
        measure_nodules(layout_with(), np.diag([1.0, 1.0, 0.0, 1.0]))


def test_an_affine_of_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"shape \(3, 3\), expected \(4, 4\)"):
        measure_nodules(layout_with(), np.eye(3))
