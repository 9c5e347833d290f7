"""What `factory evaluate` leaves out of a set, with its reason, and which sets are too small to be told of."""

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from evaluations import DONORS, real_set, relunged, scan, synthetic_set, values

from factory.errors import StoreError, UsageError
from factory.volumes import Volume
from jobs.evaluate.job import evaluate


def test_a_broken_volume_is_told_and_left_out(
    real_cases: Path, fresh_lake: Path, tmp_path: Path, measured: list[str], capfd: Any
) -> None:
    broken = Path(shutil.copytree(fresh_lake, tmp_path / "lake"))
    chunk = sorted(broken.glob("volumes/*/0/c/0/0/0"))[0]
    chunk.write_bytes(chunk.read_bytes()[:-50])
    work_id = chunk.parents[4].name.partition(".")[0]
    result = evaluate(str(real_cases), str(broken), tmp_path / "out")
    assert (result.num_synthetic, result.num_left_out) == (7, 1)
    assert f"left out: volume {work_id}: volume " in capfd.readouterr().err
    told = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert "expected a whole OME-Zarr group" in told["left_out"][f"volume {work_id}"]
    assert len(measured) == 22


@pytest.mark.usefixtures("measured")
def test_other_voxels_than_the_manifest_says_are_left_out(
    real_cases: Path, fresh_lake: Path, tmp_path: Path, capfd: Any
) -> None:
    swapped = Path(shutil.copytree(fresh_lake, tmp_path / "lake"))
    one, other = sorted(swapped.glob("volumes/*.ome.zarr"))[:2]
    shutil.rmtree(one)
    shutil.copytree(other, one)
    assert evaluate(str(real_cases), str(swapped), tmp_path / "out").num_synthetic == 7
    assert "found image voxels with sha256" in capfd.readouterr().err


def test_rejected_volumes_and_other_grids_do_not_count(
    real_cases: Path, tmp_path: Path, measured: list[str], capfd: Any
) -> None:
    drawn = [(donor, relunged(scan(donor), donor)) for donor in DONORS]
    small = Volume(ct=scan(0).ct[4:], layout=scan(0).layout[4:], affine=scan(0).affine)
    rejected = {1: {"qc_verdict": "reject", "qc_reasons": ["seam"]}}
    lake = synthetic_set(tmp_path / "lake", [*drawn, (0, small)], rejected)
    result = evaluate(str(real_cases), str(lake), tmp_path / "out")
    assert (result.num_synthetic, result.num_left_out) == (7, 1)
    assert len(measured) == 14 + 7
    told = capfd.readouterr().err
    assert "1 synthetic volume that quality control rejected" in told
    assert "its grid is (20, 32, 32) voxels; expected (24, 32, 32)" in told


@pytest.mark.usefixtures("measured")
def test_a_large_set_on_another_grid_does_not_outvote_the_real_one(
    real_cases: Path, tmp_path: Path
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
        evaluate(str(real_cases), str(lake), tmp_path / "out")


@pytest.mark.usefixtures("measured")
def test_with_few_held_out_cases_no_attack_is_told(
    tmp_path: Path, fresh_lake: Path, capfd: Any
) -> None:
    real = real_set(tmp_path / "cases", ["train"] * 8 + ["test"] * 4)
    result = evaluate(str(real), str(fresh_lake), tmp_path / "out")
    names = {one.name for one in result.figures}
    assert not any("auc" in name or "dcr" in name for name in names)
    assert "nndr_donor_included" in names
    assert "8 training and 4 held-out real volumes; DCR share" in capfd.readouterr().err


@pytest.mark.usefixtures("measured")
def test_volumes_without_their_donor_have_features_and_no_pair(
    tmp_path: Path, fresh_lake: Path, capfd: Any
) -> None:
    real = real_set(tmp_path / "cases", ["train"] * 6)
    result = evaluate(str(real), str(fresh_lake), tmp_path / "out")
    assert {one.n for one in result.figures if one.name == "mse"} == {6}
    assert values(result)["fid", "whole"].value > 0.0
    assert "without a donor in either manifest: 2 synthetic volumes" in capfd.readouterr().err


@pytest.mark.usefixtures("measured")
def test_sets_without_volumes_are_refused(
    real_cases: Path, fresh_lake: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=r"--synthetic .*cases: found no synthetic volume"):
        evaluate(str(real_cases), str(real_cases), tmp_path / "out")
    with pytest.raises(UsageError, match=r"--real .*lake: found no real volume"):
        evaluate(str(fresh_lake), str(fresh_lake), tmp_path / "out")
    with pytest.raises(StoreError, match=r"neither a lake nor a case store"):
        evaluate(str(tmp_path), str(fresh_lake), tmp_path / "out")
    one = synthetic_set(tmp_path / "one", [(0, relunged(scan(0), 0))])
    with pytest.raises(UsageError, match=r"--synthetic .*one: found 1 usable volume; expected 2"):
        evaluate(str(real_cases), str(one), tmp_path / "out")


@pytest.mark.usefixtures("measured")
def test_a_volume_that_lies_nowhere_or_elsewhere_is_left_out_with_its_reason(
    real_cases: Path, tmp_path: Path
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
    result = evaluate(str(real_cases), str(lake), tmp_path / "out")
    assert (result.num_synthetic, result.num_left_out) == (6, 2)
    told = json.loads((tmp_path / "out" / "evaluation.json").read_text())["left_out"]
    assert "expected 4 x 4 finite numbers that can be inverted" in told[f"volume {nowhere}"]
    assert "as its row says" in told[f"volume {elsewhere}"]
