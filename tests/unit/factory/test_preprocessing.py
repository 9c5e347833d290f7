import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support import patient_1011

from factory.axes import to_orientation
from factory.case import Case
from factory.errors import ModelError
from factory.ingest.prepare import IngestConfig
from factory.intensity import HuWindow
from factory.layouts import LUNG, NODULE
from factory.preprocessing import Preprocessing, published

OURS = Preprocessing(ingest={"grid": 16, "field_of_view": "lungs"})
BOTH = ("lung", "nodule")
SHAPE = (3, 4, 5)


@pytest.fixture
def ct() -> np.ndarray:
    """No HU twice, and more than a window holds."""
    hu = np.arange(-1000, 1400, 40, dtype=np.int16)
    return np.random.default_rng(1).permutation(hu).reshape(SHAPE)


@pytest.fixture
def layout() -> np.ndarray:
    """Lungs with a nodule, at one corner: no turn leaves it where it is."""
    layout = np.zeros(SHAPE, np.uint8)
    layout[1:, 2:, 3:] = LUNG
    layout[2, 3, 4] = NODULE
    return layout


@pytest.fixture(scope="module")
def real_case(ct_dir: Path) -> Case:
    """A contrast CT with nodules, the whole field of view on a small grid."""
    return patient_1011(ct_dir, IngestConfig(grid=32, field_of_view="scan"))


def test_our_own_models_see_arrays_as_they_are(ct, layout):
    given = OURS.feed(ct, layout)
    np.testing.assert_array_equal(given.x_known, HuWindow().encode(ct)[None])
    np.testing.assert_array_equal(given.condition[0] == 1, layout == LUNG)
    np.testing.assert_array_equal(given.condition[1] == 1, layout == NODULE)
    assert set(np.unique(given.condition)) == {-1.0, 1.0}
    assert given.x_known.dtype == given.condition.dtype == np.float32


def test_published_weights_see_z_then_x_from_the_right_then_y_from_the_front(ct, layout):
    given = published(BOTH, 16).feed(ct, layout)
    assert given.x_known.shape == (1, 3, 5, 4)
    assert given.condition.shape == (2, 3, 5, 4)
    low, high = ct.min(axis=(1, 2)), ct.max(axis=(1, 2))
    for z, x, y in np.ndindex(3, 5, 4):
        here = z, 4 - 1 - y, 5 - 1 - x
        scaled = (int(ct[here]) - int(low[z])) / (int(high[z]) - int(low[z])) * 2 - 1
        assert given.x_known[0, z, x, y] == pytest.approx(scaled, abs=1e-6)
        assert (given.condition[0, z, x, y] == 1) == (layout[here] == LUNG)
        assert (given.condition[1, z, x, y] == 1) == (layout[here] == NODULE)


@pytest.mark.parametrize("model", [OURS, published(BOTH, 16)], ids=["ours", "published"])
def test_lung_and_nodule_are_drawn_and_all_else_is_the_references_own_hu(model, ct, layout):
    given = model.feed(ct, layout)
    np.testing.assert_array_equal(given.drawn, layout != 0)
    decoded = given.decode(np.full_like(given.x_known, -1.0))
    np.testing.assert_array_equal(decoded[~given.drawn], ct[~given.drawn])
    lowest = ct.min(axis=(1, 2), keepdims=True) if model.scaling == "slices" else -1024
    assert (decoded == lowest)[given.drawn].all()
    assert decoded.dtype == np.int16


def test_a_model_of_nodules_alone_keeps_the_lungs(ct, layout):
    given = published(("nodule",), 16).feed(ct, layout)
    assert given.condition.shape == (1, 3, 5, 4)
    np.testing.assert_array_equal(given.drawn, layout == NODULE)
    decoded = given.decode(np.ones_like(given.x_known))
    assert np.argwhere(decoded != ct).tolist() == [[2, 3, 4]]
    assert decoded[2, 3, 4] == ct[2].max()


def test_what_is_drawn_comes_back_to_the_voxel_that_it_was_drawn_for(ct, layout):
    given = published(BOTH, 16).feed(ct, np.full_like(layout, LUNG))
    np.testing.assert_array_equal(given.decode(given.x_known), ct)
    x_0 = given.x_known.copy()
    # Top, left and back of the patient: our last z, first x and first y.
    x_0[0, 2, 4, 3] *= -1.0
    assert np.argwhere(given.decode(x_0) != ct).tolist() == [[2, 0, 0]]


def test_slices_are_those_along_z_wherever_the_model_has_its_z(ct, layout):
    model = replace(published(BOTH, 16), orientation="PIL")
    given = model.feed(ct, np.full_like(layout, LUNG))
    assert given.x_known.shape == (1, 4, 3, 5)
    np.testing.assert_allclose(given.x_known.max(axis=(0, 1, 3)), 1.0, atol=1e-6)
    np.testing.assert_array_equal(given.decode(given.x_known), ct)


def test_a_volume_of_another_shape_or_with_nan_is_refused(ct, layout):
    given = published(BOTH, 16).feed(ct, layout)
    with pytest.raises(ValueError, match=r"found shape \(3, 5, 4\); expected \(1, 3, 5, 4\)"):
        given.decode(given.x_known[0])
    with pytest.raises(ValueError, match="60 voxels with NaN or infinity"):
        given.decode(np.full_like(given.x_known, np.nan))


def test_feeding_leaves_the_case_as_it_was(ct, layout):
    before = ct.copy(), layout.copy()
    given = OURS.feed(ct, layout)
    given.x_known[:], given.condition[:] = 0, 0
    np.testing.assert_array_equal((ct, layout), before)


@pytest.mark.parametrize("model", [OURS, published(BOTH, 128), published(("nodule",), 32)], ids=str)
def test_a_checkpoint_says_how_its_model_is_fed(model):
    assert Preprocessing.from_json(json.loads(json.dumps(model.as_json()))) == model


