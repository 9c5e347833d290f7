"""Whose a folder of `factory downstream` is: no result of another run is given as this one's."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from downstream_sets import drawn_row, make_set, row_of, run, scan, write_rows
from typer.testing import CliRunner

from factory.errors import StoreError, UsageError
from jobs.cluster import Cluster
from jobs.downstream import command, job
from jobs.downstream.plan import MOST_SEED, RunSpec


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_set(tmp_path_factory.mktemp("set") / "lake", 4, 2)


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As many volumes of the same cases, with other voxels."""
    folder = tmp_path_factory.mktemp("other") / "lake"
    rows = [row_of(folder, f"c{n}", scan(100 + n)) for n in range(4)]
    rows += [row_of(folder, f"t{n}", scan(2000 + n), split="test") for n in range(2)]
    return write_rows(folder, rows)


def edit(run: Path, **changes: Any) -> None:
    file = run / "result.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def test_a_result_whose_claim_was_lost_is_taken_for_what_it_is_alone(
    lake: Path, other: Path, tmp_path: Path, started_runs: list[RunSpec]
) -> None:
    out = tmp_path / "out"
    run(lake, out)
    (out / "downstream.json").unlink()
    for place, given, difference in (
        (other, {}, r"digest of manifest and volumes was [0-9a-f]{32,}, is [0-9a-f]{32,}"),
        (lake, {"seed": 3}, "seed was 0, is 3"),
        (lake, {"config": {"steps": 3}}, "config.steps was 2, is 3; steps was 2, is 3"),
        (lake, {"num_folds": 2}, ""),
    ):
        message = (
            rf"found the result of another run \({difference}\)"
            if difference
            else (r"found result\.json, which is not asked for with --folds 2; expected")
        )
        with pytest.raises(StoreError, match=rf"{message}.*Choose another --out\.$"):
            run(place, out, **given)
        assert not (out / "downstream.json").exists()
    run(lake, out)
    assert (out / "downstream.json").exists()
    assert len(started_runs) == 1


def test_a_result_of_another_mix_under_the_same_claim_is_refused(
    lake: Path, tmp_path: Path, started_runs: list[RunSpec]
) -> None:
    out = tmp_path / "out"
    run(lake, out)
    edit(out, mix={"num_real": 9, "num_synthetic": 0})
    with pytest.raises(StoreError, match=r"mix\.num_real was 9, is 4.* start anew with --fresh"):
        run(lake, out)
    assert run(lake, out, fresh=True).runs[0].num_real == 4


def test_scores_of_other_cases_in_a_run_are_refused(
    lake: Path, tmp_path: Path, started_runs: list[RunSpec]
) -> None:
    rows = [row_of(tmp_path / "two", f"c{n}", scan(n)) for n in range(4)]
    rows += [row_of(tmp_path / "two", f"u{n}", scan(50 + n), split="test") for n in range(2)]
    run(lake, tmp_path / "out")
    run(write_rows(tmp_path / "two", rows), tmp_path / "cases")
    for name in ("cases.parquet", "nodules.parquet"):
        shutil.copy(tmp_path / "cases" / name, tmp_path / "out" / name)
    with pytest.raises(StoreError, match=r"\(test cases are others, by 4, as t0\)"):
        run(lake, tmp_path / "out")


def test_a_run_that_left_volumes_out_is_known_again(
    tmp_path: Path, started_runs: list[RunSpec]
) -> None:
    folder = tmp_path / "lake"
    rows = [row_of(folder, f"c{n}", scan(n)) for n in range(3)]
    rows += [drawn_row(folder, 0, scan(70 + n), n) for n in range(2)]
    rows += [row_of(folder, f"t{n}", scan(50 + n), split="test") for n in range(2)]
    lake = write_rows(folder, rows)
    for number in (1, 3, 5):
        shutil.rmtree(folder / rows[number]["image_uri"])
    first = run(lake, tmp_path / "out")
    assert len(first.runs[0].left_out) == 3
    assert run(lake, tmp_path / "out").runs[0].cases == first.runs[0].cases
    assert len(started_runs) == 1


