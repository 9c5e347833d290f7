"""Where the verdicts on a synthetic volume change, and what they say."""

import dataclasses
import math
from typing import Any

import numpy as np
import pytest

from factory.quality import Quality, QualityLimits

GOOD = Quality(
    background_changed=0,
    changed_fraction=0.98,
    saturated_fraction=0.001,
    lung_median_hu=-850.0,
    reference_lung_median_hu=-840.0,
    lung_iqr_hu=120.0,
    reference_lung_iqr_hu=100.0,
    nodule_contrast_hu=400.0,
    reference_nodule_contrast_hu=500.0,
    seam_score=1.1,
)
BELOW, ABOVE = -np.inf, np.inf


def judged(**figures: Any) -> tuple[str, tuple[str, ...]]:
    quality = dataclasses.replace(GOOD, **figures)
    return quality.verdict, quality.reasons


def test_a_good_volume_is_accepted_without_a_reason() -> None:
    assert judged() == ("accept", ())


@pytest.mark.parametrize(
    ("figures", "verdict", "reason"),
    [
        (
            {"background_changed": 1},
            "reject",
            "background has 1 voxel unlike the reference, expected none",
        ),
        (
            {"background_changed": 1200},
            "reject",
            "background has 1200 voxels unlike the reference, expected none",
        ),
        (
            {"changed_fraction": 0.25},
            "reject",
            "share of drawn voxels unlike the reference is 0.25, expected at least 0.5",
        ),
        (
            {"lung_median_hu": -212.5, "reference_lung_median_hu": -300.0},
            "reject",
            "lung median is -212 HU, expected -1088.6 to -366.95 HU",
        ),
        (
            {"bone_median_hu": 40.0},
            "reject",
            "bone median is 40 HU, expected 71.4 to 1000 HU",
        ),
        (
            {"lung_median_hu": -739.0},
            "review",
            "distance of the lung median from the reference's is 101 HU, expected at most 100 HU",
        ),
        (
            {"lung_iqr_hu": 0.0},
            "review",
            "lung interquartile range over the reference's is 0, expected 0.5 to 2",
        ),
        (
            {"nodule_contrast_hu": 200.0},
            "review",
            "nodule contrast is 200 HU, expected at least 250 HU",
        ),
        (
            {"nodule_contrast_hu": 12.0, "reference_nodule_contrast_hu": math.nan},
            "review",
            "nodule contrast is 12 HU, expected at least 100 HU",
        ),
        ({"seam_score": 3.5}, "review", "seam score is 3.5, expected 0.5 to 2"),
        (
            {"saturated_fraction": 0.3},
            "review",
            "share of drawn voxels at the scale's ends is 0.3, expected at most 0.1",
        ),
    ],
    ids=lambda value: ", ".join(value) if isinstance(value, dict) else "",
)
def test_a_verdict_names_the_figure_and_its_limit(
    figures: dict[str, Any], verdict: str, reason: str
) -> None:
    assert judged(**figures) == (verdict, (reason,))


@pytest.mark.parametrize(
    ("name", "limit", "beyond", "verdict"),
    [
        ("changed_fraction", 0.5, BELOW, "reject"),
        ("bone_median_hu", 71.4, BELOW, "reject"),
        ("bone_median_hu", 1000.0, ABOVE, "reject"),
        ("lung_median_hu", -940.0, BELOW, "review"),
        ("lung_median_hu", -740.0, ABOVE, "review"),
        ("lung_iqr_hu", 50.0, BELOW, "review"),
        ("lung_iqr_hu", 200.0, ABOVE, "review"),
        ("nodule_contrast_hu", 250.0, BELOW, "review"),
        ("seam_score", 0.5, BELOW, "review"),
        ("seam_score", 2.0, ABOVE, "review"),
        ("saturated_fraction", 0.1, ABOVE, "review"),
    ],
)
def test_a_limit_is_itself_accepted_and_the_next_number_is_not(
    name: str, limit: float, beyond: float, verdict: str
) -> None:
    assert judged(**{name: limit})[0] == "accept"
    assert judged(**{name: np.nextafter(limit, beyond)})[0] == verdict


def test_lungs_outside_the_organ_median_rule_are_rejected_wherever_the_reference_lies() -> None:
    for limit, beyond in ((-1088.6, BELOW), (-366.95, ABOVE)):
        assert judged(lung_median_hu=limit, reference_lung_median_hu=limit)[0] == "accept"
        outside = np.nextafter(limit, beyond)
        assert judged(lung_median_hu=outside, reference_lung_median_hu=limit)[0] == "reject"


def test_a_broken_volume_is_rejected_and_every_other_reason_is_kept_behind() -> None:
    verdict, reasons = judged(background_changed=2, seam_score=5.0, saturated_fraction=0.9)
    assert verdict == "reject"
    assert [reason.split(" ")[0] for reason in reasons] == ["background", "seam", "share"]


