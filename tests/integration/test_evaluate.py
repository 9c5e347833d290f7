"""`factory evaluate` from two sets on disk to its tables: mostly in this process, once on a cluster."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from evaluations import DONORS, interval_of, real_set, rows_of, scan, synthetic_set, values, with_ct
from typer.testing import CliRunner

from factory.errors import UsageError
from jobs.app import app
from jobs.evaluate.job import evaluate
from jobs.evaluate.result import EvaluateResult
from manifests.write import write_manifest


def test_every_number_is_in_the_table_of_figures(evaluated: tuple[Path, EvaluateResult]) -> None:
    out, result = evaluated
    rows = pq.read_table(out / "figures.parquet").to_pylist()
    told = json.loads((out / "evaluation.json").read_text())
    assert told["figures"] == rows
    assert len(rows) == len(result.figures)
    fid = next(row for row in rows if (row["name"], row["region"]) == ("fid", "lungs"))
    assert fid["extractor"] == "random-conv-320-92280b90"
    assert (fid["n"], fid["note"]) == (8, "against 14 real; 95 % over 5 folds of patients")
    assert fid["low"] <= fid["value"] <= fid["high"]
    assert (told["num_real"], told["num_synthetic"], told["left_out"]) == (14, 8, {})


def test_outside_the_lungs_a_child_is_its_donor(evaluated: tuple[Path, EvaluateResult]) -> None:
    found = values(evaluated[1])
    assert found["mse", "outside"].value == 0.0
    assert 0.0 < found["mse", "whole"].value < found["mse", "lungs"].value
    assert ("ms_ssim", "whole") not in found


def test_lungs_of_whole_sets_are_compared_by_their_hu(
    evaluated: tuple[Path, EvaluateResult],
) -> None:
    found = values(evaluated[1])
    floor = found["set_histogram_distance_hu_real_to_real", "lungs"]
    ours = found["set_histogram_distance_hu", "lungs"]
    # Mottled lungs have no vessels: they lie further off than real ones do from each other.
    assert 0.0 < floor.value < ours.value
    assert ours.low < ours.value < ours.high


def test_the_table_says_that_nothing_published_is_comparable(
    evaluated: tuple[Path, EvaluateResult],
) -> None:
    page = (evaluated[0] / "tables" / "table2.md").read_text()
    assert "comparable with no published figure" in page
    assert "| Lung-DDPM, published | whole |  |  |  |  | .0047 ± .0080 /" in page
    own = next(line for line in page.splitlines() if line.startswith("| **this set** | whole"))
    assert str(values(evaluated[1])["fid", "whole"]) in own
    assert "random-conv-320-92280b90" in page


def test_pictures_are_drawn(evaluated: tuple[Path, EvaluateResult]) -> None:
    for name in ("mds.png", "worst_pairs.png"):
        assert (evaluated[0] / name).read_bytes().startswith(b"\x89PNG")
    assert (evaluated[0] / "mds.svg").read_text().startswith("<?xml")
    assert 0.0 <= values(evaluated[1])["mds_overlap", "lungs"].value <= 1.0


def test_new_lungs_are_clear_and_betray_nobody(evaluated: tuple[Path, EvaluateResult]) -> None:
    out, result = evaluated
    assert result.verdicts["copy"] == 0
    auc = interval_of(result, "membership_auc_donor_excluded", "random-conv")
    assert auc.low < 0.5 < auc.high
    rows = pq.read_table(out / "memorisation.parquet").to_pylist()
    assert len(rows) == 8
    assert all(row["other_case_lungs"] != row["case_id"] for row in rows)
    assert all(abs(row["lung_correlation"]) < 0.25 for row in rows)


@pytest.mark.usefixtures("measured")
def test_a_lake_of_copies_is_found_out(real_cases: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    copies = []
    for donor in DONORS:
        noise = rng.normal(0, 3, scan(donor).ct.shape)
        copies.append((donor, with_ct(scan(donor), np.rint(scan(donor).ct + noise))))
    lake = synthetic_set(tmp_path / "lake", copies)
    result = evaluate(str(real_cases), str(lake), tmp_path / "out")
    assert result.verdicts["copy"] == len(DONORS)
    for space in ("random-conv", "lung box"):
        assert interval_of(result, "membership_auc_donor_included", space).value > 0.95
        # Six of the eight are drawn, as many as are held out: two copies have lost their source.
        assert (
            interval_of(result, "dcr_share_closer_to_training_donor_included", space).value >= 0.75
        )
        assert interval_of(result, "nndr_donor_included", space).value < 0.3
    assert values(result)["share_copy", "lungs"].value == 1.0
    rows = pq.read_table(tmp_path / "out" / "memorisation.parquet").to_pylist()
    assert all(row["nearest_case_thumbnail"] == row["case_id"] for row in rows)


@pytest.mark.usefixtures("measured")
def test_copies_of_other_patients_than_the_donor_are_found_out(
    real_cases: Path, tmp_path: Path
) -> None:
    stolen = [((donor + 1) % 8, scan(donor)) for donor in DONORS]
    result = evaluate(
        str(real_cases), str(synthetic_set(tmp_path / "lake", stolen)), tmp_path / "out"
    )
    assert result.verdicts["copy"] == len(DONORS)
    assert interval_of(result, "membership_auc_donor_excluded", "lung box").value > 0.95


@pytest.mark.usefixtures("measured")
def test_a_set_against_itself_is_at_no_distance(real_cases: Path, tmp_path: Path) -> None:
    same = [(seed, scan(seed)) for seed in range(14)]
    result = evaluate(
        str(real_cases), str(synthetic_set(tmp_path / "lake", same)), tmp_path / "out"
    )
    found = values(result)
    assert found["fid", "whole"].value == pytest.approx(0.0, abs=1e-6)
    assert found["fid", "lungs"].value == pytest.approx(0.0, abs=1e-6)
    assert found["mse", "whole"].value == 0.0
    assert ("psnr_db", "whole") not in found


def test_more_folds_than_patients_are_refused_with_their_number(
    real_cases: Path, fresh_lake: Path, tmp_path: Path, measured: list[str]
) -> None:
    for count in (2, 15, 999_999_999):
        with pytest.raises(
            UsageError, match=rf"--folds: found {count}; expected 3 to 14, .*cases has 14\."
        ):
            evaluate(str(real_cases), str(fresh_lake), tmp_path / "out", num_folds=count)
    assert measured == []
    assert not (tmp_path / "out").exists()
    given = ["--real", str(real_cases), "--synthetic", str(fresh_lake), "--folds", "999999999"]
    result = CliRunner().invoke(app, ["evaluate", *given, "--out", str(tmp_path / "out")])
    assert result.exit_code == 2
    assert "found 999999999; expected 3 to 14" in result.stderr


@pytest.mark.usefixtures("measured")
def test_as_many_folds_as_patients_are_taken_and_few_patients_need_no_option(
    real_cases: Path, fresh_lake: Path, evaluated: tuple[Path, EvaluateResult], tmp_path: Path
) -> None:
    out = Path(shutil.copytree(evaluated[0], tmp_path / "out"))
    notes = [
        one.note for one in evaluate(str(real_cases), str(fresh_lake), out, num_folds=14).figures
    ]
    # The lake has volumes of eight of them.
    assert "against 14 real; 95 % over 8 folds of patients" in notes
    few = real_set(tmp_path / "cases", ["train"] * 4)
    assert evaluate(str(few), str(fresh_lake), tmp_path / "few").num_real == 4


@pytest.mark.usefixtures("measured")
def test_a_mixed_manifest_stands_for_both_sets(
    real_cases: Path, fresh_lake: Path, evaluated: tuple[Path, EvaluateResult], tmp_path: Path
) -> None:
    from jobs.readers.rows import select_rows

    rows = [
        row
        for folder in (real_cases, fresh_lake)
        for row in select_rows(folder / "manifest.parquet").to_pylist()
    ]
    mix = tmp_path / "mix.parquet"
    counted = ("num_real", "num_synthetic", "synthetic_fraction", "synthetic_per_real")
    write_manifest([{k: v for k, v in row.items() if k not in counted} for row in rows], mix)
    out = Path(shutil.copytree(evaluated[0], tmp_path / "out"))
    assert rows_of(evaluate(str(mix), {"lake": str(mix)}, out)) == rows_of(evaluated[1])


@pytest.mark.usefixtures("measured")
def test_the_command_gives_the_table_and_says_what_is_next(
    real_cases: Path, fresh_lake: Path, evaluated: tuple[Path, EvaluateResult], tmp_path: Path
) -> None:
    out = Path(shutil.copytree(evaluated[0], tmp_path / "out"))
    given = [
        "evaluate",
        "--real",
        str(real_cases),
        "--synthetic",
        str(fresh_lake),
        "--out",
        str(out),
    ]
    result = CliRunner().invoke(app, given)
    assert result.exit_code == 0, result.output
    assert result.stdout == f"{out}/tables/table2.md\n"
    last = result.stderr.strip().splitlines()[-1]
    assert "8 synthetic against 14 real volumes, 0 left out" in last
    assert f"Next: factory mix {fresh_lake} --ratio 0.25" in last


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_a_cluster_measures_what_one_process_does(
    real_cases: Path,
    fresh_lake: Path,
    evaluated: tuple[Path, EvaluateResult],
    tmp_path: Path,
    capfd: Any,
) -> None:
    broken = Path(shutil.copytree(fresh_lake, tmp_path / "lake"))
    (sorted(broken.glob("volumes/*/0/zarr.json"))[0]).unlink()
    out = tmp_path / "evaluation"
    assert evaluate(str(real_cases), str(broken), out).num_left_out == 1
    result = evaluate(str(real_cases), str(fresh_lake), out)
    assert "resuming: 21 of 22 volumes measured, 1 to do" in capfd.readouterr().err
    alone = values(evaluated[1])
    for place, interval in values(result).items():
        if place == ("ms_ssim", "whole"):
            assert 0.0 < interval.value < 1.0
        elif "auc" not in place[0] and "dcr" not in place[0]:
            assert interval.value == pytest.approx(alone[place].value, rel=1e-3, abs=1e-5), place
