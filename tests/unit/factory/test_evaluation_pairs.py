"""Figures of a pair, the small image of the lungs, the plane, and verdicts."""

import math

import numpy as np
import pytest
from evaluations import relunged, scan, with_ct

from factory.evaluation.lung_box import THUMBNAIL, lung_thumbnail, lungs_alone
from factory.evaluation.memorisation import nearest, share_closer_to_training
from factory.evaluation.paired import WINDOW, pair_figures
from factory.evaluation.scaling import Ellipse, classical_scaling, overlap
from factory.evaluation.verdicts import Nearness, nearness, verdict
from factory.layouts import BACKGROUND, LUNG, NODULE

SCAN = scan(3)


def shifted(mask, hu):
    return with_ct(SCAN, np.where(mask, SCAN.ct + hu, SCAN.ct)).ct


def test_an_error_is_counted_in_its_own_region_and_in_the_whole():
    layout = np.zeros((4, 4, 4), np.uint8)
    layout[:2], layout[0, 0, 0] = LUNG, NODULE
    donor = np.full(layout.shape, -800, np.int16)
    made = donor.copy()
    made[layout == LUNG] += 81
    made[layout == NODULE] += 162
    found = pair_figures(made, donor, layout)
    unit = (81 / 812) ** 2
    assert found.mse_nodule == pytest.approx(4 * unit, rel=1e-4)
    assert found.mse_lung == pytest.approx((31 * unit + 4 * unit) / 32, rel=1e-4)
    assert found.mse_outside == 0.0
    assert found.mse_whole == pytest.approx(found.mse_lung / 2, rel=1e-6)
    assert found.psnr_lung == pytest.approx(10 * math.log10(4 / found.mse_lung))
    assert found.histogram_distance_hu == pytest.approx(81.0)


def test_error_and_signal_to_noise_are_those_of_scikit_image():
    from skimage.metrics import mean_squared_error, peak_signal_noise_ratio

    made = relunged(SCAN, 7).ct
    found = pair_figures(made, SCAN.ct, SCAN.layout)
    one, other = WINDOW.encode(made), WINDOW.encode(SCAN.ct)
    assert found.mse_whole == pytest.approx(mean_squared_error(other, one), rel=1e-5)
    expected = peak_signal_noise_ratio(other, one, data_range=2.0)
    assert found.psnr_whole == pytest.approx(expected, rel=1e-5)
    lungs = SCAN.layout != BACKGROUND
    expected = peak_signal_noise_ratio(other[lungs], one[lungs], data_range=2.0)
    assert found.psnr_lung == pytest.approx(expected, rel=1e-5)


def test_what_is_outside_the_window_is_no_error():
    bone = SCAN.ct > 600
    assert pair_figures(shifted(bone, 500), SCAN.ct, SCAN.layout).mse_whole == 0.0


def test_a_copy_is_known_also_with_another_contrast_and_noise():
    rng = np.random.default_rng(0)
    lung = SCAN.layout == LUNG
    changed = np.where(lung, 0.8 * SCAN.ct - 100, SCAN.ct) + rng.normal(0, 5, SCAN.ct.shape)
    assert pair_figures(SCAN.ct, SCAN.ct, SCAN.layout).lung_correlation == pytest.approx(1.0)
    copied = pair_figures(with_ct(SCAN, np.rint(changed)).ct, SCAN.ct, SCAN.layout)
    assert copied.lung_correlation > 0.9


def test_new_lungs_have_nothing_fine_in_common_with_the_donors():
    found = [
        pair_figures(relunged(scan(seed), seed).ct, scan(seed).ct, scan(seed).layout)
        for seed in range(4)
    ]
    assert max(abs(one.lung_correlation) for one in found) < 0.15
    assert all(one.mse_outside == 0.0 < one.mse_lung for one in found)


def test_the_wall_beside_the_lung_is_not_taken_for_a_copy():
    lung = SCAN.layout == LUNG
    flat = with_ct(SCAN, np.where(lung, -850, SCAN.ct)).ct
    assert math.isnan(pair_figures(flat, SCAN.ct, SCAN.layout).lung_correlation)


def test_regions_that_a_layout_has_not_have_no_figure():
    bare = np.zeros_like(SCAN.layout)
    found = pair_figures(SCAN.ct, SCAN.ct, bare)
    assert math.isnan(found.mse_nodule)
    assert math.isnan(found.mse_lung)
    assert math.isnan(found.psnr_lung)
    assert (found.mse_outside, found.psnr_whole) == (0.0, math.inf)


def test_a_pair_on_two_grids_is_refused():
    with pytest.raises(ValueError, match=r"synthetic \(2, 2, 2\), donor .* expected one"):
        pair_figures(np.zeros((2, 2, 2), np.int16), SCAN.ct, SCAN.layout)


def test_what_is_outside_the_lungs_does_not_reach_the_small_image():
    units = WINDOW.encode(SCAN.ct)
    outside = WINDOW.encode(shifted(SCAN.layout == BACKGROUND, 300))
    assert np.array_equal(lung_thumbnail(units, SCAN.layout), lung_thumbnail(outside, SCAN.layout))
    alone = lungs_alone(units, SCAN.layout)
    assert set(alone[SCAN.layout == BACKGROUND]) == {-1.0}
    assert np.array_equal(alone[SCAN.layout != BACKGROUND], units[SCAN.layout != BACKGROUND])