@pytest.mark.parametrize("place", ["runs/ratio-0.5-s0-f0", "runs", "mine"])
def test_a_folder_within_a_sweep_is_refused(
    lake: Path, tmp_path: Path, started_runs: list[RunSpec], place: str
) -> None:
    out = tmp_path / "sweep" / place
    run(lake, out)
    (tmp_path / "sweep" / "sweep.json").write_text("{}")
    (tmp_path / "link").symlink_to(out)
    for path in (out, tmp_path / "link"):
        with pytest.raises(StoreError, match=r"found sweep\.json in .*/sweep, which it lies in; "):
            run(lake, path)
    assert len(started_runs) == 1


def test_a_fold_of_a_run_is_no_folder_of_its_own(
    lake: Path, tmp_path: Path, started_runs: list[RunSpec]
) -> None:
    run(lake, tmp_path / "out", num_folds=2)
    with pytest.raises(StoreError, match=r"found downstream\.json in .*/out, which it lies in"):
        run(lake, tmp_path / "out" / "runs" / "fold-0")


def test_a_folder_with_somebodys_files_is_left_alone(
    lake: Path, tmp_path: Path, started_runs: list[RunSpec]
) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "main.tex").write_text("...")
    with pytest.raises(
        StoreError, match=r"found 1 file or folder of no run, as main\.tex; expected a r"
    ):
        run(lake, tmp_path / "thesis")
    with pytest.raises(StoreError, match=r"main\.tex: found a file; expected a folder\. Choose"):
        run(lake, tmp_path / "thesis" / "main.tex")
    assert [one.name for one in (tmp_path / "thesis").iterdir()] == ["main.tex"]
    assert started_runs == []


def test_hidden_files_are_in_nobodys_way(
    lake: Path, tmp_path: Path, started_runs: list[RunSpec]
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / ".DS_Store").write_bytes(b"")
    run(lake, tmp_path / "out")
    assert len(started_runs) == 1


def test_what_an_unfinished_run_left_is_gone_when_another_begins(
    lake: Path, tmp_path: Path, started_runs: list[RunSpec], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"

    def killed(cluster: Cluster, spec: RunSpec, num_workers: Any, device: str) -> None:
        place = Path(spec.out)
        (place / "predictions").mkdir(parents=True)
        for name in ("model.pt", "cases.parquet", "predictions/t9.nii.gz", ".1f.unfinished"):
            (place / name).write_bytes(b"of another network")
        raise KeyboardInterrupt

    for num_folds in (2, 1):
        with monkeypatch.context() as patch:
            patch.setattr(job, "fit_on_workers", killed)
            with pytest.raises(KeyboardInterrupt):
                run(lake, out, num_folds=num_folds)
    left = {one.name for one in out.iterdir() if one.is_dir()}
    assert left == {"predictions"}
    (out / "notes.txt").write_text("mine")
    run(lake, out, seed=4)
    assert {one.name for one in out.iterdir()} - {".lock"} == {
        *("cases.parquet", "downstream.json", "metrics.jsonl", "model.pt", "nodules.parquet"),
        *("notes.txt", "result.json", "warnings.log"),
    }


@pytest.mark.parametrize("seed", [-1, 2**63, 10**30])
def test_a_seed_that_no_table_holds_is_refused_before_anything_starts(
    lake: Path, tmp_path: Path, started_runs: list[RunSpec], seed: int
) -> None:
    with pytest.raises(UsageError, match=rf"seed {seed}: expected a whole number from 0 to 9223"):
        run(lake, tmp_path / "out", seed=seed)
    assert not (tmp_path / "out").exists()
    words = ["--manifest", str(lake), "--out", str(tmp_path / "out"), "--seed", str(seed)]
    result = CliRunner().invoke(command.app, words)
    assert result.exit_code == 2
    assert "--seed" in result.stderr
    assert started_runs == []


def test_the_largest_seed_is_trained_and_read_back(
    lake: Path, tmp_path: Path, started_runs: list[RunSpec]
) -> None:
    run(lake, tmp_path / "out", seed=MOST_SEED)
    assert run(lake, tmp_path / "out", seed=MOST_SEED).runs[0].seed == MOST_SEED
    assert len(started_runs) == 1
