"""Fig. 5: its points are the table's, and the same runs give the same picture."""

import re

import pytest
from segmentation_scores import case, run_of, sweep_of

from jobs.downstream import curves
from jobs.downstream.curves import draw_curves
from jobs.downstream.figures import figures_of

MIXES = [
    *(("real-1", 80, 0), ("extra-0.25", 80, 20), ("extra-1", 80, 80)),
    *(("real-0.25", 20, 0), ("real-0.5", 40, 0)),
]


@pytest.fixture(scope="module")
def mixes(tmp_path_factory):
    return figures_of(sweep_of(tmp_path_factory.mktemp("sweep"), MIXES, num_patients=12))


def draw(mixes, folder, monkeypatch):
    """Return the panels of each figure as matplotlib has them, by the figure's name."""
    found = {}

    def keep(figure, path):
        found[path.name] = figure.axes

    with monkeypatch.context() as patch:
        patch.setattr(curves, "_save", keep)
        draw_curves(mixes, folder)
    return found


def line_of(axes):
    """Return the points of the line of means."""
    (line,) = [one for one in axes.lines if one.get_label() == "mean"]
    return list(zip(*line.get_data(), strict=True))


def test_the_curves_go_through_the_means_of_the_table(mixes, tmp_path, monkeypatch):
    panels = draw(mixes, tmp_path, monkeypatch)
    by_label = {one.label: one for one in mixes}
    extra = [by_label[label] for label in ("real-1", "extra-0.25", "extra-1")]
    parts = [by_label[label] for label in ("real-0.25", "real-0.5", "real-1")]
    for name, places, points in (
        ("figure-5a", (0.0, 25.0, 100.0), extra),
        ("figure-5b", (25.0, 50.0, 100.0), parts),
    ):
        for axes, figure in zip(panels[name][:2], ("dice", "sensitivity"), strict=True):
            values = [one.summary(figure).value for one in points]
            assert line_of(axes) == list(zip(places, values, strict=True))


def test_the_third_panel_is_of_differences_around_0(mixes, tmp_path, monkeypatch):
    panels = draw(mixes, tmp_path, monkeypatch)
    by_label = {one.label: one for one in mixes}
    axes = panels["figure-5a"][2]
    gains = [by_label[label].difference("dice").value for label in ("extra-0.25", "extra-1")]
    assert line_of(axes) == list(zip((25.0, 100.0), gains, strict=True))
    assert all(gain > 0 for gain in gains)
    assert [gain < 0 for _, gain in line_of(panels["figure-5b"][2])] == [True, True]


def test_bars_reach_from_end_to_end_of_the_interval_over_patients(mixes, tmp_path, monkeypatch):
    axes = draw(mixes, tmp_path, monkeypatch)["figure-5a"][0]
    (bars,) = [one for one in axes.collections if one.get_label() == "95 % over patients"]
    of_r = next(one for one in mixes if one.label == "real-1").summary("dice").over_patients
    assert bars.get_segments()[0].tolist() == [[0.0, of_r.low], [0.0, of_r.high]]


def test_each_seed_is_a_point(mixes, tmp_path, monkeypatch):
    axes = draw(mixes, tmp_path, monkeypatch)["figure-5a"][0]
    (points,) = [one for one in axes.collections if one.get_label() == "a seed"]
    of_r = next(one for one in mixes if one.label == "real-1").summary("dice")
    assert [y for x, y in points.get_offsets() if x == 0.0] == list(of_r.of_seeds)
    assert len(points.get_offsets()) == 9


def test_pictures_are_png_and_svg_and_the_same_each_time(mixes, tmp_path):
    for name in ("one", "other"):
        pngs = draw_curves(mixes, tmp_path / name)
        assert [path.name for path in pngs] == ["figure-5a.png", "figure-5b.png"]
    files = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert files == ["figure-5a.png", "figure-5a.svg", "figure-5b.png", "figure-5b.svg"]
    for name in files:
        content = (tmp_path / "one" / name).read_bytes()
        assert content == (tmp_path / "other" / name).read_bytes()
        assert content.startswith(b"\x89PNG") or b"<svg" in content
    assert not re.search(r"<dc:date>", (tmp_path / "one" / "figure-5a.svg").read_text())


