"""New layouts by rule lie where their rule says, and one seed is one layout."""

import numpy as np
import pytest
from rule_layouts import AFFINE, BANK, CT, LAYOUT, SEEDS, SPACING, made, only, pieces_of
from scipy import ndimage

from factory.digests import sha256_of_voxels
from factory.nodules.bank import NoduleBank
from factory.nodules.lung_map import LungMap, map_lungs
from factory.nodules.measure import TOUCHING, measure_nodules
from factory.nodules.rules import LayoutsConfig

FACES = ndimage.generate_binary_structure(3, 1)


def test_a_nodule_inside_touches_nothing_but_lung(mapped_lungs: LungMap) -> None:
    for seed in SEEDS:
        layout = made(mapped_lungs, only("inside"), seed)
        around = ndimage.binary_dilation(layout.layout == 2, structure=TOUCHING)
        assert set(np.unique(LAYOUT[around])) == {1}
        assert min(nodule.pleura_mm for nodule in layout.placed) > 2.5


def test_a_margin_is_kept_in_mm(mapped_lungs: LungMap) -> None:
    for seed in SEEDS:
        layout = made(mapped_lungs, only("inside", margin_mm=9.0), seed)
        outside_mm = ndimage.distance_transform_edt(LAYOUT == 1, sampling=SPACING)
        assert outside_mm[layout.layout == 2].min() > 9.0
        first, second, _ = pieces_of(layout)
        assert ndimage.distance_transform_edt(~first, sampling=SPACING)[second].min() > 9.0


def test_a_nodule_at_the_pleura_has_a_face_on_what_lies_outside_the_lung(
    mapped_lungs: LungMap,
) -> None:
    for seed in SEEDS:
        layout = made(mapped_lungs, only("pleura"), seed)
        for piece, nodule in zip(pieces_of(layout), layout.placed, strict=True):
            assert (ndimage.binary_dilation(piece, structure=FACES) & (LAYOUT == 0)).any()
            assert nodule.pleura_mm <= max(SPACING)
            assert nodule.attachment == "pleura"


def test_no_more_of_a_nodule_is_cut_at_the_pleura_than_is_allowed(mapped_lungs: LungMap) -> None:
    cuts = [
        nodule.cut_share
        for seed in range(12)
        for nodule in made(mapped_lungs, only("pleura", max_cut=0.3), seed).placed
    ]
    assert max(cuts) <= 0.3
    assert max(cuts) > 0.15
    whole = [
        n.cut_share
        for seed in SEEDS
        for n in made(mapped_lungs, only("pleura", max_cut=0.0), seed).placed
    ]
    assert set(whole) == {0.0}


def test_what_the_wall_cuts_away_is_made_up_for_by_the_scale(mapped_lungs: LungMap) -> None:
    """So that pleural nodules have the diameters that were drawn, like all others."""
    placed = [
        n
        for seed in range(12)
        for n in made(mapped_lungs, only("pleura", max_cut=0.4), seed).placed
    ]
    cut = [n for n in placed if n.cut_share > 0.2]
    ratios = [n.diameter_mm / n.wanted_diameter_mm for n in cut]
    assert len(cut) >= 3
    assert np.mean(ratios) == pytest.approx(1.0, abs=0.06)


def test_a_nodule_at_a_vessel_touches_it_and_leaves_most_of_it_free(mapped_lungs: LungMap) -> None:
    for seed in SEEDS:
        layout = made(mapped_lungs, only("vessel"), seed)
        for piece in pieces_of(layout):
            around = ndimage.binary_dilation(piece, structure=TOUCHING)
            assert (mapped_lungs.vessels & around).any()
            assert mapped_lungs.vessels[piece].mean() <= 0.25
        assert all(n.vessel_mm <= np.linalg.norm(SPACING) for n in layout.placed)


def test_vessels_are_what_is_bright_in_the_lung_away_from_border_and_hilum(
    mapped_lungs: LungMap,
) -> None:
    assert mapped_lungs.vessels.sum() > 100
    assert (CT[mapped_lungs.vessels] == 0).all()
    assert mapped_lungs.pleura_mm[mapped_lungs.vessels].min() > 5.0
    near = map_lungs(CT, LAYOUT, SPACING, LayoutsConfig(hilum_mm=60.0))
    assert not near.vessels.any()


