"""New layouts by rule lie where their rule says, and one seed is one layout."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from factory.digests import sha256_of_voxels
from factory.nodules.bank import NoduleBank, embedded_bank
from factory.nodules.diameters import Diameters, diameters_of
from factory.nodules.lung_map import LungMap, map_lungs
from factory.nodules.measure import TOUCHING, measure_nodules
from factory.nodules.new_layout import NewLayout, least_diameter_mm, make_layout
from factory.nodules.place import NoRoomError
from factory.nodules.rules import AttachmentShares, LayoutsConfig, ZoneShares
from factory.nodules.zones import ZONES

SPACING = (3.0, 2.5, 2.5)
AFFINE = np.diag([2.5, 2.5, 3.0, 1.0])
SIZES = diameters_of("uniform:8:14")
BANK = embedded_bank()
FACES = ndimage.generate_binary_structure(3, 1)
SEEDS = range(4)


def thorax(size: int = 64) -> tuple[np.ndarray, np.ndarray]:
    """Two lungs of ellipsoids, each with a straight vessel from front to back; CT and layout."""
    z, y, x = (np.ogrid[:size, :size, :size][axis] / size - 0.5 for axis in range(3))
    layout = np.zeros((size,) * 3, np.uint8)
    ct = np.full((size,) * 3, 40, np.int16)
    for side in (-0.23, 0.23):
        lung = (z / 0.42) ** 2 + (y / 0.36) ** 2 + ((x - side) / 0.2) ** 2 < 1
        layout[lung] = 1
        ct[lung] = -850
        vessel = (abs(z) < 0.025) & (abs(x - side) < 0.025) & lung
        ct[vessel] = 0
    return ct, layout


CT, LAYOUT = thorax()


def only(attachment: str, **changes: Any) -> LayoutsConfig:
    shares = AttachmentShares(**{"inside": 0.0, "pleura": 0.0, "vessel": 0.0} | {attachment: 1.0})
    return LayoutsConfig(shares=shares, **{"min_nodules": 3, "max_nodules": 3} | changes)


@pytest.fixture(scope="module")
def lungs() -> LungMap:
    return map_lungs(CT, LAYOUT, SPACING, LayoutsConfig())


def made(
    lungs: LungMap, config: LayoutsConfig, seed: int = 0, bank: NoduleBank = BANK
) -> NewLayout:
    return make_layout(lungs, AFFINE, bank, SIZES, seed=seed, config=config)


def pieces_of(layout: NewLayout) -> list[np.ndarray]:
    """The voxels of each new nodule, in the order of placing."""
    labels, _ = ndimage.label(layout.layout == 2, structure=TOUCHING)
    return [labels == labels[nodule.center_zyx] for nodule in layout.placed]


def test_a_nodule_inside_touches_nothing_but_lung(lungs: LungMap) -> None:
    for seed in SEEDS:
        layout = made(lungs, only("inside"), seed)
        around = ndimage.binary_dilation(layout.layout == 2, structure=TOUCHING)
        assert set(np.unique(LAYOUT[around])) == {1}
        assert min(nodule.pleura_mm for nodule in layout.placed) > 2.5


def test_a_margin_is_kept_in_mm(lungs: LungMap) -> None:
    for seed in SEEDS:
        layout = made(lungs, only("inside", margin_mm=9.0), seed)
        outside_mm = ndimage.distance_transform_edt(LAYOUT == 1, sampling=SPACING)
        assert outside_mm[layout.layout == 2].min() > 9.0
        first, second, _ = pieces_of(layout)
        assert ndimage.distance_transform_edt(~first, sampling=SPACING)[second].min() > 9.0


def test_a_nodule_at_the_pleura_has_a_face_on_what_lies_outside_the_lung(lungs: LungMap) -> None:
    for seed in SEEDS:
        layout = made(lungs, only("pleura"), seed)
        for piece, nodule in zip(pieces_of(layout), layout.placed, strict=True):
            assert (ndimage.binary_dilation(piece, structure=FACES) & (LAYOUT == 0)).any()
            assert nodule.pleura_mm <= max(SPACING)
            assert nodule.attachment == "pleura"


def test_no_more_of_a_nodule_is_cut_at_the_pleura_than_is_allowed(lungs: LungMap) -> None:
    cuts = [
        nodule.cut_share
        for seed in range(12)
        for nodule in made(lungs, only("pleura", max_cut=0.3), seed).placed
    ]
    assert max(cuts) <= 0.3
    assert max(cuts) > 0.15
    whole = [
        n.cut_share for seed in SEEDS for n in made(lungs, only("pleura", max_cut=0.0), seed).placed
    ]
    assert set(whole) == {0.0}


def test_what_the_wall_cuts_away_is_made_up_for_by_the_scale(lungs: LungMap) -> None:
    """So that pleural nodules have the diameters that were drawn, like all others."""
    placed = [
        n for seed in range(12) for n in made(lungs, only("pleura", max_cut=0.4), seed).placed
    ]
    cut = [n for n in placed if n.cut_share > 0.2]
    ratios = [n.diameter_mm / n.wanted_diameter_mm for n in cut]
    assert len(cut) >= 3
    assert np.mean(ratios) == pytest.approx(1.0, abs=0.06)


def test_a_nodule_at_a_vessel_touches_it_and_leaves_most_of_it_free(lungs: LungMap) -> None:
    for seed in SEEDS:
        layout = made(lungs, only("vessel"), seed)
        for piece in pieces_of(layout):
            around = ndimage.binary_dilation(piece, structure=TOUCHING)
            assert (lungs.vessels & around).any()
            assert lungs.vessels[piece].mean() <= 0.25
        assert all(n.vessel_mm <= np.linalg.norm(SPACING) for n in layout.placed)


def test_vessels_are_what_is_bright_in_the_lung_away_from_border_and_hilum(lungs: LungMap) -> None:
    assert lungs.vessels.sum() > 100
    assert (CT[lungs.vessels] == 0).all()
    assert lungs.pleura_mm[lungs.vessels].min() > 5.0
    near = map_lungs(CT, LAYOUT, SPACING, LayoutsConfig(hilum_mm=60.0))
    assert not near.vessels.any()


def test_a_speck_is_no_vessel() -> None:
    ct = np.where(LAYOUT == 1, -850, 40).astype(np.int16)
    ct[32, 32, 47] = 0
    assert not map_lungs(ct, LAYOUT, SPACING, LayoutsConfig()).vessels.any()


@pytest.mark.parametrize("mouth", [30, 46], ids=["open to the hilum", "closed"])
def test_gaps_that_a_mask_leaves_for_vessels_are_no_pleura(lungs: LungMap, mouth: int) -> None:
    """Experts leave hilar vessels out of the lungs: their walls are no place for a pleural nodule."""
    layout = LAYOUT.copy()
    layout[30:34, 30:34, mouth:52] = 0
    gap = map_lungs(CT, layout, SPACING, LayoutsConfig())
    deep = lungs.pleura_mm > 12.0
    assert (deep & (layout == 0)).any()
    assert not (gap.pleura & deep).any()
    assert gap.inner_mm[32, 32, 52] == pytest.approx(2.5)


def test_new_nodules_touch_neither_each_other_nor_those_that_are_there(lungs: LungMap) -> None:
    own = LAYOUT.copy()
    own[20:30, 25:35, 42:52] = 2
    mapped = map_lungs(CT, own, SPACING, LayoutsConfig())
    for seed in SEEDS:
        config = LayoutsConfig(min_nodules=6, max_nodules=6)
        layout = made(mapped, config, seed)
        assert (layout.layout[own == 2] == 2).all()
        assert len(measure_nodules(layout.layout, AFFINE)) == 7
        assert ((layout.layout != 0) == (own != 0)).all()


def test_what_is_recorded_is_what_measuring_finds(lungs: LungMap) -> None:
    layout = made(lungs, LayoutsConfig(min_nodules=4, max_nodules=4))
    found = {round(n.volume_mm3, 3): n for n in measure_nodules(layout.layout, AFFINE)}
    for nodule in layout.placed:
        measured = found[round(nodule.volume_mm3, 3)]
        assert nodule.diameter_mm == pytest.approx(measured.diameter_mm)
        assert np.linalg.norm(np.subtract(nodule.center_ras_mm, measured.center_ras_mm)) < 5.0
        z, y, x = nodule.center_zyx
        assert nodule.center_ras_mm == pytest.approx((2.5 * x, 2.5 * y, 3.0 * z))


def test_a_shape_is_scaled_to_the_diameter_that_was_drawn(lungs: LungMap) -> None:
    for seed in SEEDS:
        for nodule in made(lungs, only("inside"), seed).placed:
            shape = BANK.diameters_mm[BANK.names.index(nodule.bank_name)]
            assert nodule.scale * shape == pytest.approx(nodule.wanted_diameter_mm, rel=1e-3)
            assert 1 / 1.5 <= nodule.scale <= 1.5
            assert nodule.diameter_mm == pytest.approx(nodule.wanted_diameter_mm, abs=0.8)


def test_a_diameter_that_the_bank_has_nothing_near_takes_the_nearest_shape(lungs: LungMap) -> None:
    small = NoduleBank(BANK.masks[:2], BANK.names[:2])
    for nodule in made(lungs, only("inside"), bank=small).placed:
        assert nodule.bank_name == BANK.names[1]
        assert nodule.scale == pytest.approx(
            nodule.wanted_diameter_mm / BANK.diameters_mm[1], abs=1e-3
        )


def test_a_vessel_is_only_asked_for_where_there_are_some() -> None:
    right = CT.copy()
    right[:, :, :32][LAYOUT[:, :, :32] == 1] = -850
    mapped = map_lungs(right, LAYOUT, SPACING, LayoutsConfig())
    placed = [n for seed in SEEDS for n in made(mapped, only("vessel"), seed).placed]
    assert {n.zone.split("-")[0] for n in placed} == {"right"}


def test_rules_are_asked_for_by_their_shares(lungs: LungMap) -> None:
    config = LayoutsConfig(
        min_nodules=4,
        max_nodules=4,
        shares=AttachmentShares(inside=1.0, pleura=3.0, vessel=0.0),
    )
    asked = [n.attachment for seed in range(25) for n in made(lungs, config, seed).placed]
    assert asked.count("pleura") / len(asked) == pytest.approx(0.75, abs=0.12)
    assert "vessel" not in asked


def test_zones_are_asked_for_by_their_shares(lungs: LungMap) -> None:
    zones = ZoneShares(right_upper=1.0, left_lower=1.0)
    layouts = [made(lungs, only("inside", zones=zones), seed) for seed in SEEDS]
    placed = [n for layout in layouts for n in layout.placed]
    assert {n.zone for n in placed} == {"right-upper", "left-lower"}
    for nodule in placed:
        z, _, x = nodule.center_zyx
        assert (x >= 32) == (nodule.zone == "right-upper")
        assert (z >= 32) == (nodule.zone == "right-upper")


def test_without_shares_zones_are_as_likely_as_they_are_large(lungs: LungMap) -> None:
    placed = [n for seed in range(40) for n in made(lungs, only("inside"), seed).placed]
    found = np.array([sum(n.zone == zone for n in placed) for zone in ZONES]) / len(placed)
    volumes = np.bincount(lungs.zones[LAYOUT == 1], minlength=7)[1:] / (LAYOUT == 1).sum()
    assert found == pytest.approx(volumes, abs=0.1)


def test_a_nodule_without_room_is_made_smaller(lungs: LungMap) -> None:
    layout = np.zeros_like(LAYOUT)
    layout[27:37, 27:37, 45:53] = 1
    tight = map_lungs(CT, layout, SPACING, LayoutsConfig())
    config = only("inside", min_nodules=1, max_nodules=1)
    large = Diameters((24.0, 24.0))
    (nodule,) = make_layout(tight, AFFINE, BANK, large, seed=1, config=config).placed
    assert nodule.wanted_diameter_mm == 24.0
    assert 6.0 < nodule.diameter_mm < 20.0


def test_a_nodule_without_any_room_is_recorded(lungs: LungMap) -> None:
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


def test_others_are_drawn_in_place_of_nodules_without_room(lungs: LungMap) -> None:
    mapped = replace(lungs, vessels=np.zeros_like(lungs.vessels))
    shares = AttachmentShares(inside=1.0, pleura=0.0, vessel=1.0)
    config = LayoutsConfig(min_nodules=3, max_nodules=3, shares=shares)
    layouts = [made(mapped, config, seed) for seed in SEEDS]
    assert {len(layout.placed) for layout in layouts} == {3}
    assert any(layout.missing for layout in layouts)


def test_a_layout_with_too_few_nodules_is_an_error_that_says_what_was_wanted(
    lungs: LungMap,
) -> None:
    dark = np.where(LAYOUT == 1, -850, 40).astype(np.int16)
    mapped = map_lungs(dark, LAYOUT, SPACING, LayoutsConfig())
    with pytest.raises(
        NoRoomError,
        match=r"0 new nodules found room in \d+ ml of lung, expected at least 3; none was ",
    ):
        made(mapped, only("vessel"))


def test_one_seed_is_one_layout_on_every_machine(lungs: LungMap) -> None:
    config = LayoutsConfig(min_nodules=4, max_nodules=4)
    layouts = [made(lungs, config, seed) for seed in (0, 0, 1)]
    digests = [sha256_of_voxels(layout.layout) for layout in layouts]
    assert digests[0] == digests[1] != digests[2]
    assert layouts[0].placed == layouts[1].placed
    assert digests[0][:16] == "5d4d0b2edd5351bd", "raise ALGORITHM if a voxel moved"


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


def test_zones_that_the_lungs_have_not_are_an_error(lungs: LungMap) -> None:
    right = replace(lungs, zones=np.where(lungs.zones > 3, 0, lungs.zones).astype(np.uint8))
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