def test_a_figure_of_one_mix_is_not_drawn(mixes, tmp_path, monkeypatch):
    bare = [one for one in mixes if not one.extra]
    assert list(draw(bare, tmp_path, monkeypatch)) == ["figure-5b"]
    whole = [one for one in mixes if one.real_part == 1.0]
    assert list(draw(whole, tmp_path, monkeypatch)) == ["figure-5a"]
    assert draw_curves(mixes[:1], tmp_path / "none") == []
    assert not (tmp_path / "none").exists()


def test_two_mixes_at_one_place_are_both_drawn(tmp_path, monkeypatch):
    runs = [
        run_of(tmp_path, [case("p0", dice=dice)], label=label, num_synthetic=number)
        for label, number, dice in (("real-1", 0, 0.2), ("extra-1", 8, 0.4), ("ratio-0.5", 8, 0.5))
    ]
    axes = draw(figures_of(runs), tmp_path, monkeypatch)["figure-5a"][0]
    assert line_of(axes) == [(0.0, 0.2), (100.0, 0.4), (100.0, 0.5)]


def test_without_a_run_of_all_real_volumes_the_third_panel_says_so(mixes, tmp_path, monkeypatch):
    runs = [
        run_of(tmp_path, [case("p0")], label=label, num_synthetic=number)
        for label, number in (("extra-0.5", 4), ("extra-1", 8))
    ]
    panels = draw(figures_of(runs), tmp_path, monkeypatch)["figure-5a"]
    assert line_of(panels[0]) == [(50.0, 0.4), (100.0, 0.4)]
    assert panels[2].get_title() == "no run of R to differ from"


def test_bars_of_differences_are_over_patients_and_seeds_where_there_are_several(
    mixes, tmp_path, monkeypatch
):
    axes = draw(mixes, tmp_path, monkeypatch)["figure-5a"][2]
    (bars,) = [one for one in axes.collections if one.get_label() == "95 % over patients and seeds"]
    gain = next(one for one in mixes if one.label == "extra-1").difference("dice").over_both
    assert bars.get_segments()[1].tolist() == [[100.0, gain.low], [100.0, gain.high]]


def figure_of_two(folder, monkeypatch, trainings, **told):
    """Return the panels of Fig. 5a of two mixes with one test case."""
    runs = [
        run_of(
            folder, [case("p0", **told)], label=label, num_synthetic=number, seed=seed, fold=fold
        )
        for label, number in (("real-1", 0), ("extra-1", 8))
        for seed, fold in trainings
    ]
    return draw(figures_of(runs), folder, monkeypatch)["figure-5a"]


def test_one_case_and_one_seed_are_points_without_bars(tmp_path, monkeypatch):
    axes = figure_of_two(tmp_path, monkeypatch, [(0, 0)])[0]
    assert line_of(axes) == [(0.0, 0.4), (100.0, 0.4)]


def test_seeds_that_lack_folds_are_no_points(tmp_path, monkeypatch):
    axes = figure_of_two(tmp_path, monkeypatch, [(0, 0), (1, 1)])[0]
    (points,) = [one for one in axes.collections if one.get_label() == "a seed"]
    assert len(points.get_offsets()) == 0


def test_without_a_nodule_each_panel_says_so(tmp_path, monkeypatch):
    panels = figure_of_two(tmp_path, monkeypatch, [(0, 0)], dice=float("nan"), nodules=())
    assert {axes.get_title() for axes in panels} == {"no test case has a nodule"}


def test_of_one_patient_no_band_is_drawn_and_none_promised(tmp_path, monkeypatch):
    runs = sweep_of(tmp_path / "sweep", MIXES[:3], num_patients=1)
    for axes in draw(figures_of(runs), tmp_path, monkeypatch)["figure-5a"]:
        labels = [text.get_text() for text in axes.get_legend().get_texts()]
        assert "mean" in labels
        assert not [label for label in labels if label.startswith("95 %")]
        assert axes.get_title().endswith(", 1 patient")