def test_a_speck_is_no_vessel() -> None:
    ct = np.where(LAYOUT == 1, -850, 40).astype(np.int16)
    ct[32, 32, 47] = 0
    assert not map_lungs(ct, LAYOUT, SPACING, LayoutsConfig()).vessels.any()


@pytest.mark.parametrize("mouth", [30, 46], ids=["open to the hilum", "closed"])
def test_gaps_that_a_mask_leaves_for_vessels_are_no_pleura(
    mapped_lungs: LungMap, mouth: int
) -> None:
    """Experts leave hilar vessels out of the lungs: their walls are no place for a pleural nodule."""
    layout = LAYOUT.copy()
    layout[30:34, 30:34, mouth:52] = 0
    gap = map_lungs(CT, layout, SPACING, LayoutsConfig())
    deep = mapped_lungs.pleura_mm > 12.0
    assert (deep & (layout == 0)).any()
    assert not (gap.pleura & deep).any()
    assert gap.inner_mm[32, 32, 52] == pytest.approx(2.5)


def test_new_nodules_touch_neither_each_other_nor_those_that_are_there(
    mapped_lungs: LungMap,
) -> None:
    own = LAYOUT.copy()
    own[20:30, 25:35, 42:52] = 2
    mapped = map_lungs(CT, own, SPACING, LayoutsConfig())
    for seed in SEEDS:
        config = LayoutsConfig(min_nodules=6, max_nodules=6)
        layout = made(mapped, config, seed)
        assert (layout.layout[own == 2] == 2).all()
        assert len(measure_nodules(layout.layout, AFFINE)) == 7
        assert ((layout.layout != 0) == (own != 0)).all()


def test_what_is_recorded_is_what_measuring_finds(mapped_lungs: LungMap) -> None:
    layout = made(mapped_lungs, LayoutsConfig(min_nodules=4, max_nodules=4))
    found = {round(n.volume_mm3, 3): n for n in measure_nodules(layout.layout, AFFINE)}
    for nodule in layout.placed:
        measured = found[round(nodule.volume_mm3, 3)]
        assert nodule.diameter_mm == pytest.approx(measured.diameter_mm)
        assert np.linalg.norm(np.subtract(nodule.center_ras_mm, measured.center_ras_mm)) < 5.0
        z, y, x = nodule.center_zyx
        assert nodule.center_ras_mm == pytest.approx((2.5 * x, 2.5 * y, 3.0 * z))


def test_a_shape_is_scaled_to_the_diameter_that_was_drawn(mapped_lungs: LungMap) -> None:
    for seed in SEEDS:
        for nodule in made(mapped_lungs, only("inside"), seed).placed:
            shape = BANK.diameters_mm[BANK.names.index(nodule.bank_name)]
            assert nodule.scale * shape == pytest.approx(nodule.wanted_diameter_mm, rel=1e-3)
            assert 1 / 1.5 <= nodule.scale <= 1.5
            assert nodule.diameter_mm == pytest.approx(nodule.wanted_diameter_mm, abs=0.8)


def test_a_diameter_that_the_bank_has_nothing_near_takes_the_nearest_shape(
    mapped_lungs: LungMap,
) -> None:
    small = NoduleBank(BANK.masks[:2], BANK.names[:2])
    for nodule in made(mapped_lungs, only("inside"), bank=small).placed:
        assert nodule.bank_name == BANK.names[1]
        assert nodule.scale == pytest.approx(
            nodule.wanted_diameter_mm / BANK.diameters_mm[1], abs=1e-3
        )


def test_one_seed_is_one_layout_on_every_machine(mapped_lungs: LungMap) -> None:
    config = LayoutsConfig(min_nodules=4, max_nodules=4)
    layouts = [made(mapped_lungs, config, seed) for seed in (0, 0, 1)]
    digests = [sha256_of_voxels(layout.layout) for layout in layouts]
    assert digests[0] == digests[1] != digests[2]
    assert layouts[0].placed == layouts[1].placed
    assert digests[0][:16] == "5d4d0b2edd5351bd", "raise ALGORITHM if a voxel moved"
