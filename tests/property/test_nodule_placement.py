import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from factory.nodules.bank import embedded_bank
from factory.nodules.place import PlacementConfig, place_nodules

PROFILE = settings(deadline=None, derandomize=True, max_examples=40)


@st.composite
def layouts(draw):
    """An ellipsoid of lung, off centre, sometimes cut by the edge of the volume."""
    shape = draw(st.tuples(*[st.integers(18, 36)] * 3))
    centre = [draw(st.integers(size // 3, 2 * size // 3)) for size in shape]
    radii = [draw(st.integers(size // 3, size)) for size in shape]
    axes = zip(np.ogrid[tuple(slice(size) for size in shape)], centre, radii, strict=True)
    return (sum(((grid - c) / r) ** 2 for grid, c, r in axes) < 1).astype(np.uint8)


spacings = st.tuples(*[st.floats(2.0, 9.0)] * 3)
seeds = st.integers(0, 2**63)
configs = st.builds(
    lambda low, more, margin: PlacementConfig(
        min_nodules=low, max_nodules=low + more, margin_mm=margin, max_diameter_mm=16.0
    ),
    st.integers(0, 1),
    st.integers(0, 4),
    st.floats(0.0, 4.0),
)


@PROFILE
@given(layouts(), spacings, seeds, configs)
def test_nodules_take_voxels_of_the_lung_and_of_nothing_else(layout, spacing, seed, config):
    placed, _ = place_nodules(layout, spacing, embedded_bank(), seed=seed, config=config)
    changed = placed != layout
    assert (layout[changed] == 1).all()
    assert (placed[changed] == 2).all()


@PROFILE
@given(layouts(), spacings, seeds, configs)
def test_nodules_never_overlap_or_touch_and_none_vanishes(layout, spacing, seed, config):
    placed, placements = place_nodules(layout, spacing, embedded_bank(), seed=seed, config=config)
    num_pieces = ndimage.label(placed == 2, structure=np.ones((3, 3, 3)))[1]
    assert num_pieces == len(placements)
    volume_mm3 = np.count_nonzero(placed == 2) * np.prod(spacing)
    assert np.isclose(sum(placement.volume_mm3 for placement in placements), volume_mm3)


@PROFILE
@given(layouts(), spacings, seeds, configs)
def test_the_number_of_nodules_stays_within_its_bounds(layout, spacing, seed, config):
    _, placements = place_nodules(layout, spacing, embedded_bank(), seed=seed, config=config)
    assert config.min_nodules <= len(placements) <= config.max_nodules


@PROFILE
@given(layouts(), spacings, seeds)
def test_every_number_within_the_bounds_can_be_drawn(layout, spacing, seed):
    config = PlacementConfig(min_nodules=0, max_nodules=1, max_diameter_mm=10.0)
    counts = {
        len(place_nodules(layout, spacing, embedded_bank(), seed=s, config=config)[1])
        for s in range(seed, seed + 12)
    }
    assert counts == {0, 1}


@PROFILE
@given(layouts(), spacings, seeds, configs)
def test_the_same_seed_gives_the_same_layout(layout, spacing, seed, config):
    first = place_nodules(layout, spacing, embedded_bank(), seed=seed, config=config)
    np.random.default_rng().random()
    again = place_nodules(layout.copy(), spacing, embedded_bank(), seed=seed, config=config)
    np.testing.assert_array_equal(first[0], again[0])
    assert first[1] == again[1]


@PROFILE
@given(layouts(), spacings, seeds)
def test_different_seeds_give_different_layouts(layout, spacing, seed):
    config = PlacementConfig(max_diameter_mm=16.0)
    drawn = {
        place_nodules(layout, spacing, embedded_bank(), seed=s, config=config)[0].tobytes()
        for s in range(seed, seed + 4)
    }
    assert len(drawn) >= 3
