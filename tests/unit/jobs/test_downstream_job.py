"""What `factory downstream` does around its runs, without Ray."""

import fcntl
import json
import shlex
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from downstream_sets import make_set, read_case, row_of, run, scan, write_rows
from mix_sources import drawn, make_source
from monai.networks import nets
from torch import Tensor, nn
from typer.testing import CliRunner

from factory.errors import FactoryError, StoreError, UsageError
from jobs.downstream import command
from jobs.downstream.plan import RunSpec, make_plan
from jobs.downstream.sweep.mixes import parse_mixes, volumes_of


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_set(tmp_path_factory.mktemp("set") / "lake", 4, 2, synthetic=1)


def test_a_finished_run_is_kept_and_a_stopped_one_begins_anew(
    lake: Path, tmp_path: Path, started_runs: list[RunSpec]
) -> None:
    result = run(lake, tmp_path / "out")
    written = (tmp_path / "out" / "result.json").read_bytes()
    assert str(run(lake, tmp_path / "out").summaries) == str(result.summaries)
    assert len(started_runs) == 1
    assert (tmp_path / "out" / "result.json").read_bytes() == written

    (tmp_path / "out" / "result.json").unlink()
    again = run(lake, tmp_path / "out")
    assert len(started_runs) == 2
    assert again.runs[0].cases == result.runs[0].cases
    assert result.path == str(tmp_path / "out" / "result.json")
    assert "4R+1S, 2 real test cases: dice 0" in result.told()
    assert ", specificity 0." in result.told()


def test_other_settings_under_a_finished_run_are_refused_with_the_difference(
    lake: Path, tmp_path: Path, started_runs: list[RunSpec]
) -> None:
    run(lake, tmp_path / "out")
    for given, difference in (
        ({"seed": 3}, "seed was 0, is 3"),
        ({"num_folds": 2}, "folds was 1, is 2"),
        ({"config": {"unannotated": "healthy"}}, r"unannotated was left-out, is healthy"),
        ({"config": {"steps": 3}}, r"downstream\.steps was 2, is 3"),
        (
            {"config": {"network_args": {"channels": [4, 4], "strides": [2]}}},
            r"channels was \[4, 8",
        ),
    ):
        with pytest.raises(StoreError, match=rf"asked for differently before \(.*{difference}"):
            run(lake, tmp_path / "out", **given)
    # How a run goes is not what it is.
    run(lake, tmp_path / "out", config={"num_loaders": 1, "num_cached": 3})
    assert len(started_runs) == 1


def test_predictions_of_a_finished_run_are_written_without_training_it_again(
    lake: Path, tmp_path: Path, started_runs: list[RunSpec], capsys: pytest.CaptureFixture[str]
) -> None:
    config = {"steps": 8}
    run(lake, tmp_path / "kept", config=config, keep_predictions=True)
    run(lake, tmp_path / "out", config=config)
    run(lake, tmp_path / "out", config=config, keep_predictions=True)
    assert len(started_runs) == 2
    files = sorted((tmp_path / "out" / "predictions").iterdir())
    assert [file.name for file in files] == ["t0.nii.gz", "t1.nii.gz"]
    for file in files:
        kept = tmp_path / "kept" / "predictions" / file.name
        found, expected = (np.asarray(nib.load(one).dataobj) for one in (file, kept))
        assert np.array_equal(found, expected)
    assert "predicted 2 cases again" in capsys.readouterr().err
    files[0].unlink()
    run(lake, tmp_path / "out", config=config, keep_predictions=True)
    assert "predicted 1 case again" in capsys.readouterr().err
    run(lake, tmp_path / "out", config=config, keep_predictions=True)
    assert "again, into" not in capsys.readouterr().err


def test_a_run_that_never_finished_is_anybodys(
    lake: Path, tmp_path: Path, started_runs: list[RunSpec]
) -> None:
    run(lake, tmp_path / "out")
    (tmp_path / "out" / "result.json").unlink()
    assert run(lake, tmp_path / "out", seed=5).runs[0].seed == 5


def test_fresh_sets_a_run_aside(lake: Path, tmp_path: Path, started_runs: list[RunSpec]) -> None:
    run(lake, tmp_path / "out")
    assert run(lake, tmp_path / "out", seed=1, fresh=True).runs[0].seed == 1
    old = json.loads((tmp_path / "out.old-1" / "result.json").read_text())
    assert old["seed"] == 0


