"""The folder of an evaluation: what is measured again, what is refused and what stays as it is."""

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from evaluations import DONORS, relunged, rows_of, scan, synthetic_set

from factory.errors import UsageError
from jobs.evaluate import folder
from jobs.evaluate.job import evaluate
from jobs.evaluate.kept import FEATURES_SCHEMA
from jobs.evaluate.result import EvaluateResult
from manifests.write import write_table


def test_a_second_run_measures_nothing_and_says_the_same(
    real_cases: Path,
    fresh_lake: Path,
    evaluated: tuple[Path, EvaluateResult],
    tmp_path: Path,
    measured: list[str],
) -> None:
    out = Path(shutil.copytree(evaluated[0], tmp_path / "out"))
    again = evaluate(str(real_cases), str(fresh_lake), out)
    assert measured == []
    assert rows_of(again) == rows_of(evaluated[1])
    for name in ("figures.parquet", "memorisation.parquet", "mds.png", "mds.svg"):
        assert (out / name).read_bytes() == (evaluated[0] / name).read_bytes()


def test_only_new_volumes_are_measured_when_a_lake_grows(
    real_cases: Path,
    evaluated: tuple[Path, EvaluateResult],
    tmp_path: Path,
    measured: list[str],
    capfd: Any,
) -> None:
    out = Path(shutil.copytree(evaluated[0], tmp_path / "out"))
    drawn = [(donor, relunged(scan(donor), donor)) for donor in DONORS]
    grown = synthetic_set(tmp_path / "lake", [*drawn, (0, relunged(scan(0), 99))])
    assert evaluate(str(real_cases), str(grown), out).num_synthetic == 9
    assert len(measured) == 1
    assert "resuming: 22 of 23 volumes measured, 1 to do" in capfd.readouterr().err


def test_a_torn_table_of_features_is_told_and_measured_again(
    real_cases: Path,
    fresh_lake: Path,
    evaluated: tuple[Path, EvaluateResult],
    tmp_path: Path,
    measured: list[str],
    capfd: Any,
) -> None:
    (tmp_path / "features.parquet").write_bytes(b"PAR1 torn")
    found = evaluate(str(real_cases), str(fresh_lake), tmp_path)
    assert len(measured) == 22
    assert rows_of(found) == rows_of(evaluated[1])
    assert "features.parquet.torn, and all volumes are measured again" in capfd.readouterr().err
    # What was set aside is no reason to do so once more.
    evaluate(str(real_cases), str(fresh_lake), tmp_path)
    assert len(measured) == 22


def test_features_that_were_cut_off_are_measured_again_and_the_figures_are_right(
    real_cases: Path,
    fresh_lake: Path,
    evaluated: tuple[Path, EvaluateResult],
    tmp_path: Path,
    measured: list[str],
    capfd: Any,
) -> None:
    out = Path(shutil.copytree(evaluated[0], tmp_path / "out"))
    rows = pq.read_table(out / "features.parquet").to_pylist()
    rows[0]["whole"] = rows[0]["whole"][:-1]
    rows[1]["lungs"][0] = float("nan")
    write_table(pa.Table.from_pylist(rows, schema=FEATURES_SCHEMA), out / "features.parquet")
    assert rows_of(evaluate(str(real_cases), str(fresh_lake), out)) == rows_of(evaluated[1])
    assert sorted(measured) == [rows[0]["key"], rows[1]["key"]]
    assert "found 2 of 22 volumes with features that are cut off" in capfd.readouterr().err