def test_a_model_may_draw_lungs_that_it_is_told_nothing_of(ct, layout):
    model = replace(OURS, labels=("nodule",), drawn=BOTH, orientation="SLP")
    assert Preprocessing.from_json(json.loads(json.dumps(model.as_json()))) == model
    given = model.feed(ct, layout)
    assert given.condition.shape[0] == 1
    np.testing.assert_array_equal(given.drawn, layout != 0)
    assert given.labels_drawn == BOTH
    # Turned like what the model sees: there the mask is needed.
    np.testing.assert_array_equal(given.kept[0], to_orientation(layout == 0, "SLP"))
    assert given.kept.shape == given.x_known.shape


def test_a_model_that_draws_what_it_is_told_of_says_no_more_than_it_did():
    assert "drawn" not in OURS.as_json()
    assert OURS.labels_drawn == BOTH


def test_published_weights_want_whole_scans_of_their_grid():
    assert published(("nodule",), 128).as_json() == {
        "scaling": "slices",
        "hu_window": None,
        "orientation": "SLP",
        "labels": ["nodule"],
        "ingest": {"grid": 128, "field_of_view": "scan", "spacing_mm": 0.0},
    }


def test_a_checkpoint_of_an_earlier_release_means_what_it_meant(ct, layout):
    ingest = {"grid": 16, "field_of_view": "lungs", "margin_mm": 20.0, "spacing_mm": 0.0}
    older = Preprocessing.from_json({"hu_window": [-1000.0, 400.0], "ingest": ingest})
    assert older == replace(OURS, hu_window=(-1000.0, 400.0), ingest=ingest)
    assert Preprocessing.from_json({"hu_window": [-1024.0, 600.0]}) == replace(OURS, ingest={})
    given = older.feed(ct, layout)
    np.testing.assert_array_equal(given.x_known[0], HuWindow(-1000.0, 400.0).encode(ct))


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        (
            {"gamma": 2},
            r"found key 'gamma'; expected scaling, hu_window, orientation, labels, drawn, ingest",
        ),
        ({"scaling": "histogram"}, r"scaling: found 'histogram'; expected window or slices"),
        ({"hu_window": None}, r"hu_window: found None; expected \(low, high\) in HU"),
        ({"hu_window": [600, -1024]}, r"hu_window: found \(600, -1024\); expected \(low, high\)"),
        ({"hu_window": ["a", "b"]}, r"hu_window: found \('a', 'b'\); expected \(low, high\)"),
        ({"hu_window": [0, float("inf")]}, r"hu_window: found \(0, inf\); expected \(low, high\)"),
        (
            {"scaling": "slices"},
            r"hu_window: found \(-1024\.0, 600\.0\); expected none, for slices",
        ),
        ({"orientation": "ZYX"}, r"orientation: found 'ZYX'; expected three directions, as SAR"),
        ({"orientation": 5}, r"orientation: found 5; expected three directions"),
        ({"labels": ["nodule", "lung"]}, r"labels: found \('nodule', 'lung'\); expected .*or "),
        ({"labels": "lung"}, r"labels: found 'lung'; expected \('lung', 'nodule'\) or"),
        (
            {"drawn": ["lung"]},
            r"drawn: found \('lung',\); expected \(\) or \('lung', 'nodule'\) or",
        ),
        ({"drawn": 1}, r"drawn: found 1; expected \(\) or"),
        ({"ingest": [1]}, r"ingest: found \(1,\); expected a table of \[ingest\] settings"),
    ],
)
def test_a_model_that_cannot_be_fed_as_it_was_trained_is_refused(changes, problem):
    with pytest.raises(
        ModelError, match=rf"^model run: its preprocessing .*: {problem}.*\. Use the release that"
    ):
        Preprocessing.from_json(OURS.as_json() | changes, where="model run")


def test_a_model_that_names_no_window_is_not_fed_a_guess():
    with pytest.raises(ModelError, match=r"hu_window: found None; expected \(low, high\) in HU"):
        Preprocessing.from_json({"ingest": {}})


@pytest.mark.parametrize("labels", [BOTH, ("nodule",)], ids=" and ".join)
def test_a_real_scan_comes_back_exactly_from_what_published_weights_see(real_case, labels):
    """Bone and contrast too: a slice's range is its own, where a window would clip them."""
    ct, layout = real_case.ct, real_case.layout
    assert ct.max() > 600
    everywhere = np.full_like(layout, NODULE)
    given = published(labels, 32).feed(ct, everywhere)
    assert given.drawn.all()
    np.testing.assert_array_equal(given.decode(given.x_known), ct)
    assert (given.x_known.min(axis=(0, 2, 3)), given.x_known.max(axis=(0, 2, 3))) == (
        pytest.approx(np.full(32, -1.0)),
        pytest.approx(np.full(32, 1.0)),
    )


def test_published_weights_see_a_real_patient_as_a_patient_lies(real_case):
    given = published(BOTH, 32).feed(real_case.ct, real_case.layout)
    lung = given.condition[0] == 1
    z, y, x = np.argwhere(real_case.layout == LUNG).mean(axis=0)
    found = np.argwhere(lung).mean(axis=0)
    np.testing.assert_allclose(found, [z, 31 - x, 31 - y], atol=1e-4)

    # The right lung, the larger one, comes first; the spine lies behind the lungs.
    assert lung[:, :16].sum() > lung[:, 16:].sum()
    bone = to_orientation(real_case.ct, "SLP") > 350
    assert np.argwhere(bone)[:, 2].mean() > found[2] + 1
    assert np.median(given.x_known[0][lung]) < np.median(given.x_known[0][~lung])