def test_each_fold_is_a_run_and_those_that_are_finished_stay(
    lake: Path, tmp_path: Path, started_runs: list[RunSpec], capsys: pytest.CaptureFixture[str]
) -> None:
    result = run(lake, tmp_path / "out", num_folds=3)
    (tmp_path / "out" / "runs" / "fold-1" / "result.json").unlink()
    again = run(lake, tmp_path / "out", num_folds=3)
    assert [spec.fold for spec in started_runs] == [0, 1, 2, 1]
    assert str(again.summaries) == str(result.summaries)
    tested = [case.case_id for one in result.runs for case in one.cases]
    assert sorted(tested) == ["c0", "c1", "c2", "c3", "t0", "t1"]
    told = capsys.readouterr().err
    assert "warning: each fold tests scans that the model of the synthetic volumes may" in told
    assert "resuming: 2 of 3 runs finished" in told
    assert result.path == str(tmp_path / "out")
    dice = result.summary("dice")
    assert dice is not None
    assert str(dice.over_folds) in result.told()


@pytest.mark.parametrize("name", ["run.json", "sweep.json", "dataset.json"])
def test_a_folder_of_another_verb_is_left_alone(lake: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("{}")
    with pytest.raises(StoreError, match=rf"found {name}, of another verb; expected a run of this"):
        run(lake, tmp_path)


def test_a_folder_belongs_to_one_process(lake: Path, tmp_path: Path) -> None:
    with (tmp_path / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(StoreError, match=r"another process trains into it"):
            run(lake, tmp_path)


def test_more_workers_than_volumes_a_step_are_refused(lake: Path, tmp_path: Path) -> None:
    message = r"--num-workers 3: the recipe's batch_size is 2.* Raise \[downstream\] batch_size"
    with pytest.raises(UsageError, match=message):
        run(lake, tmp_path / "out", num_workers=3)
    assert not (tmp_path / "out").exists()


def test_a_network_that_cannot_be_made_is_refused_before_anything_starts(
    lake: Path, tmp_path: Path, started_runs: list[RunSpec]
) -> None:
    with pytest.raises(UsageError, match=r"kernel_size"):
        run(lake, tmp_path / "out", config={"network_args": {"chanels": [4]}})
    assert (started_runs, (tmp_path / "out").exists()) == ([], False)


def test_what_is_left_out_of_the_plan_is_told(
    tmp_path: Path, started_runs: list[RunSpec], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "lake"
    rows = [row_of(folder, f"c{n}", scan(n)) for n in range(2)]
    rows += [row_of(folder, "t", scan(9), split="test")]
    rows += [row_of(folder, "bare", scan(8), layout_sha256=None, layout_uri=None)]
    run(write_rows(folder, rows), tmp_path / "out")
    assert "left out: case bare: it has no layout, which would say" in capsys.readouterr().err


def test_a_claim_that_is_torn_is_refused(
    lake: Path, tmp_path: Path, started_runs: list[RunSpec]
) -> None:
    run(lake, tmp_path / "out")
    for content in ("[]", '{"folds": 1', ""):
        (tmp_path / "out" / "downstream.json").write_text(content)
        with pytest.raises(StoreError, match=r"downstream\.json that is no JSON object"):
            run(lake, tmp_path / "out")


def test_the_command_gives_the_result_on_stdout_and_figures_and_the_next_step_beside(
    lake: Path, tmp_path: Path, started_runs: list[RunSpec], monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = tmp_path / "own.toml"
    recipe.write_text(
        "[downstream]\nsteps = 9\nnum_loaders = 0\n"
        "[downstream.network_args]\nchannels = [4, 8]\nstrides = [2]\n"
    )
    monkeypatch.chdir(tmp_path)
    flags = f"--manifest {lake} --out out --recipe {recipe} --steps 2 --seed 4 --device cpu"
    result = CliRunner().invoke(command.app, flags.split(), catch_exceptions=False)
    assert result.exit_code == 0
    assert result.stdout == f"{tmp_path / 'out' / 'result.json'}\n"
    assert "4R+1S, 2 real test cases: dice " in result.stderr
    # Of four real volumes and a synthetic one.
    told = f"--manifest {lake} --recipe {recipe} --steps 2 --ratios 0,0.06,0.12,0.25 --extra\n"
    assert f"Next: factory downstream sweep {told}" in result.stderr
    assert (started_runs[0].config.steps, started_runs[0].seed) == (2, 4)


@pytest.mark.parametrize(
    ("num_real", "num_synthetic", "flags"),
    [
        (4, 0, "--real-fraction 0.25,0.5,1"),
        (12, 4, "--ratios 0,0.08,0.16,0.33 --extra"),
        (7, 2, "--ratios 0,0.07,0.14,0.28 --extra"),
        (3, 9, "--ratios 0,0.25,0.5,1 --extra"),
    ],
)
def test_the_next_step_asks_for_no_more_than_the_manifest_has(
    tmp_path: Path, num_real: int, num_synthetic: int, flags: str
) -> None:
    rows = [read_case(f"c{n}") for n in range(num_real)] + [read_case("t", split="test")]
    rows += [drawn("c0", n) for n in range(num_synthetic)]
    plan = make_plan(make_source(tmp_path / "lake", "lake", rows))
    assert command._mixes(plan.extra) == flags
    amounts = flags.split()[1]
    mixes = parse_mixes(amounts, None, extra=True) if num_synthetic else []
    for mix in mixes:
        volumes_of(mix, plan.folds[0])


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ("--recipe own.toml", "--recipe"),
        ("--folds 5", "--folds"),
        ("--seed 0", "--seed"),
        ("--keep-predictions", "--keep-predictions"),
    ],
)
def test_flags_before_sweep_are_refused_for_it_would_not_see_them(flags: str, told: str) -> None:
    words = [*flags.split(), "sweep", "--ratios", "0.5"]
    with pytest.raises(UsageError, match=rf"^{told}: found before `sweep`, which would not see it"):
        CliRunner().invoke(command.app, words, catch_exceptions=False)


def test_sweep_is_a_command_of_its_own_and_starts_no_run() -> None:
    result = CliRunner().invoke(command.app, ["sweep", "--help"])
    assert result.exit_code == 0
    assert "--ratios" in result.stdout


def test_a_run_that_fails_leaves_no_result(
    lake: Path, tmp_path: Path, started_runs: list[RunSpec]
) -> None:
    with pytest.raises(FactoryError, match=r"not finite|finite ones"):
        run(lake, tmp_path / "out", config={"learning_rate": 1e38, "steps": 9})
    assert not (tmp_path / "out" / "result.json").exists()


def test_the_next_step_can_be_pasted_whatever_the_paths_and_asks_for_the_same_folds(
    tmp_path: Path, started_runs: list[RunSpec]
) -> None:
    # Without folds nothing of it would test.
    folder = tmp_path / "of & it's"
    lake = write_rows(folder, [row_of(folder, f"c{n}", scan(n)) for n in range(4)])
    recipe = tmp_path / "my own.toml"
    recipe.write_text(
        "[downstream]\nsteps = 2\nnum_loaders = 0\n"
        "[downstream.network_args]\nchannels = [4, 8]\nstrides = [2]\n"
    )
    words = ["--manifest", str(lake), "--out", str(tmp_path / "out"), "--recipe", str(recipe)]
    result = CliRunner().invoke(command.app, [*words, "--folds", "2"], catch_exceptions=False)
    told = next(line for line in result.stderr.splitlines() if "Next: " in line)
    next_words = shlex.split(told.split("Next: factory downstream ")[1])
    expected = ["--manifest", str(lake), "--recipe", str(recipe), "--folds", "2"]
    assert next_words == ["sweep", *expected, "--real-fraction", "0.25,0.5,1"]


def test_a_network_that_lacks_a_package_is_refused_before_anything_starts(
    lake: Path, tmp_path: Path, started_runs: list[RunSpec], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Lacking(nn.Conv3d):
        def __init__(self) -> None:
            super().__init__(1, 2, 1)

        def forward(self, units: Tensor) -> Tensor:
            raise ImportError("from einops import rearrange (No module named 'einops').\nOriginal")

    monkeypatch.setattr(nets, "Lacking", Lacking, raising=False)
    changes = {"network": "Lacking", "network_args": {}}
    with pytest.raises(
        UsageError, match=r"network Lacking: found no einops, .* Run `pip install einops`, or"
    ):
        run(lake, tmp_path / "out", config=changes)
    assert (started_runs, (tmp_path / "out").exists()) == ([], False)
