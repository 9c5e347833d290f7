"""Scores of a case are those of MONAI and scipy, and say what they mean where there is no nodule."""

import math
import warnings

import numpy as np
import pytest
from scipy import ndimage

from factory.layouts import LUNG, NODULE
from factory.segmentation.score import score_case
from factory.segmentation.trials import SIZE_GROUPS, size_group

SHAPE = (9, 10, 11)
SPACING = (2.0, 1.0, 0.5)


def score(predicted, truth, spacing_mm=SPACING):
    layout = np.where(truth, np.uint8(NODULE), np.uint8(LUNG))
    return score_case(predicted, layout, spacing_mm, case_id="c", patient_id="p")


def masks(seed, shape=SHAPE):
    """Return a random prediction and truth, from nearly empty to nearly full."""
    rng = np.random.default_rng(seed)
    shares = rng.uniform(0.01, 0.95, 2)
    return tuple(rng.random(shape) < share for share in shares)


def monai_scores(predicted, truth):
    """Return Dice, sensitivity and specificity as MONAI has them."""
    torch = pytest.importorskip("torch")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        metrics = pytest.importorskip("monai.metrics")
    ours, theirs = (
        torch.from_numpy(np.stack([~mask, mask])[None].astype(np.float32))
        for mask in (predicted, truth)
    )
    dice = metrics.DiceMetric(include_background=False)(ours, theirs)
    confusion = metrics.get_confusion_matrix(ours, theirs, include_background=False)[0]
    rates = [
        metrics.compute_confusion_matrix_metric(name, confusion)[0]
        for name in ("sensitivity", "specificity")
    ]
    return [float(dice[0, 0]), *map(float, rates)]


def test_dice_sensitivity_and_specificity_are_monais():
    for seed in range(20):
        predicted, truth = masks(seed)
        found = score(predicted, truth)
        ours = [found.dice, found.sensitivity, found.specificity]
        assert ours == pytest.approx(monai_scores(predicted, truth), abs=1e-6)


def test_nodules_and_false_pieces_are_counted_as_scipys_components():
    around = ndimage.generate_binary_structure(3, 3)
    for seed in range(20):
        rng = np.random.default_rng(seed)
        predicted, truth = (rng.random(SHAPE) < 0.03 for _ in range(2))
        nodules, num_nodules = ndimage.label(truth, around)
        pieces, num_pieces = ndimage.label(predicted, around)
        found = score(predicted, truth)
        assert found.num_nodules == num_nodules == len(found.sizes)
        shares = ndimage.mean(predicted, nodules, range(1, num_nodules + 1))
        assert [one.sensitivity for one in found.sizes] == pytest.approx(list(shares))
        assert found.num_found == sum(share > 0 for share in shares)
        false = [not truth[pieces == number].any() for number in range(1, num_pieces + 1)]
        assert found.num_false == sum(false)
        voxels = ndimage.sum_labels(truth, nodules, range(1, num_nodules + 1))
        diameters = [(6 * count * 1.0 / math.pi) ** (1 / 3) for count in voxels]
        assert [one.diameter_mm for one in found.sizes] == pytest.approx(diameters)


def test_a_nodule_that_meets_another_at_a_corner_is_one_with_it():
    truth = np.zeros(SHAPE, bool)
    truth[1, 1, 1] = truth[2, 2, 2] = True
    found = score(np.zeros(SHAPE, bool), truth)
    assert (found.num_nodules, found.num_found, found.num_false) == (1, 0, 0)


def test_one_voxel_finds_a_nodule_and_a_piece_that_only_touches_it_is_false():
    truth, predicted = np.zeros(SHAPE, bool), np.zeros(SHAPE, bool)
    truth[2:4, 2:4, 2:4] = True
    predicted[4, 2, 2] = True
    beside = score(predicted, truth)
    assert (beside.num_found, beside.num_false, beside.sizes[0].found) == (0, 1, False)
    predicted[3, 2, 2] = True
    inside = score(predicted, truth)
    assert (inside.num_found, inside.num_false, inside.sizes[0].sensitivity) == (1, 0, 1 / 8)


def test_millilitres_and_millimetres_follow_the_spacing():
    truth, predicted = np.zeros(SHAPE, bool), np.zeros(SHAPE, bool)
    truth[:5, :5, :4] = True
    predicted[:1, :5, :4] = True
    found = score(predicted, truth, (2.5, 2.0, 2.0))
    assert (found.true_ml, found.predicted_ml) == pytest.approx((1.0, 0.2))
    assert found.largest_mm == pytest.approx(12.407, abs=1e-3)


def test_a_case_without_a_nodule_has_a_dice_only_where_one_was_predicted():
    nothing, one = np.zeros(SHAPE, bool), np.zeros(SHAPE, bool)
    one[0, 0, 0] = True
    clear = score(nothing, nothing)
    assert math.isnan(clear.dice)
    assert math.isnan(clear.sensitivity)
    assert math.isnan(clear.largest_mm)
    assert (clear.specificity, clear.num_nodules, clear.num_false) == (1.0, 0, 0)
    false = score(one, nothing)
    assert (false.dice, false.num_false) == (0.0, 1)
    assert math.isnan(false.sensitivity)
    assert false.specificity == 1.0 - 1.0 / one.size


def test_a_perfect_prediction_and_none_at_all_are_the_ends_of_the_scale():
    _, truth = masks(3)
    whole, none = score(truth, truth), score(np.zeros(SHAPE, bool), truth)
    assert (whole.dice, whole.sensitivity, whole.specificity) == (1.0, 1.0, 1.0)
    assert (none.dice, none.sensitivity, none.specificity) == (0.0, 0.0, 1.0)
    full = score(np.ones(SHAPE, bool), np.ones(SHAPE, bool))
    assert full.dice == 1.0
    assert math.isnan(full.specificity)


def test_only_the_nodule_label_is_truth():
    layout = np.full(SHAPE, LUNG, np.uint8)
    layout[4, 4, 4] = NODULE
    found = score_case(layout == NODULE, layout, SPACING, case_id="c", patient_id="p")
    assert (found.dice, found.num_nodules, found.case_id, found.patient_id) == (1.0, 1, "c", "p")


def test_what_cannot_be_compared_is_refused_with_what_was_found():
    mask, layout = np.zeros(SHAPE, bool), np.zeros(SHAPE, np.uint8)
    ids = {"case_id": "c", "patient_id": "p"}
    with pytest.raises(
        ValueError, match=r"prediction of \(8, 10, 11\) and a layout of \(9, 10, 11\)"
    ):
        score_case(mask[1:], layout, SPACING, **ids)
    with pytest.raises(ValueError, match=r"prediction of uint8; expected bool"):
        score_case(mask.astype(np.uint8), layout, SPACING, **ids)
    for spacing in ((1.0, 0.0, 1.0), (1.0, 1.0), (1.0, math.nan, 1.0), (1.0, -1.0, 1.0)):
        with pytest.raises(ValueError, match=r"spacing of .* expected three numbers above 0"):
            score_case(mask, layout, spacing, **ids)


def test_a_size_on_an_edge_is_in_the_group_above():
    sizes = (0.1, 5.999, 6.0, 8.0, 14.9, 15.0, 30.0, 900.0)
    assert [size_group(size) for size in sizes] == [
        SIZE_GROUPS[number] for number in (0, 0, 1, 2, 2, 3, 4, 4)
    ]