def test_a_faint_nodule_of_the_reference_may_be_as_faint_again() -> None:
    assert judged(nodule_contrast_hu=30.0, reference_nodule_contrast_hu=60.0)[0] == "accept"
    assert judged(nodule_contrast_hu=29.0, reference_nodule_contrast_hu=60.0)[0] == "review"
    # Where it has none to be seen, only those that are darker than lung are doubted.
    assert judged(nodule_contrast_hu=0.0, reference_nodule_contrast_hu=-20.0)[0] == "accept"
    assert judged(nodule_contrast_hu=-1.0, reference_nodule_contrast_hu=-20.0)[0] == "review"


def test_what_could_not_be_measured_is_neither_a_fault_nor_a_number() -> None:
    absent = ("nodule_contrast_hu", "reference_nodule_contrast_hu", "seam_score", "bone_median_hu")
    quality = dataclasses.replace(GOOD, **dict.fromkeys(absent, math.nan))
    assert quality.verdict == "accept"
    assert [quality.as_columns()[f"qc_{name}"] for name in absent] == [None] * 4


def test_a_reference_without_any_spread_has_no_multiple_of_it() -> None:
    assert judged(reference_lung_iqr_hu=0.0) == ("accept", ())


def test_a_layout_without_lungs_is_reviewed() -> None:
    nothing = dict.fromkeys(("lung_median_hu", "lung_iqr_hu"), math.nan)
    assert judged(**nothing) == (
        "review",
        ("the layout has no lung voxel, expected some to measure",),
    )


def test_other_limits_change_the_verdict_and_what_it_says() -> None:
    limits = QualityLimits(seam_score=(0.9, 1.05), min_changed_fraction=0.99)
    assert judged(limits=limits) == (
        "reject",
        (
            "share of drawn voxels unlike the reference is 0.98, expected at least 0.99",
            "seam score is 1.1, expected 0.9 to 1.05",
        ),
    )


@pytest.mark.parametrize(
    ("limit", "problem"),
    [
        ({"seam_score": (2.0, 0.5)}, r"seam_score is \(2.0, 0.5\); the first must not be above"),
        ({"lung_median_hu": (math.nan, 0.0)}, r"lung_median_hu is \(nan, 0.0\); it must be finite"),
        ({"min_changed_fraction": 50.0}, r"min_changed_fraction is 50.0; it must lie in \[0, 1\]"),
        ({"max_lung_shift_hu": -1.0}, r"max_lung_shift_hu is -1.0; it must be at least 0"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_limits_that_can_hold_for_nothing_are_refused(limit: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        QualityLimits(**limit)


def test_the_manifest_gets_every_figure_the_verdict_and_its_reasons() -> None:
    assert dataclasses.replace(GOOD, background_changed=3).as_columns() == {
        "qc_background_equal": False,
        "qc_background_changed": 3,
        "qc_changed_fraction": 0.98,
        "qc_saturated_fraction": 0.001,
        "qc_lung_median_hu": -850.0,
        "qc_reference_lung_median_hu": -840.0,
        "qc_lung_iqr_hu": 120.0,
        "qc_reference_lung_iqr_hu": 100.0,
        "qc_nodule_contrast_hu": 400.0,
        "qc_reference_nodule_contrast_hu": 500.0,
        "qc_seam_score": 1.1,
        "qc_bone_median_hu": None,
        "qc_verdict": "reject",
        "qc_reasons": ["background has 3 voxels unlike the reference, expected none"],
    }
    assert GOOD.as_columns()["qc_background_equal"] is True
    assert GOOD.as_columns()["qc_reasons"] == []


@pytest.mark.parametrize(
    ("figures", "reason"),
    [
        ({"lung_median_hu": -1104.37}, "lung median is -1104 HU, expected -1088.6 to -366.95 HU"),
        ({"changed_fraction": 0.123456}, "is 0.123, expected at least 0.5"),
        (
            {"nodule_contrast_hu": 12.3456, "reference_nodule_contrast_hu": 366.955},
            "is 12.3 HU, expected at least 183.5 HU",
        ),
        # Three digits would say that it is its limit.
        ({"seam_score": 2.0004}, "seam score is 2.0004, expected 0.5 to 2"),
        ({"changed_fraction": 0.49996}, "is 0.49996, expected at least 0.5"),
    ],
)
def test_a_reason_has_three_digits_or_as_many_as_tell_it_from_its_limit(
    figures: dict[str, float], reason: str
) -> None:
    assert any(one.endswith(reason) for one in judged(**figures)[1])


def test_columns_have_the_figures_as_they_were_measured() -> None:
    quality = dataclasses.replace(GOOD, seam_score=2.123456)
    assert quality.as_columns()["qc_seam_score"] == 2.123456
