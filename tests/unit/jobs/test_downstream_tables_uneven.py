"""Table III of runs that are not even: mixes that lack trainings, folds or cases, and labels that are hostile."""

import math

import pytest
from segmentation_scores import case, cells_of, nodule, of_mix, run_of

from factory.errors import StoreError
from jobs.downstream.figures import figures_of
from jobs.downstream.tables import table3


def test_a_mix_that_lacks_trainings_is_told(tmp_path):
    runs = [
        of_mix(tmp_path, "real-1", [0.3] * 5, seed=0),
        of_mix(tmp_path, "real-1", [0.4] * 5, seed=1),
        of_mix(tmp_path, "extra-1", [0.5] * 5, num_synthetic=8, seed=0),
    ]
    page = table3(figures_of(runs), ["run extra-1-s1-f0 failed | why."])
    assert "- R + 100 %S lacks 1 of 2 trainings, as seed 1 of fold 0: " in page
    assert "- R lacks" not in page
    assert "- run extra-1-s1-f0 failed / why." in page


def test_a_set_without_nodules_makes_a_table_that_says_so(tmp_path):
    cases = [case(f"p{i}", dice=math.nan, nodules=()) for i in range(3)]
    page = table3(figures_of([run_of(tmp_path, cases)]))
    assert "No test case has a nodule." in page
    assert cells_of(page, "**R**")[0][6:8] == ["-", "-"]


def test_a_label_cannot_break_a_line_of_the_table(tmp_path):
    cases = [case("p0")]
    folder = tmp_path / "odd"
    found = figures_of([run_of(folder, cases, label="a|b` c\nd", num_synthetic=4)])
    assert found[0].title == "a|b` c\nd"
    assert math.isnan(found[0].real_part)
    lines = cells_of(table3(found), "**a/b' c d**")
    assert len(lines[0]) == 14


def uneven_folds(tmp_path):
    """Return five folds of uneven counts; one training of the larger mix failed."""
    counts = [641, 640, 640, 640, 641]
    runs = [
        of_mix(
            tmp_path,
            label,
            [0.3, 0.4],
            num_real=count,
            num_synthetic=count * (label == "extra-1"),
            fold=fold,
        )
        for label in ("real-1", "extra-1")
        for fold, count in enumerate(counts)
    ]
    return runs[:-1]


def test_folds_of_uneven_counts_and_a_failed_run_leave_a_mix_its_name_and_its_place(tmp_path):
    found = figures_of(uneven_folds(tmp_path))
    assert [(one.title, one.real_part, one.extra) for one in found] == [
        ("R", 1.0, 0.0),
        ("R + 100 %S", 1.0, 1.0),
    ]
    assert cells_of(table3(found), "**R + 100 %S**")[0][-2:] == [".3914", ".4078"]


def test_a_volume_that_one_training_lacked_leaves_the_name_and_is_told(tmp_path):
    runs = [
        of_mix(tmp_path, "real-1", [0.3] * 5, num_real=8),
        of_mix(
            tmp_path,
            "extra-1",
            [0.3] * 5,
            num_real=7,
            num_synthetic=8,
            left_out={"case c3": "a chunk | is torn"},
        ),
    ]
    found = figures_of(runs)
    assert [one.title for one in found] == ["R", "R + 100 %S"]
    page = table3(found)
    assert (
        "- R + 100 %S: 1 of 1 trainings went without volumes that could not be used, as seed 0 of fold 0 "
        "without 1, case c3 among them: a chunk / is torn" in page
    )
    assert "- R: " not in page


def test_trainings_that_were_tested_on_other_cases_are_named(tmp_path):
    runs = [
        of_mix(tmp_path, "real-1", [0.3] * 5, seed=0),
        of_mix(tmp_path, "real-1", [0.3] * 5, seed=1),
        of_mix(tmp_path, "extra-1", [0.5] * 5, num_synthetic=8, seed=0),
        of_mix(tmp_path, "extra-1", [0.5] * 4, num_synthetic=8, seed=1),
    ]
    page = table3(figures_of(runs))
    assert (
        "- R + 100 %S: 1 of 2 trainings were tested on fewer cases than others, as seed 1 of fold 0 without 1, "
        "p4-0 among them" in page
    )
    assert "- R: " not in page
    assert "tested on fewer" not in table3(figures_of(runs[:3]))


def test_counts_that_differ_between_folds_are_told_from_least_to_most(tmp_path):
    runs = [
        of_mix(tmp_path, "real-1", [0.3], num_real=7, fold=0),
        of_mix(tmp_path, "real-1", [0.3], num_real=9, fold=1),
    ]
    (line,) = cells_of(table3(figures_of(runs)), "**R**")
    assert line[2] == "7 to 9"


def test_a_run_that_is_there_twice_is_refused(tmp_path):
    runs = [of_mix(tmp_path / name, "real-1", [0.3]) for name in ("one", "other")]
    with pytest.raises(
        StoreError, match=r"one/real.* and .*other/real.*: found mix real-1, seed 0"
    ):
        figures_of(runs)


def test_nodules_of_one_size_alone_make_a_table(tmp_path):
    cases = [case(f"p{i}", nodules=[nodule(35.0, 0.5)]) for i in range(2)]
    page = table3(figures_of([run_of(tmp_path, cases)]))
    assert len(cells_of(page, ">30 mm")) == 1
    assert not cells_of(page, "<6 mm")
