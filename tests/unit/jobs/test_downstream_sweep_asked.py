"""What a sweep says of its mixes, folds, network and memory before the first run, and what it refuses."""

from dataclasses import replace
from pathlib import Path

import pytest
from downstream_sets import read_case as case
from mix_sources import drawn, make_source
from sweeps import CONFIG, MIXES, names_of
from typer.testing import CliRunner

from factory.errors import UsageError
from jobs.cluster import Cluster
from jobs.downstream.command import app
from jobs.downstream.results import read_run
from jobs.downstream.sweep import job
from jobs.downstream.sweep.folder import finished
from jobs.downstream.sweep.job import sweep
from jobs.downstream.sweep.mixes import parse_mixes
from jobs.downstream.sweep.needs import estimated_bytes, needs_of


def test_folds_test_each_patient_once_and_say_what_the_generator_may_have_seen(
    sweep_source: str, trained: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    sweep(
        sweep_source, out, CONFIG, parse_mixes("0.25", None, extra=True), num_seeds=1, num_folds=4
    )
    runs = [read_run(run) for run in finished(out)]
    assert sorted(names_of(out)) == sorted(
        f"{mix}-s0-f{fold}" for mix in ("real-1", "extra-0.25") for fold in range(4)
    )
    for label in ("real-1", "extra-0.25"):
        tested = [case.case_id for run in runs if run.label == label for case in run.cases]
        assert sorted(tested) == [*(f"c{n}" for n in range(6)), "t0", "t1"]
    told = capsys.readouterr().err
    assert "scans that the model of the synthetic volumes may have been trained on" in told
    assert "nodules may be pasted" not in told
    assert "left out in each fold: 0 to 4 of 8 synthetic volumes whose donor tests" in told


def test_folds_of_a_lake_with_pasted_nodules_warn_of_tissue_that_tests(
    trained: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [case(f"c{n}") for n in range(4)]
    rows += [drawn(f"c{n}", n, sampler="copy-paste") for n in range(4)]
    lake = make_source(tmp_path / "lake", "lake", rows)
    mixes = parse_mixes("0.25", None, extra=True)
    sweep(lake, tmp_path / "out", CONFIG, mixes, num_seeds=1, num_folds=2)
    told = capsys.readouterr().err
    assert "warning: each fold tests scans whose nodules may be pasted into the synthetic" in told
    assert "model of the synthetic volumes" not in told


def test_what_cannot_train_is_said_before_the_first_run(
    sweep_source: str, trained: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [case(f"c{n}") for n in range(3)]
    rows += [
        case("t0", split="test"),
        drawn("t0", 0, split="test"),
        drawn("c0", 1),
        drawn("c1", 2, qc_verdict="reject"),
    ]
    lake = make_source(tmp_path / "lake", "lake", rows)
    with pytest.raises(UsageError, match=r"1 needs 3 synthetic volumes for 3 real .* there are 1"):
        sweep(lake, tmp_path / "out", CONFIG, parse_mixes("1", None, extra=True))
    told = capsys.readouterr().err
    assert "left out: 1 synthetic volume in val or test" in told
    assert "left out: 1 synthetic volume rejected by quality control" in told
    assert not (tmp_path / "out").exists()
    assert trained == []


def test_mixes_that_come_to_the_same_volumes_are_told(
    sweep_source: str, trained: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep(
        sweep_source,
        tmp_path / "out",
        CONFIG,
        parse_mixes("0.5,0.51", None, extra=True),
        num_seeds=1,
    )
    assert trained == ["real-1-s0-f0", "extra-0.5-s0-f0"]
    told = capsys.readouterr().err
    assert "extra-0.51 goes by the name of extra-0.5: they are the same volumes here" in told


def test_a_mix_that_the_folder_has_by_another_name_is_not_trained_again(
    sweep_source: str, trained: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    sweep(sweep_source, out, CONFIG, parse_mixes("1", None, extra=True), num_seeds=1)
    trained.clear()
    # Half of the mixed set is one for each real one.
    sweep(sweep_source, out, CONFIG, parse_mixes("0.25,0.5", None, extra=False), num_seeds=2)
    assert trained == ["ratio-0.25-s0-f0", "real-1-s1-f0", "ratio-0.25-s1-f0", "extra-1-s1-f0"]
    assert "ratio-0.5 goes by the name of extra-1" in capsys.readouterr().err


def test_scans_that_nobody_annotated_are_counted_to_people_and_beneath_the_table(
    sweep_source: str, trained: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [case("c0"), case("c1"), case("t0", split="test"), case("c2", layout_origin="none")]
    lake = make_source(tmp_path / "lake", "cases", rows)
    mixes = parse_mixes(None, "1", extra=False)
    for policy, told in (
        ("left-out", "left out: 1 of 4 real scans, which nobody annotated (layout_origin none); "),
        ("healthy", "warning: 1 of 4 real scans, which nobody annotated, count as free of nodules"),
    ):
        config = replace(CONFIG, unannotated=policy)
        result = sweep(lake, tmp_path / policy, config, mixes, num_seeds=1)
        assert told in capsys.readouterr().err
        assert told in Path(result.table).read_text()
    trained = [
        read_run(tmp_path / one / "runs" / "real-1-s0-f0") for one in ("left-out", "healthy")
    ]
    assert [run.num_real for run in trained] == [2, 3]


def test_a_network_that_does_not_exist_is_refused_before_the_first_run(
    sweep_source: str, trained: list[str], tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="MONAI has none of this name"):
        sweep(sweep_source, tmp_path / "out", replace(CONFIG, network="AttentionUnett"), MIXES)
    assert not (tmp_path / "out").exists()


def test_a_run_at_the_size_of_the_paper_asks_for_its_memory(sweep_source: str) -> None:
    plan = job.make_plan(sweep_source)
    large = tuple(dict(row) | {"shape": [128, 128, 128]} for row in plan.folds[0].real)
    fold = replace(plan.folds[0], real=large)
    plan = replace(plan, folds=(fold,))
    on_cpu = estimated_bytes(plan, CONFIG, use_gpu=False)
    # 850 MiB and some 1600 bytes a voxel were measured from 48^3 to 96^3, and 16 volumes are kept.
    assert on_cpu == pytest.approx(850 * 2**20 + (1600 + 3 * 16) * 128**3, rel=0.05)
    assert estimated_bytes(plan, CONFIG, use_gpu=True) == on_cpu - 1600 * 128**3
    # int16 and uint8 of each of the 16 volumes that there are, or of as many as are kept.
    few = estimated_bytes(plan, replace(CONFIG, num_cached=1), use_gpu=False)
    assert on_cpu - few == 3 * 15 * 128**3
    cluster = Cluster(num_cpus=16, num_gpus=8, is_local=True)
    needs = needs_of(cluster, plan, CONFIG, use_gpu=True, limit=2**29)
    assert (needs.num_gpus, needs.num_cpus, needs.memory, needs.is_clamped) == (1, 2, 2**29, True)
    alone = replace(cluster, num_gpus=1)
    assert needs_of(alone, plan, CONFIG, use_gpu=True, limit=2**40).num_cpus == 3
    assert needs_of(alone, plan, CONFIG, use_gpu=False, limit=2**40).num_cpus == 1


@pytest.mark.parametrize("number", [0, 1_001, 2**63])
def test_more_seeds_than_anybody_trains_are_refused_at_once(
    sweep_source: str, trained: list[str], tmp_path: Path, number: int
) -> None:
    with pytest.raises(UsageError, match=rf"--seeds {number}: expected from 1 to 1000 trainings"):
        sweep(sweep_source, tmp_path / "out", CONFIG, MIXES, num_seeds=number)
    words = ["sweep", "--manifest", sweep_source, "--ratios", "0.5", "--seeds", str(number)]
    assert CliRunner().invoke(app, words).exit_code == 2


def test_a_network_that_does_not_take_the_grid_is_refused_before_the_first_run(
    sweep_source: str, trained: list[str], tmp_path: Path
) -> None:
    config = replace(CONFIG, network="DenseNet121", network_args={})
    with pytest.raises(UsageError, match=r"network DenseNet121: found \(1, 2\) out of"):
        sweep(sweep_source, tmp_path / "out", config, MIXES, num_seeds=1)
    assert not (tmp_path / "out").exists()
