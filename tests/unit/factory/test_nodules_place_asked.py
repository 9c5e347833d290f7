"""What is asked of a placement: settings that cannot be meant, and the digest that names it."""

import dataclasses

import numpy as np
import pytest
from lung_shapes import two_lungs

from factory.digests import sha256_of_voxels
from factory.nodules.bank import embedded_bank
from factory.nodules.place import PlacementConfig, place_nodules, placement_digest

CONFIG = PlacementConfig()


def test_a_lung_that_is_too_small_names_its_volume_and_the_smallest_nodule_tried():
    layout = np.zeros((30, 30, 30), np.uint8)
    layout[10:12, 10:20, 10:20] = 1
    with pytest.raises(
        ValueError,
        match=r"0 nodules found room in a lung of 0\.2 ml, expected at least 1; .* 5\.0 mm\. Lower",
    ):
        place_nodules(layout, (1.0, 1.0, 1.0), embedded_bank(), seed=0, config=CONFIG)


def test_a_layout_without_lung_is_an_error_and_not_an_endless_search():
    with pytest.raises(ValueError, match=r"lung of 0\.0 ml.*check the lung mask"):
        place_nodules(
            np.zeros((16, 16, 16), np.uint8), (2.0,) * 3, embedded_bank(), seed=0, config=CONFIG
        )


def test_a_bank_without_a_wanted_diameter_says_what_it_has():
    with pytest.raises(ValueError, match=r"measure 5\.0 to 29\.0 mm, .* of 40 to 50 mm; set min_"):
        place_nodules(
            two_lungs(32),
            (4.0,) * 3,
            embedded_bank(),
            seed=0,
            config=PlacementConfig(min_diameter_mm=40.0, max_diameter_mm=50.0),
        )


def test_the_layout_that_is_given_is_left_as_it_is():
    layout = two_lungs(32)
    before = layout.copy()
    place_nodules(layout, (6.0,) * 3, embedded_bank(), seed=0, config=CONFIG)
    np.testing.assert_array_equal(layout, before)


@pytest.mark.parametrize(
    ("layout", "spacing_mm", "problem"),
    [
        (np.ones((4, 4), np.uint8), (1.0,) * 3, r"uint8 \(4, 4\), expected uint8 \(z, y, x\)"),
        (np.ones((4, 4, 4), np.int64), (1.0,) * 3, r"int64 \(4, 4, 4\), expected uint8"),
        (np.ones((4, 4, 4), np.uint8), (1.0, 0.0, 1.0), "expected three positive numbers"),
        (np.ones((4, 4, 4), np.uint8), (1.0, 1.0), "expected three positive numbers"),
    ],
)
def test_arguments_that_cannot_be_meant_are_named(layout, spacing_mm, problem):
    with pytest.raises(ValueError, match=problem):
        place_nodules(layout, spacing_mm, embedded_bank(), seed=0, config=CONFIG)


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"min_nodules": 4}, "min_nodules is 4 and max_nodules is 3"),
        ({"min_nodules": -1}, "expected 0 <= min_nodules"),
        ({"min_diameter_mm": 31.0}, r"min_diameter_mm is 31\.0 and max_diameter_mm is 30\.0"),
        ({"min_diameter_mm": 0.0}, "expected 0 < min_diameter_mm"),
        ({"margin_mm": -1.0}, r"margin_mm is -1\.0, expected 0 or more"),
        ({"max_tries": 0}, "max_tries is 0, expected 1 or more"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(settings, problem):
    with pytest.raises(ValueError, match=problem):
        PlacementConfig(**settings)


def test_a_seed_gives_the_voxels_that_it_gave_when_its_digest_was_written():
    placed, _ = place_nodules(
        two_lungs(64), (3.0, 2.0, 2.5), embedded_bank(), seed=7, config=CONFIG
    )
    # A change here moves every planned layout: raise `_ALGORITHM` in place.py with it.
    assert sha256_of_voxels(placed)[:12] == "d9f4840bed05"
    assert placement_digest("ab", "cd", CONFIG, 7) == "c548cd483a2f3fe0dc4929f3255a400c"


def test_a_placement_is_named_by_everything_that_changes_it():
    digests = {
        placement_digest("ab", "cd", CONFIG, 7),
        placement_digest("ax", "cd", CONFIG, 7),
        placement_digest("ab", "cx", CONFIG, 7),
        placement_digest("ab", "cd", CONFIG, 8),
        *(
            placement_digest("ab", "cd", dataclasses.replace(CONFIG, **change), 7)
            for change in (
                {"min_nodules": 2},
                {"max_nodules": 4},
                {"min_diameter_mm": 5.0},
                {"max_diameter_mm": 29.0},
                {"margin_mm": 2.0},
                {"max_tries": 65},
            )
        ),
    }
    assert len(digests) == 10


def test_whole_millimetres_in_a_recipe_name_the_same_placement():
    whole = PlacementConfig(min_diameter_mm=4, max_diameter_mm=30, margin_mm=1)
    assert placement_digest("ab", "cd", whole, 7) == placement_digest("ab", "cd", CONFIG, 7)
