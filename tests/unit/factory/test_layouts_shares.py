"""Layouts by shares: which rules and zones are asked for, and what is done where a nodule has no room."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from rule_layouts import AFFINE, BANK, CT, LAYOUT, SEEDS, SIZES, SPACING, made, only

from factory.nodules.diameters import Diameters, diameters_of
from factory.nodules.lung_map import LungMap, map_lungs
from factory.nodules.new_layout import least_diameter_mm, make_layout
from factory.nodules.place import NoRoomError
from factory.nodules.rules import AttachmentShares, LayoutsConfig, ZoneShares
from factory.nodules.zones import ZONES


def test_a_vessel_is_only_asked_for_where_there_are_some() -> None:
    right = CT.copy()
    right[:, :, :32][LAYOUT[:, :, :32] == 1] = -850
    mapped = map_lungs(right, LAYOUT, SPACING, LayoutsConfig())
    placed = [n for seed in SEEDS for n in made(mapped, only("vessel"), seed).placed]
    assert {n.zone.split("-")[0] for n in placed} == {"right"}


def test_rules_are_asked_for_by_their_shares(mapped_lungs: LungMap) -> None:
    config = LayoutsConfig(
        min_nodules=4,
        max_nodules=4,
        shares=AttachmentShares(inside=1.0, pleura=3.0, vessel=0.0),
    )
    asked = [n.attachment for seed in range(25) for n in made(mapped_lungs, config, seed).placed]
    assert asked.count("pleura") / len(asked) == pytest.approx(0.75, abs=0.12)
    assert "vessel" not in asked


def test_zones_are_asked_for_by_their_shares(mapped_lungs: LungMap) -> None:
    zones = ZoneShares(right_upper=1.0, left_lower=1.0)
    layouts = [made(mapped_lungs, only("inside", zones=zones), seed) for seed in SEEDS]
    placed = [n for layout in layouts for n in layout.placed]
    assert {n.zone for n in placed} == {"right-upper", "left-lower"}
    for nodule in placed:
        z, _, x = nodule.center_zyx
        assert (x >= 32) == (nodule.zone == "right-upper")
        assert (z >= 32) == (nodule.zone == "right-upper")


def test_without_shares_zones_are_as_likely_as_they_are_large(mapped_lungs: LungMap) -> None:
    placed = [n for seed in range(40) for n in made(mapped_lungs, only("inside"), seed).placed]
    found = np.array([sum(n.zone == zone for n in placed) for zone in ZONES]) / len(placed)
    volumes = np.bincount(mapped_lungs.zones[LAYOUT == 1], minlength=7)[1:] / (LAYOUT == 1).sum()
    assert found == pytest.approx(volumes, abs=0.1)


def test_a_nodule_without_room_is_made_smaller(mapped_lungs: LungMap) -> None:
    layout = np.zeros_like(LAYOUT)
    layout[27:37, 27:37, 45:53] = 1
    tight = map_lungs(CT, layout, SPACING, LayoutsConfig())
    config = only("inside", min_nodules=1, max_nodules=1)
    large = Diameters((24.0, 24.0))
    (nodule,) = make_layout(tight, AFFINE, BANK, large, seed=1, config=config).placed
    assert nodule.wanted_diameter_mm == 24.0
    assert 6.0 < nodule.diameter_mm < 20.0


def test_a_nodule_without_any_room_is_recorded(mapped_lungs: LungMap) -> None:
    dark = np.where(LAYOUT == 1, -850, 40).astype(np.int16)
    mapped = map_lungs(dark, LAYOUT, SPACING, LayoutsConfig())
    config = LayoutsConfig(
        min_nodules=1,
        max_nodules=6,
        shares=AttachmentShares(inside=1.0, pleura=0.0, vessel=1.0),
    )
    layouts = [made(mapped, config, seed) for seed in range(4)]
    missing = [wish for layout in layouts for wish in layout.missing]
    assert {wish.attachment for wish in missing} == {"vessel"}
    assert all(layout.placed for layout in layouts)
    assert all(8.0 <= wish.wanted_diameter_mm <= 14.0 and wish.zone in ZONES for wish in missing)
    assert {n.vessel_mm for layout in layouts for n in layout.placed} == {-1.0}


def test_others_are_drawn_in_place_of_nodules_without_room(mapped_lungs: LungMap) -> None:
    mapped = replace(mapped_lungs, vessels=np.zeros_like(mapped_lungs.vessels))
    shares = AttachmentShares(inside=1.0, pleura=0.0, vessel=1.0)
    config = LayoutsConfig(min_nodules=3, max_nodules=3, shares=shares)
    layouts = [made(mapped, config, seed) for seed in SEEDS]
    assert {len(layout.placed) for layout in layouts} == {3}
    assert any(layout.missing for layout in layouts)


def test_a_layout_with_too_few_nodules_is_an_error_that_says_what_was_wanted(
    mapped_lungs: LungMap,
) -> None:
    dark = np.where(LAYOUT == 1, -850, 40).astype(np.int16)
    mapped = map_lungs(dark, LAYOUT, SPACING, LayoutsConfig())
    with pytest.raises(
        NoRoomError,
        match=r"0 new nodules found room in \d+ ml of lung, expected at least 3; none was ",
    ):
        made(mapped, only("vessel"))


def test_diameters_that_the_grid_cannot_show_are_not_drawn() -> None:
    coarse = map_lungs(CT, LAYOUT, (6.0, 6.0, 6.0), LayoutsConfig())
    least = least_diameter_mm(coarse.spacing, LayoutsConfig())
    assert least == pytest.approx(9.0)
    config = only("inside", min_nodules=5, max_nodules=5)
    layout = make_layout(coarse, AFFINE, BANK, SIZES, seed=0, config=config)
    assert min(n.wanted_diameter_mm for n in layout.placed) >= 9.0
    small = diameters_of("uniform:5:6")
    with pytest.raises(
        ValueError, match=r"drawn from 5 to 6 mm, and none lies in the 9\.0 to 30\.0"
    ):
        make_layout(coarse, AFFINE, BANK, small, seed=0, config=config)


def test_zones_that_the_lungs_have_not_are_an_error(mapped_lungs: LungMap) -> None:
    right = replace(
        mapped_lungs, zones=np.where(mapped_lungs.zones > 3, 0, mapped_lungs.zones).astype(np.uint8)
    )
    config = only("inside", zones=ZoneShares(left_lower=1.0))
    with pytest.raises(
        ValueError, match=r"the lungs have the zones right-upper, right-middle, right-l"
    ):
        made(right, config)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"min_nodules": 4},
            "found min_nodules = 4 and max_nodules = 3; expected 0 <= min_nodules",
        ),
        ({"max_cut": 0.6}, "found max_cut = 0.6; expected a share from 0 to 0.5"),
        ({"min_diameter_mm": 40.0}, "found min_diameter_mm = 40.0 and max_diameter_mm = 30.0"),
        ({"diameters": "gauss"}, "found 'gauss'; expected LIDC, uniform:LOW:HIGH"),
        ({"margin_mm": float("nan")}, "found margin_mm = nan; expected 0 or more, in mm"),
    ],
)
def test_rules_that_cannot_be_meant_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message.replace("(", r"\(")):
        LayoutsConfig(**changes)


def test_shares_that_cannot_be_meant_are_refused() -> None:
    with pytest.raises(
        ValueError, match="found only 0 for inside, pleura, vessel; expected a share"
    ):
        AttachmentShares(inside=0.0, pleura=0.0, vessel=0.0)
    with pytest.raises(
        ValueError, match=r"found left_lower = -1\.0; expected a share of 0 or more"
    ):
        ZoneShares(left_lower=-1.0)
