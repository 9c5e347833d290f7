"""Table III, and figures.parquet: what runs come to, and what may be read from it."""

import math
import re
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from segmentation_scores import cells_of, of_mix, sweep_of

from jobs.downstream.figures import FIGURES_SCHEMA, figures_of, write_figures
from jobs.downstream.outcome import write_outcome
from jobs.downstream.published import PUBLISHED, beside
from jobs.downstream.tables import headline, table3

MIXES = [("real-1", 80, 0), ("extra-0.25", 80, 20), ("extra-1", 80, 80), ("real-0.5", 40, 0)]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A made-up sweep: three seeds a mix, 24 patients."""
    return sweep_of(tmp_path_factory.mktemp("sweep"), MIXES)


@pytest.fixture(scope="module")
def mixes(runs):
    return figures_of(runs)


def test_mixes_stand_in_order_under_the_papers_names(mixes):
    assert [one.title for one in mixes] == ["50 %R", "R", "R + 25 %S", "R + 100 %S"]
    assert [one.against for one in mixes] == ["real-1", "", "real-1", "real-1"]
    assert [one.extra for one in mixes] == [0.0, 0.0, 0.25, 1.0]
    assert mixes[0].real_part == 0.5


def test_a_line_has_the_mean_and_spread_of_its_cases_and_the_counts(tmp_path):
    found = figures_of([of_mix(tmp_path, "real-1", [0.2, 0.4, 0.5, 0.3, 0.6, 0.4])])
    (line,) = cells_of(table3(found), "**R**")
    assert line[1:6] == ["`real-1`", "8", "0", "6", "1"]
    assert line[6] == "0.4000 ± 0.1414"
    low, high = map(float, line[7].split(" to "))
    assert 0.2 < low < 0.33
    assert 0.47 < high < 0.6
    assert line[10:12] == ["0.999900 ± 0.000000", "-"]


def test_published_lines_stand_beside_mixes_of_about_the_same_share(mixes):
    page = table3(mixes)
    assert cells_of(page, "**R**")[0][-2:] == [".3598 ± .0976", ".3704 ± .1094"]
    assert cells_of(page, "**R + 25 %S**")[0][-2:] == [".3908", ".4393"]
    assert cells_of(page, "**R + 100 %S**")[0][-2:] == [".3914", ".4078"]
    assert cells_of(page, "**50 %R**")[0][-2:] == ["", ""]
    assert cells_of(page, "800 R + 400 S, GEM-3D, published")[0][-2:] == [".3852", ".4030"]
    assert page.count(", published |") == len(PUBLISHED) == 13
    assert "differences from R say more" in page


def test_a_mix_that_was_not_published_has_nothing_beside_it():
    assert beside(1.0, 0.75) == beside(0.5, 0.0) == beside(math.nan, 0.0) == ("", "")
    assert beside(1.0, 0.02) == ("", "")
    assert beside(1.0, 0.5) == (".3866", ".3917")


def test_all_tables_have_as_many_cells_in_each_line_as_headings(mixes):
    tables = [block for block in table3(mixes).split("\n\n") if block.startswith("|")]
    assert len(tables) == 4
    for table in tables:
        assert len({line.count("|") for line in table.splitlines()}) == 1


def test_the_difference_is_of_pairs_with_its_interval_and_the_seeds_that_are_better(tmp_path):
    runs = []
    for seed in range(3):
        base = [0.1, 0.3, 0.5, 0.7, 0.9]
        gain = [0.01, 0.02, 0.03, 0.04, 0.05 - 0.2 * (seed == 2)]
        better = [one + more for one, more in zip(base, gain, strict=True)]
        runs += [
            of_mix(tmp_path, "real-1", base, seed=seed),
            of_mix(tmp_path, "extra-1", better, num_synthetic=8, seed=seed),
        ]
    page = table3(figures_of(runs))
    dice = next(
        cells for cells in cells_of(page, "R + 100 %S") if cells[1] == "Dice" and "of" in cells[7]
    )
    assert dice[2] == "+0.0167"
    assert dice[7:] == ["2 of 3", "15"]
    assert dice[6] == "-"
    patients, seeds, both = (list(map(float, ends.split(" to "))) for ends in dice[3:6])
    assert both[0] == pytest.approx(
        0.0167 - math.hypot(0.0167 - patients[0], 0.0167 - seeds[0]), abs=2e-4
    )
    assert both[1] == pytest.approx(
        0.0167 + math.hypot(patients[1] - 0.0167, seeds[1] - 0.0167), abs=2e-4
    )
    assert "believe a gain whose interval over both leaves 0 out" in page
    assert "## Against R, test by test" in page


def test_one_seed_is_told_to_say_nothing_of_other_trainings(tmp_path, mixes):
    one = figures_of([of_mix(tmp_path, "real-1", [0.3, 0.4])])
    assert "One seed says nothing of other trainings" in table3(one)
    assert "One seed says nothing" not in table3(mixes)


def test_nodules_are_told_by_size_for_each_mix(mixes):
    page = table3(mixes)
    sizes = {line[0]: line for line in cells_of(page, "8-15 mm")}
    assert "8-15 mm" in sizes
    rows = cells_of(page, "8-15 mm")
    assert [row[1] for row in rows] == ["50 %R", "R", "R + 25 %S", "R + 100 %S"]
    found = mixes[1].summary("nodules_found", "8-15 mm")
    assert rows[1][2:4] == [str(found.n), f"{found.value:.4f}"]


def test_the_baseline_is_all_real_volumes_alone_and_nothing_stands_in_for_it(tmp_path):
    runs = [
        of_mix(tmp_path, "extra-1", [0.5], num_synthetic=8),
        of_mix(tmp_path, "real-0.5", [0.2], num_real=4),
        of_mix(tmp_path, "real-1", [0.3]),
    ]
    found = {one.label: one.against for one in figures_of(runs)}
    assert found == {"extra-1": "real-1", "real-0.5": "real-1", "real-1": ""}
    without = figures_of(runs[:2])
    assert [(one.title, one.against, one.differences) for one in without] == [
        ("50 %R", "", ()),
        ("R + 100 %S", "", ()),
    ]
    page = table3(without)
    assert "## Against" not in page
    assert "**R is missing**: no run of all real volumes alone (`real-1`) is finished" in page
    assert cells_of(page, "**50 %R**")[0][-2:] == ["", ""]
    assert "R is missing" not in table3(figures_of(runs))


def test_the_page_tells_how_two_sweeps_are_compared(tmp_path, monkeypatch, capsys):
    for sweep, gain in (("sweep", 0.1), ("other-sweep", 0.0)):
        for seed in range(3):
            of_mix(tmp_path / sweep / "runs", "extra-1", [0.3 + gain, 0.5], seed=seed)
    page = Path(__file__).parents[3] / "docs" / "downstream.md"
    (block,) = re.findall(r"^```py\n(.*?)^```", page.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    monkeypatch.chdir(tmp_path)
    exec(block, {})
    told = capsys.readouterr().out.splitlines()
    assert "dice all 0.05 3 of 3 seeds" in told


def test_what_no_interval_covers_is_said(mixes):
    assert "No interval here covers another training of the generator" in table3(mixes)


def test_the_headline_tells_three_figures_and_leaves_out_intervals_that_are_none(tmp_path, mixes):
    alone = figures_of([of_mix(tmp_path, "real-1", [0.25, 0.35])])[0]
    assert headline(alone) == (
        "Dice 0.3000, sensitivity 0.3000, specificity 0.999900; 95 % over 2 patients"
    )
    assert "Dice 0.3" in headline(mixes[1])
    assert " to 0.4" in headline(mixes[1])


def test_all_numbers_are_in_parquet_with_their_intervals(runs, mixes, tmp_path):
    write_figures(mixes, tmp_path / "new" / "figures.parquet")
    table = pq.read_table(tmp_path / "new" / "figures.parquet")
    assert table.schema.names == FIGURES_SCHEMA.names
    rows = {
        (row["mix"], row["against"], row["name"], row["group"]): row for row in table.to_pylist()
    }
    assert len(rows) == table.num_rows == sum(len(m.summaries) + len(m.differences) for m in mixes)
    row, summary = rows["extra-1", "real-1", "dice", "all"], mixes[3].difference("dice")
    assert (row["value"], row["low"], row["high"]) == (
        summary.value,
        summary.over_patients.low,
        summary.over_patients.high,
    )
    assert (row["seeds_low"], row["folds_low"]) == (summary.over_seeds.low, None)
    assert (row["both_low"], row["both_high"]) == (summary.over_both.low, summary.over_both.high)
    assert (row["num_seeds"], row["num_seeds_better"], row["num_tests"]) == (3, 3, 60)
    assert rows["real-1", None, "dice", "all"]["num_seeds_better"] is None
    assert (row["title"], row["num_real"], row["num_synthetic"]) == ("R + 100 %S", 80.0, 80.0)


def test_the_same_runs_come_to_the_same_bytes_in_any_order(runs, tmp_path):
    for name, ordered in (("one", runs), ("other", runs[::-1])):
        assert write_outcome(ordered, tmp_path / name) == tmp_path / name / "tables" / "table3.md"
    names = sorted(path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*.*"))
    assert [str(name) for name in names] == [
        *("figure-5a.png", "figure-5a.svg", "figure-5b.png", "figure-5b.svg"),
        *("figures.parquet", "tables/table3.md"),
    ]
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "other" / name).read_bytes()
