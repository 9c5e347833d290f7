"""`factory evaluate` from two sets on disk to its tables: mostly in this process, once on a cluster."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from evaluations import measure_in_process, real_set, relunged, scan, synthetic_set, with_ct
from typer.testing import CliRunner

from factory.errors import StoreError, UsageError
from factory.volumes import Volume
from jobs.app import app
from jobs.evaluate import folder
from jobs.evaluate.job import evaluate
from jobs.evaluate.kept import FEATURES_SCHEMA
from jobs.evaluate.records import figure_row
from jobs.evaluate.result import EvaluateResult
from manifests.write import write_manifest, write_table

SPLITS = ["train"] * 8 + ["val"] * 3 + ["test"] * 3
DONORS = [0, 1, 2, 3, 4, 5, 6, 7]


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return real_set(tmp_path_factory.mktemp("real") / "cases", SPLITS)


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight volumes with lungs of their own; only to be copied."""
    drawn = [(donor, relunged(scan(donor), donor)) for donor in DONORS]
    return synthetic_set(tmp_path_factory.mktemp("fresh") / "lake", drawn)


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Keys in the order in which they are measured."""
    return measure_in_process(monkeypatch)


@pytest.fixture(scope="module")
def first(
    real: Path, lake: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, EvaluateResult]:
    """An evaluation of the lake; only to be copied."""
    out = tmp_path_factory.mktemp("first") / "evaluation"
    with pytest.MonkeyPatch.context() as patch:
        measure_in_process(patch)
        return out, evaluate(str(real), str(lake), out)


def values(result: EvaluateResult) -> dict[tuple[str, str], Any]:
    return {(one.name, one.region): one.interval for one in result.figures}


def rows_of(result: EvaluateResult) -> list[dict[str, Any]]:
    return [figure_row(figure) for figure in result.figures]


def of(result: EvaluateResult, name: str, extractor: str) -> Any:
    (found,) = (
        one.interval
        for one in result.figures
        if one.name == name and one.extractor.startswith(extractor)
    )
    return found


def test_every_number_is_in_the_table_of_figures(first: tuple[Path, EvaluateResult]) -> None:
    out, result = first
    rows = pq.read_table(out / "figures.parquet").to_pylist()
    told = json.loads((out / "evaluation.json").read_text())
    assert told["figures"] == rows
    assert len(rows) == len(result.figures)
    fid = next(row for row in rows if (row["name"], row["region"]) == ("fid", "lungs"))
    assert fid["extractor"] == "random-conv-320-92280b90"
    assert (fid["n"], fid["note"]) == (8, "against 14 real; 95 % over 5 folds of patients")
    assert fid["low"] <= fid["value"] <= fid["high"]
    assert (told["num_real"], told["num_synthetic"], told["left_out"]) == (14, 8, {})


def test_outside_the_lungs_a_child_is_its_donor(first: tuple[Path, EvaluateResult]) -> None:
    found = values(first[1])
    assert found["mse", "outside"].value == 0.0
    assert 0.0 < found["mse", "whole"].value < found["mse", "lungs"].value
    assert ("ms_ssim", "whole") not in found


def test_lungs_of_whole_sets_are_compared_by_their_hu(first: tuple[Path, EvaluateResult]) -> None:
    found = values(first[1])
    floor = found["set_histogram_distance_hu_real_to_real", "lungs"]
    ours = found["set_histogram_distance_hu", "lungs"]
    # Mottled lungs have no vessels: they lie further off than real ones do from each other.
    assert 0.0 < floor.value < ours.value
    assert ours.low < ours.value < ours.high


def test_the_table_says_that_nothing_published_is_comparable(
    first: tuple[Path, EvaluateResult],
) -> None:
    page = (first[0] / "tables" / "table2.md").read_text()
    assert "comparable with no published figure" in page
    assert "| Lung-DDPM, published | whole |  |  |  |  | .0047 ± .0080 /" in page
    own = next(line for line in page.splitlines() if line.startswith("| **this set** | whole"))
    assert str(values(first[1])["fid", "whole"]) in own
    assert "random-conv-320-92280b90" in page


def test_pictures_are_drawn(first: tuple[Path, EvaluateResult]) -> None:
    for name in ("mds.png", "worst_pairs.png"):
        assert (first[0] / name).read_bytes().startswith(b"\x89PNG")
    assert (first[0] / "mds.svg").read_text().startswith("<?xml")
    assert 0.0 <= values(first[1])["mds_overlap", "lungs"].value <= 1.0


def test_new_lungs_are_clear_and_betray_nobody(first: tuple[Path, EvaluateResult]) -> None:
    out, result = first
    assert result.verdicts["copy"] == 0
    auc = of(result, "membership_auc_donor_excluded", "random-conv")
    assert auc.low < 0.5 < auc.high
    rows = pq.read_table(out / "memorisation.parquet").to_pylist()
    assert len(rows) == 8
    assert all(row["other_case_lungs"] != row["case_id"] for row in rows)
    assert all(abs(row["lung_correlation"]) < 0.25 for row in rows)


@pytest.mark.usefixtures("measured")
def test_a_lake_of_copies_is_found_out(real: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    copies = []
    for donor in DONORS:
        noise = rng.normal(0, 3, scan(donor).ct.shape)
        copies.append((donor, with_ct(scan(donor), np.rint(scan(donor).ct + noise))))
    lake = synthetic_set(tmp_path / "lake", copies)
    result = evaluate(str(real), str(lake), tmp_path / "out")
    assert result.verdicts["copy"] == len(DONORS)
    for space in ("random-conv", "lung box"):
        assert of(result, "membership_auc_donor_included", space).value > 0.95
        # Six of the eight are drawn, as many as are held out: two copies have lost their source.
        assert of(result, "dcr_share_closer_to_training_donor_included", space).value >= 0.75
        assert of(result, "nndr_donor_included", space).value < 0.3
    assert values(result)["share_copy", "lungs"].value == 1.0
    rows = pq.read_table(tmp_path / "out" / "memorisation.parquet").to_pylist()
    assert all(row["nearest_case_thumbnail"] == row["case_id"] for row in rows)


@pytest.mark.usefixtures("measured")
def test_copies_of_other_patients_than_the_donor_are_found_out(real: Path, tmp_path: Path) -> None:
    stolen = [((donor + 1) % 8, scan(donor)) for donor in DONORS]
    result = evaluate(str(real), str(synthetic_set(tmp_path / "lake", stolen)), tmp_path / "out")
    assert result.verdicts["copy"] == len(DONORS)
    assert of(result, "membership_auc_donor_excluded", "lung box").value > 0.95


@pytest.mark.usefixtures("measured")
def test_a_set_against_itself_is_at_no_distance(real: Path, tmp_path: Path) -> None:
    same = [(seed, scan(seed)) for seed in range(14)]
    result = evaluate(str(real), str(synthetic_set(tmp_path / "lake", same)), tmp_path / "out")
    found = values(result)
    assert found["fid", "whole"].value == pytest.approx(0.0, abs=1e-6)
    assert found["fid", "lungs"].value == pytest.approx(0.0, abs=1e-6)
    assert found["mse", "whole"].value == 0.0
    assert ("psnr_db", "whole") not in found


def test_a_second_run_measures_nothing_and_says_the_same(
    real: Path,
    lake: Path,
    first: tuple[Path, EvaluateResult],
    tmp_path: Path,
    measured: list[str],
) -> None:
    out = Path(shutil.copytree(first[0], tmp_path / "out"))
    again = evaluate(str(real), str(lake), out)
    assert measured == []
    assert rows_of(again) == rows_of(first[1])
    for name in ("figures.parquet", "memorisation.parquet", "mds.png", "mds.svg"):
        assert (out / name).read_bytes() == (first[0] / name).read_bytes()


def test_only_new_volumes_are_measured_when_a_lake_grows(
    real: Path, first: tuple[Path, EvaluateResult], tmp_path: Path, measured: list[str], capfd: Any
) -> None:
    out = Path(shutil.copytree(first[0], tmp_path / "out"))
    drawn = [(donor, relunged(scan(donor), donor)) for donor in DONORS]
    grown = synthetic_set(tmp_path / "lake", [*drawn, (0, relunged(scan(0), 99))])
    assert evaluate(str(real), str(grown), out).num_synthetic == 9
    assert len(measured) == 1
    assert "resuming: 22 of 23 volumes are measured, 1 to do" in capfd.readouterr().err


def test_a_broken_volume_is_told_and_left_out(
    real: Path, lake: Path, tmp_path: Path, measured: list[str], capfd: Any
) -> None:
    broken = Path(shutil.copytree(lake, tmp_path / "lake"))
    chunk = sorted(broken.glob("volumes/*/0/c/0/0/0"))[0]
    chunk.write_bytes(chunk.read_bytes()[:-50])
    work_id = chunk.parents[4].name.partition(".")[0]
    result = evaluate(str(real), str(broken), tmp_path / "out")
    assert (result.num_synthetic, result.num_left_out) == (7, 1)
    assert f"left out: volume {work_id}: volume " in capfd.readouterr().err
    told = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert "expected a whole OME-Zarr group" in told["left_out"][f"volume {work_id}"]
    assert len(measured) == 22


@pytest.mark.usefixtures("measured")
def test_other_voxels_than_the_manifest_says_are_left_out(
    real: Path, lake: Path, tmp_path: Path, capfd: Any
) -> None:
    swapped = Path(shutil.copytree(lake, tmp_path / "lake"))
    one, other = sorted(swapped.glob("volumes/*.ome.zarr"))[:2]
    shutil.rmtree(one)
    shutil.copytree(other, one)
    assert evaluate(str(real), str(swapped), tmp_path / "out").num_synthetic == 7
    assert "found image voxels with sha256" in capfd.readouterr().err


def test_rejected_volumes_and_other_grids_do_not_count(
    real: Path, tmp_path: Path, measured: list[str], capfd: Any
) -> None:
    drawn = [(donor, relunged(scan(donor), donor)) for donor in DONORS]
    small = Volume(ct=scan(0).ct[4:], layout=scan(0).layout[4:], affine=scan(0).affine)
    rejected = {1: {"qc_verdict": "reject", "qc_reasons": ["seam"]}}
    lake = synthetic_set(tmp_path / "lake", [*drawn, (0, small)], rejected)
    result = evaluate(str(real), str(lake), tmp_path / "out")
    assert (result.num_synthetic, result.num_left_out) == (7, 1)
    assert len(measured) == 14 + 7
    told = capfd.readouterr().err
    assert "1 synthetic volumes that quality control rejected" in told
    assert "its grid is (20, 32, 32) voxels; expected (24, 32, 32)" in told


@pytest.mark.usefixtures("measured")
def test_a_large_set_on_another_grid_does_not_outvote_the_real_one(
    real: Path, tmp_path: Path
) -> None:
    small = [
        (
            donor,
            Volume(ct=scan(donor).ct[4:], layout=scan(donor).layout[4:], affine=scan(donor).affine),
        )
        for donor in [*DONORS, *DONORS]
    ]
    lake = synthetic_set(tmp_path / "lake", small)
    with pytest.raises(
        UsageError, match=r"--synthetic .*lake: found 0 usable volumes; left out: .*\(20, "
    ):
        evaluate(str(real), str(lake), tmp_path / "out")


@pytest.mark.usefixtures("measured")
def test_with_few_held_out_cases_no_attack_is_told(tmp_path: Path, lake: Path, capfd: Any) -> None:
    real = real_set(tmp_path / "cases", ["train"] * 8 + ["test"] * 4)
    result = evaluate(str(real), str(lake), tmp_path / "out")
    names = {one.name for one in result.figures}
    assert not any("auc" in name or "dcr" in name for name in names)
    assert "nndr_donor_included" in names
    assert "8 training and 4 held-out real volumes; DCR share" in capfd.readouterr().err


@pytest.mark.usefixtures("measured")
def test_volumes_without_their_donor_have_features_and_no_pair(
    tmp_path: Path, lake: Path, capfd: Any
) -> None:
    real = real_set(tmp_path / "cases", ["train"] * 6)
    result = evaluate(str(real), str(lake), tmp_path / "out")
    assert {one.n for one in result.figures if one.name == "mse"} == {6}
    assert values(result)["fid", "whole"].value > 0.0
    assert "2 synthetic volumes have no donor in either manifest" in capfd.readouterr().err


@pytest.mark.usefixtures("measured")
def test_sets_without_volumes_are_refused(real: Path, lake: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--synthetic .*cases: found no synthetic volume"):
        evaluate(str(real), str(real), tmp_path / "out")
    with pytest.raises(UsageError, match=r"--real .*lake: found no real volume"):
        evaluate(str(lake), str(lake), tmp_path / "out")
    with pytest.raises(StoreError, match=r"neither a lake nor a case store"):
        evaluate(str(tmp_path), str(lake), tmp_path / "out")
    one = synthetic_set(tmp_path / "one", [(0, relunged(scan(0), 0))])
    with pytest.raises(UsageError, match=r"--synthetic .*one: found 1 usable volumes; expected 2"):
        evaluate(str(real), str(one), tmp_path / "out")


def test_a_torn_table_of_features_is_told_and_measured_again(
    real: Path,
    lake: Path,
    first: tuple[Path, EvaluateResult],
    tmp_path: Path,
    measured: list[str],
    capfd: Any,
) -> None:
    (tmp_path / "features.parquet").write_bytes(b"PAR1 torn")
    found = evaluate(str(real), str(lake), tmp_path)
    assert len(measured) == 22
    assert rows_of(found) == rows_of(first[1])
    assert "features.parquet.torn, and all volumes are measured again" in capfd.readouterr().err
    # What was set aside is no reason to do so once more.
    evaluate(str(real), str(lake), tmp_path)
    assert len(measured) == 22


def test_features_that_were_cut_off_are_measured_again_and_the_figures_are_right(
    real: Path,
    lake: Path,
    first: tuple[Path, EvaluateResult],
    tmp_path: Path,
    measured: list[str],
    capfd: Any,
) -> None:
    out = Path(shutil.copytree(first[0], tmp_path / "out"))
    rows = pq.read_table(out / "features.parquet").to_pylist()
    rows[0]["whole"] = rows[0]["whole"][:-1]
    rows[1]["lungs"][0] = float("nan")
    write_table(pa.Table.from_pylist(rows, schema=FEATURES_SCHEMA), out / "features.parquet")
    assert rows_of(evaluate(str(real), str(lake), out)) == rows_of(first[1])
    assert sorted(measured) == [rows[0]["key"], rows[1]["key"]]
    assert "found 2 of 22 volumes with features that are cut off" in capfd.readouterr().err


@pytest.mark.usefixtures("measured")
def test_a_volume_that_lies_nowhere_or_elsewhere_is_left_out_with_its_reason(
    real: Path, tmp_path: Path
) -> None:
    drawn = [(donor, relunged(scan(donor), donor)) for donor in DONORS]
    moved = scan(1).affine.copy()
    moved[0, 3] += 40.0
    lake = synthetic_set(tmp_path / "lake", drawn, {1: {"affine": moved.ravel().tolist()}})
    rows = pq.read_table(lake / "manifest.parquet").to_pylist()
    nowhere, elsewhere = (rows[number]["work_id"] for number in (0, 1))
    group = lake / rows[0]["image_uri"] / "zarr.json"
    content = json.loads(group.read_text())
    content["attributes"]["ct_factory"]["affine_ras"][0][0] = float("nan")
    group.write_text(json.dumps(content))
    result = evaluate(str(real), str(lake), tmp_path / "out")
    assert (result.num_synthetic, result.num_left_out) == (6, 2)
    told = json.loads((tmp_path / "out" / "evaluation.json").read_text())["left_out"]
    assert "expected 4 x 4 finite numbers that can be inverted" in told[f"volume {nowhere}"]
    assert "as its row says" in told[f"volume {elsewhere}"]


def test_a_picture_that_cannot_be_drawn_is_told_and_costs_no_figure(
    real: Path,
    lake: Path,
    first: tuple[Path, EvaluateResult],
    tmp_path: Path,
    measured: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capfd: Any,
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise ValueError("Image size of 99999999 x 1 pixels is too large")

    out = Path(shutil.copytree(first[0], tmp_path / "out"))
    monkeypatch.setattr("jobs.evaluate.pictures.comparison_figure", fail)
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", fail)
    assert rows_of(evaluate(str(real), str(lake), out)) == rows_of(first[1])
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
    stranger: str, real: Path, lake: Path, tmp_path: Path, measured: list[str]
) -> None:
    (tmp_path / stranger).write_text("{}")
    (tmp_path / "figures.parquet").write_text("not ours")
    with pytest.raises(
        UsageError,
        match=r"--out .*: found a folder with .* in it; expected an empty one, or one of",
    ):
        evaluate(str(real), str(lake), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([stranger, "figures.parquet"])
    assert (tmp_path / "figures.parquet").read_text() == "not ours"
    assert measured == []


def test_the_sets_themselves_are_no_folder_to_write_to(
    real: Path, lake: Path, measured: list[str]
) -> None:
    before = sorted(lake.rglob("*"))
    for out in (lake, real, lake / "volumes"):
        with pytest.raises(UsageError, match=r"Choose another folder"):
            evaluate(str(real), str(lake), out)
    assert sorted(lake.rglob("*")) == before
    assert measured == []


@pytest.mark.parametrize("stranger", ["sweep.json", "dataset.json", "downstream.json"])
def test_a_folder_of_another_verb_is_refused_though_an_evaluation_was_written_there(
    stranger: str, real: Path, lake: Path, first: tuple[Path, EvaluateResult], tmp_path: Path
) -> None:
    out = Path(shutil.copytree(first[0], tmp_path / "out"))
    (out / stranger).write_text("{}")
    with pytest.raises(UsageError, match=rf"found a folder with {stranger} in it"):
        evaluate(str(real), str(lake), out)


@pytest.mark.usefixtures("measured")
def test_what_a_killed_run_left_is_no_stranger(real: Path, lake: Path, tmp_path: Path) -> None:
    (tmp_path / ".1234.unfinished").write_text("half")
    (tmp_path / ".features.parquet.1234.tmp").write_text("half")
    assert evaluate(str(real), str(lake), tmp_path).num_synthetic == 8


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
    blocked: str, real: Path, lake: Path, tmp_path: Path, measured: list[str]
) -> None:
    (tmp_path / "features.parquet.torn").write_text("of an evaluation")
    (tmp_path / blocked).mkdir(parents=True)
    with pytest.raises(
        UsageError, match=rf"{blocked}: found a folder; expected a file, or nothing"
    ):
        evaluate(str(real), str(lake), tmp_path)
    assert measured == []


@pytest.mark.usefixtures("measured")
@pytest.mark.parametrize("blocked", ["tables", "slices"])
def test_a_file_where_a_folder_is_to_be_is_refused(
    blocked: str, real: Path, lake: Path, tmp_path: Path
) -> None:
    (tmp_path / "features.parquet.torn").write_text("of an evaluation")
    (tmp_path / blocked).write_text("")
    with pytest.raises(UsageError, match=rf"{blocked}: found a file; expected a folder"):
        evaluate(str(real), str(lake), tmp_path)


def test_all_that_is_written_is_looked_for_before(first: tuple[Path, EvaluateResult]) -> None:
    files = {str(path.relative_to(first[0])) for path in first[0].rglob("*") if path.is_file()}
    written = {*folder.FILES, "worst_pairs.png"}
    assert files <= written
    assert written - files == {folder.ASIDE, folder.TABLE_4}


def test_more_folds_than_patients_are_refused_with_their_number(
    real: Path, lake: Path, tmp_path: Path, measured: list[str]
) -> None:
    for count in (2, 15, 999_999_999):
        with pytest.raises(
            UsageError, match=rf"--folds: found {count}; expected 3 to 14, .*cases has 14\."
        ):
            evaluate(str(real), str(lake), tmp_path / "out", num_folds=count)
    assert measured == []
    assert not (tmp_path / "out").exists()
    given = ["--real", str(real), "--synthetic", str(lake), "--folds", "999999999"]
    result = CliRunner().invoke(app, ["evaluate", *given, "--out", str(tmp_path / "out")])
    assert result.exit_code == 2
    assert "found 999999999; expected 3 to 14" in result.stderr


@pytest.mark.usefixtures("measured")
def test_as_many_folds_as_patients_are_taken_and_few_patients_need_no_option(
    real: Path, lake: Path, first: tuple[Path, EvaluateResult], tmp_path: Path
) -> None:
    out = Path(shutil.copytree(first[0], tmp_path / "out"))
    notes = [one.note for one in evaluate(str(real), str(lake), out, num_folds=14).figures]
    # The lake has volumes of eight of them.
    assert "against 14 real; 95 % over 8 folds of patients" in notes
    few = real_set(tmp_path / "cases", ["train"] * 4)
    assert evaluate(str(few), str(lake), tmp_path / "few").num_real == 4


@pytest.mark.usefixtures("measured")
def test_a_mixed_manifest_stands_for_both_sets(
    real: Path, lake: Path, first: tuple[Path, EvaluateResult], tmp_path: Path
) -> None:
    from jobs.readers.rows import select_rows

    rows = [
        row
        for folder in (real, lake)
        for row in select_rows(folder / "manifest.parquet").to_pylist()
    ]
    mix = tmp_path / "mix.parquet"
    counted = ("num_real", "num_synthetic", "synthetic_fraction", "synthetic_per_real")
    write_manifest([{k: v for k, v in row.items() if k not in counted} for row in rows], mix)
    out = Path(shutil.copytree(first[0], tmp_path / "out"))
    assert rows_of(evaluate(str(mix), {"lake": str(mix)}, out)) == rows_of(first[1])


@pytest.mark.usefixtures("measured")
def test_the_command_gives_the_table_and_says_what_is_next(
    real: Path, lake: Path, first: tuple[Path, EvaluateResult], tmp_path: Path
) -> None:
    out = Path(shutil.copytree(first[0], tmp_path / "out"))
    given = ["evaluate", "--real", str(real), "--synthetic", str(lake), "--out", str(out)]
    result = CliRunner().invoke(app, given)
    assert result.exit_code == 0, result.output
    assert result.stdout == f"{out}/tables/table2.md\n"
    last = result.stderr.strip().splitlines()[-1]
    assert "8 synthetic against 14 real volumes, 0 left out" in last
    assert f"Next: factory mix {lake} --ratio 0.25" in last


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_a_cluster_measures_what_one_process_does(
    real: Path, lake: Path, first: tuple[Path, EvaluateResult], tmp_path: Path, capfd: Any
) -> None:
    broken = Path(shutil.copytree(lake, tmp_path / "lake"))
    (sorted(broken.glob("volumes/*/0/zarr.json"))[0]).unlink()
    out = tmp_path / "evaluation"
    assert evaluate(str(real), str(broken), out).num_left_out == 1
    result = evaluate(str(real), str(lake), out)
    assert "resuming: 21 of 22 volumes are measured, 1 to do" in capfd.readouterr().err
    alone = values(first[1])
    for place, interval in values(result).items():
        if place == ("ms_ssim", "whole"):
            assert 0.0 < interval.value < 1.0
        elif "auc" not in place[0] and "dcr" not in place[0]:
            assert interval.value == pytest.approx(alone[place].value, rel=1e-3, abs=1e-5), place