def test_a_picture_that_cannot_be_drawn_is_told_and_costs_no_figure(
    real_cases: Path,
    fresh_lake: Path,
    evaluated: tuple[Path, EvaluateResult],
    tmp_path: Path,
    measured: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capfd: Any,
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise ValueError("Image size of 99999999 x 1 pixels is too large")

    out = Path(shutil.copytree(evaluated[0], tmp_path / "out"))
    monkeypatch.setattr("jobs.evaluate.pictures.comparison_figure", fail)
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", fail)
    assert rows_of(evaluate(str(real_cases), str(fresh_lake), out)) == rows_of(evaluated[1])
    assert measured == []
    told = capfd.readouterr().err
    for names in ("mds.png and mds.svg", "worst_pairs.png"):
        assert f"not told: {names}: could not be drawn (ValueError: Image size of 99999999" in told
    record = json.loads((out / "evaluation.json").read_text())
    assert sum("could not be drawn" in text for text in record["not_told"]) == 2
    # None of the earlier run is left, that would be taken for this one's.
    assert not [*out.glob("*.png"), *out.glob("*.svg"), *out.glob(".*")]


@pytest.mark.parametrize("stranger", ["sweep.json", "dataset.json", "notes.txt"])
def test_a_folder_of_something_else_is_refused_and_stays_as_it_is(
    stranger: str, real_cases: Path, fresh_lake: Path, tmp_path: Path, measured: list[str]
) -> None:
    (tmp_path / stranger).write_text("{}")
    (tmp_path / "figures.parquet").write_text("not ours")
    with pytest.raises(
        UsageError,
        match=r"--out .*: found a folder with .* in it; expected an empty one, or one of",
    ):
        evaluate(str(real_cases), str(fresh_lake), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([stranger, "figures.parquet"])
    assert (tmp_path / "figures.parquet").read_text() == "not ours"
    assert measured == []


def test_the_sets_themselves_are_no_folder_to_write_to(
    real_cases: Path, fresh_lake: Path, measured: list[str]
) -> None:
    before = sorted(fresh_lake.rglob("*"))
    for out in (fresh_lake, real_cases, fresh_lake / "volumes"):
        with pytest.raises(UsageError, match=r"Choose another folder"):
            evaluate(str(real_cases), str(fresh_lake), out)
    assert sorted(fresh_lake.rglob("*")) == before
    assert measured == []


@pytest.mark.parametrize("stranger", ["sweep.json", "dataset.json", "downstream.json"])
def test_a_folder_of_another_verb_is_refused_though_an_evaluation_was_written_there(
    stranger: str,
    real_cases: Path,
    fresh_lake: Path,
    evaluated: tuple[Path, EvaluateResult],
    tmp_path: Path,
) -> None:
    out = Path(shutil.copytree(evaluated[0], tmp_path / "out"))
    (out / stranger).write_text("{}")
    with pytest.raises(UsageError, match=rf"found a folder with {stranger} in it"):
        evaluate(str(real_cases), str(fresh_lake), out)


@pytest.mark.usefixtures("measured")
def test_what_a_killed_run_or_a_file_manager_left_is_no_stranger(
    real_cases: Path, fresh_lake: Path, tmp_path: Path
) -> None:
    (tmp_path / ".1234.unfinished").write_text("half")
    (tmp_path / ".features.parquet.1234.tmp").write_text("half")
    (tmp_path / ".DS_Store").write_bytes(b"")
    assert evaluate(str(real_cases), str(fresh_lake), tmp_path).num_synthetic == 8


@pytest.mark.parametrize(
    "blocked",
    [
        "evaluation.json",
        "figures.parquet",
        "memorisation.parquet",
        "features.parquet",
        "mds.svg",
        "worst_pairs-old.png",
        "tables/table2.md",
    ],
)
def test_a_folder_where_a_file_is_to_be_is_refused_before_anything_is_measured(
    blocked: str, real_cases: Path, fresh_lake: Path, tmp_path: Path, measured: list[str]
) -> None:
    (tmp_path / "features.parquet.torn").write_text("of an evaluation")
    (tmp_path / blocked).mkdir(parents=True)
    with pytest.raises(
        UsageError, match=rf"{blocked}: found a folder; expected a file, or nothing"
    ):
        evaluate(str(real_cases), str(fresh_lake), tmp_path)
    assert measured == []


@pytest.mark.usefixtures("measured")
@pytest.mark.parametrize("blocked", ["tables", "slices"])
def test_a_file_where_a_folder_is_to_be_is_refused(
    blocked: str, real_cases: Path, fresh_lake: Path, tmp_path: Path
) -> None:
    (tmp_path / "features.parquet.torn").write_text("of an evaluation")
    (tmp_path / blocked).write_text("")
    with pytest.raises(UsageError, match=rf"{blocked}: found a file; expected a folder"):
        evaluate(str(real_cases), str(fresh_lake), tmp_path)


def test_all_that_is_written_is_looked_for_before(evaluated: tuple[Path, EvaluateResult]) -> None:
    files = {
        str(path.relative_to(evaluated[0])) for path in evaluated[0].rglob("*") if path.is_file()
    }
    written = {*folder.FILES, "worst_pairs.png"}
    assert files <= written
    assert written - files == {folder.ASIDE, folder.TABLE_4}