def test_where_the_lungs_lie_does_not_change_the_small_image():
    units = WINDOW.encode(SCAN.ct)
    wider = [np.pad(volume, ((3, 0), (0, 5), (2, 2))) for volume in (units, SCAN.layout)]
    expected = lung_thumbnail(units, SCAN.layout)
    assert expected.shape == (THUMBNAIL**3,)
    assert np.array_equal(lung_thumbnail(*wider), expected)
    with pytest.raises(ValueError, match=r"without a lung voxel"):
        lung_thumbnail(units, np.zeros_like(SCAN.layout))


def test_points_in_a_plane_keep_their_distances_in_the_picture():
    rng = np.random.default_rng(0)
    plane = rng.normal(size=(30, 2))
    turned = plane @ np.linalg.qr(rng.normal(size=(8, 8)))[0][:2]
    found = classical_scaling(turned)
    for pair in ((0, 1), (4, 20), (29, 3)):
        apart = np.linalg.norm(plane[pair[0]] - plane[pair[1]])
        assert np.linalg.norm(found[pair[0]] - found[pair[1]]) == pytest.approx(apart)


def test_an_ellipse_holds_95_of_100_and_has_the_area_that_its_outline_has():
    points = np.random.default_rng(1).multivariate_normal([3, 1], [[4, 1.5], [1.5, 1]], 20_000)
    found = Ellipse.of(points)
    assert found.holds(points).mean() == pytest.approx(0.95, abs=0.005)
    x, y = found.outline(5000).T
    assert found.area == pytest.approx(abs(np.trapezoid(x, y)), rel=1e-4)


def test_overlap_is_that_of_two_circles():
    circles = [Ellipse(np.array([shift, 0.0]), np.eye(2) / 5.991) for shift in (0.0, 1.0, 3.0)]
    lens = 2 * math.acos(0.5) - 0.5 * math.sqrt(3)
    assert overlap(circles[0], circles[0]) == 1.0
    assert overlap(circles[0], circles[1]) == pytest.approx(lens / (2 * math.pi - lens), abs=0.01)
    assert overlap(circles[0], circles[2]) == 0.0


def test_points_on_a_line_and_two_points_have_no_ellipse():
    with pytest.raises(ValueError, match=r"ellipse of 2 points, expected three"):
        Ellipse.of(np.zeros((2, 2)))
    with pytest.raises(ValueError, match=r"on a line"):
        Ellipse.of(np.arange(8.0).reshape(4, 2))


def test_the_nearest_of_another_patient_is_not_the_donor():
    references = np.array([[0.0], [1.0], [5.0]])
    found = nearest(np.array([[0.1], [4.0]]), references, apart=(["a", "c"], ["a", "b", "c"]))
    assert found.index.tolist() == [1, 1]
    np.testing.assert_allclose(found.distance, [0.9, 3.0])
    np.testing.assert_allclose(found.ratio, [0.9 / 4.9, 3.0 / 4.0])
    alone = nearest(np.array([[0.0]]), references[:1], apart=(["a"], ["a"]))
    assert (alone.distance[0], math.isnan(alone.ratio[0])) == (math.inf, True)


def test_a_donor_left_out_does_not_count_as_closer_to_training():
    rng = np.random.default_rng(2)
    training, held_out = rng.normal(size=(2, 40, 5))
    drawn = training + 0.01 * rng.normal(size=training.shape)
    names = [str(i) for i in range(40)]
    assert share_closer_to_training(drawn, training, held_out).value == 1.0
    without = share_closer_to_training(drawn, training, held_out, apart=(names, names))
    assert without.low < 0.5 < without.high


USUAL = (Nearness(distance=1.0), Nearness(distance=10.0))


@pytest.mark.parametrize(
    ("correlation", "distances", "expected"),
    [
        (0.1, (2.0, 20.0), "clear"),
        (0.6, (2.0, 20.0), "copy"),
        (0.3, (2.0, 20.0), "near"),
        (0.1, (0.9, 20.0), "near"),
        (0.1, (2.0, 4.0), "copy"),
        (math.nan, (2.0, 20.0), "clear"),
        (math.nan, (math.inf, math.inf), "unknown"),
        (-0.8, (2.0, 20.0), "clear"),
    ],
)
def test_a_copy_is_found_in_whichever_way_it_shows(correlation, distances, expected):
    assert verdict(correlation, distances, USUAL) == expected


def test_what_is_near_is_what_real_patients_seldom_are():
    real = np.random.default_rng(4).normal(size=(60, 4))
    names = [str(i // 2) for i in range(60)]
    twins = np.repeat(real[::2], 2, axis=0)
    assert nearness(twins, names).distance > 0.2
    assert nearness(twins, [str(i) for i in range(60)]).distance == 0.0
    assert math.isnan(nearness(real[:4], names[:4]).distance)
