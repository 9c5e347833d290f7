"""A sweep without a cluster: its folder, what is done again, and what becomes of runs that fail.

The network plays no part in it, so runs are rehearsed: scores that follow from what a run trains on.
"""

import hashlib
import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from downstream_sets import read_case as case
from manifest_rows import sha
from mix_sources import drawn, make_source
from typer.testing import CliRunner

from factory.errors import FactoryError, StoreError, UsageError
from factory.segmentation.score import CaseScore, NoduleScore
from jobs.cluster import Cluster
from jobs.downstream.command import app
from jobs.downstream.config import DownstreamConfig
from jobs.downstream.figures import figures_of
from jobs.downstream.identity import digest_of, identity_of
from jobs.downstream.outcome import write_outcome
from jobs.downstream.plan import RunSpec, resolve
from jobs.downstream.results import Run, read_run, write_run
from jobs.downstream.sweep import job, task
from jobs.downstream.sweep.folder import finished, publish, working
from jobs.downstream.sweep.job import sweep
from jobs.downstream.sweep.mixes import parse_mixes
from jobs.downstream.sweep.needs import Needs, estimated_bytes, needs_of
from jobs.downstream.sweep.task import run_once

CONFIG = DownstreamConfig(steps=2, network_args={"channels": [4, 8], "strides": [2]})
MIXES = parse_mixes("0,0.5,1", None, extra=True)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A lake of six training patients, two that test, and eight drawn volumes."""
    rows = [case(f"c{n}") for n in range(6)]
    rows += [case(f"t{n}", split="test") for n in range(2)]
    rows += [drawn(f"c{n % 4}", n) for n in range(8)]
    return make_source(tmp_path_factory.mktemp("sweep") / "lake", "lake", rows)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the runs, in the order in which they were trained; no cluster, no network."""
    names: list[str] = []

    def rehearse(spec: RunSpec, *, device: str) -> None:
        names.append(Path(spec.out).name.rsplit(".", 1)[0])
        write(spec)

    @contextmanager
    def connect(address: str | None = None) -> Iterator[Cluster]:
        yield Cluster(num_cpus=1, num_gpus=0, is_local=True)

    def ended(todo: Sequence[RunSpec], aside: Path, needs: Needs) -> Iterator[Any]:
        for spec in todo:
            yield spec, run_once(spec, str(aside), "cpu")

    monkeypatch.setattr(task, "fit_and_test", rehearse)
    monkeypatch.setattr(job, "write_outcome", write_scores)
    monkeypatch.setattr(job, "figures_of", lambda runs: [])
    monkeypatch.setattr(job, "connect", connect)
    monkeypatch.setattr(job, "_ended", ended)
    monkeypatch.setattr(job, "bytes_of_the_largest_node", lambda: 2**40)
    return names


def write_scores(runs: Sequence[Run], out: Path, notes: Sequence[str]) -> Path:
    """Write what runs have without what it comes to, which takes its time."""
    lines = [f"{run.label} {run.seed} {run.fold} {[one.dice for one in run.cases]}" for run in runs]
    table = out / "tables" / "table3.md"
    table.parent.mkdir(exist_ok=True)
    table.write_text("\n".join([*lines, *notes]))
    return table


def write(spec: RunSpec) -> None:
    """Write a run whose scores follow from what it trains on, and from its seed."""
    train, test = resolve(spec)
    num_synthetic = sum(row["kind"] == "synthetic" for row in train)
    write_run(
        Path(spec.out),
        [score(spec, row, num_synthetic) for row in test],
        config=identity_of(spec.config),
        digest=digest_of(spec, train, test),
        seed=spec.seed,
        fold=spec.fold,
        manifest=spec.manifest,
        label=spec.label,
        mix={"num_real": len(train) - num_synthetic, "num_synthetic": num_synthetic},
        network=spec.config.network,
        num_parameters=1,
        steps=spec.config.steps,
        seconds=1.0,
        loss=[1.0, 0.5],
    )


def score(spec: RunSpec, row: Any, num_synthetic: int) -> CaseScore:
    told = f"{spec.seed} {row['case_id']} {sorted(map(Path, spec.train_ids))}"
    noise = int(hashlib.sha256(told.encode()).hexdigest()[:8], 16) / 2**32
    dice = 0.4 + 0.05 * num_synthetic + 0.1 * noise
    return CaseScore(
        case_id=row["case_id"],
        patient_id=row["patient_id"],
        dice=dice,
        sensitivity=dice,
        specificity=0.99,
        num_nodules=1,
        num_found=1,
        num_false=0,
        true_ml=1.0,
        predicted_ml=1.0,
        sizes=(NoduleScore(diameter_mm=7.0, found=True, sensitivity=dice),),
    )


def names_of(out: Path) -> list[str]:
    return [run.name for run in finished(out)]


def tables_of(out: Path) -> dict[str, bytes]:
    """Return all that a sweep tells, by name."""
    files = [*out.glob("figure*"), *(out / "tables").iterdir()]
    return {file.name: file.read_bytes() for file in files}


def failed(out: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(out / "failed.parquet").to_pylist()
    return rows


def break_runs(monkeypatch: pytest.MonkeyPatch, names: set[str], error: Exception) -> None:
    whole = task.fit_and_test

    def fit(spec: RunSpec, *, device: str) -> None:
        whole(spec, device=device)
        if Path(spec.out).name.rsplit(".", 1)[0] in names:
            raise error

    monkeypatch.setattr(task, "fit_and_test", fit)


def test_every_mix_is_trained_with_every_seed_and_a_seed_is_whole_before_the_next(
    source: str, calls: list[str], tmp_path: Path
) -> None:
    result = sweep(source, tmp_path / "out", CONFIG, MIXES, num_seeds=2)
    assert calls == [
        f"{mix}-s{seed}-f0" for seed in (0, 1) for mix in ("real-1", "extra-0.5", "extra-1")
    ]
    assert sorted(calls) == names_of(tmp_path / "out")
    assert (result.num_runs, result.num_failed) == (6, 0)
    run = read_run(tmp_path / "out" / "runs" / "extra-0.5-s1-f0")
    assert (run.label, run.seed, run.fold) == ("extra-0.5", 1, 0)
    assert run.mix == {"num_real": 6, "num_synthetic": 3}


def test_the_table_and_the_figure_are_there(
    source: str, calls: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job, "write_outcome", write_outcome)
    monkeypatch.setattr(job, "figures_of", figures_of)
    out = tmp_path / "out"
    result = sweep(source, out, CONFIG, MIXES, num_seeds=2)
    assert [mix.title for mix in result.mixes] == ["R", "R + 50 %S", "R + 100 %S"]
    assert Path(result.table) == out / "tables" / "table3.md"
    page = Path(result.table).read_text()
    assert all(label in page for label in ("real-1", "extra-0.5", "extra-1"))
    assert (out / "figure-5a.png").read_bytes().startswith(b"\x89PNG")
    assert "<svg" in (out / "figure-5a.svg").read_text()
    assert pq.read_table(out / "figures.parquet").num_rows > 0


def test_run_again_nothing_is_trained_and_the_tables_are_the_same(
    source: str, calls: list[str], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    sweep(source, out, CONFIG, MIXES, num_seeds=2)
    before = tables_of(out)
    calls.clear()
    sweep(source, out, CONFIG, MIXES, num_seeds=2)
    assert calls == []
    assert tables_of(out) == before


def test_a_finished_sweep_starts_no_cluster(
    source: str, calls: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep(source, tmp_path / "out", CONFIG, MIXES, num_seeds=1)
    monkeypatch.setattr(job, "connect", lambda address: pytest.fail("a cluster was started"))
    assert sweep(source, tmp_path / "out", CONFIG, MIXES, num_seeds=1).num_runs == 3


def test_a_stopped_sweep_ends_as_a_calm_one(
    source: str, calls: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep(source, tmp_path / "calm", CONFIG, MIXES, num_seeds=2)
    rehearse = task.fit_and_test
    for stop_after in (0, 1, 3, 0, 1):

        def fit(spec: RunSpec, *, device: str, left: list[int] = [stop_after]) -> None:  # noqa: B006
            if not left[0]:
                Path(spec.out, "cases.parquet").write_bytes(b"half")
                raise KeyboardInterrupt
            left[0] -= 1
            rehearse(spec, device=device)

        monkeypatch.setattr(task, "fit_and_test", fit)
        with pytest.raises(KeyboardInterrupt):
            sweep(source, tmp_path / "out", CONFIG, MIXES, num_seeds=2)
    monkeypatch.setattr(task, "fit_and_test", rehearse)
    calls.clear()
    sweep(source, tmp_path / "out", CONFIG, MIXES, num_seeds=2)
    assert len(calls) == 1
    assert tables_of(tmp_path / "out") == tables_of(tmp_path / "calm")
    assert list((tmp_path / "out" / "runs" / ".unfinished").iterdir()) == []


def test_more_seeds_and_more_ratios_extend_a_sweep(
    source: str, calls: list[str], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    sweep(source, out, CONFIG, parse_mixes("0.5", None, extra=True), num_seeds=1)
    calls.clear()
    sweep(source, out, CONFIG, parse_mixes("0.5", None, extra=True), num_seeds=2)
    assert calls == ["real-1-s1-f0", "extra-0.5-s1-f0"]
    calls.clear()
    sweep(source, out, CONFIG, parse_mixes("1", "0.5", extra=True), num_seeds=1)
    assert calls == ["extra-1-s0-f0", "real-0.5-s0-f0"]
    # The table is of all that the folder has, asked for now or before.
    assert "extra-0.5" in (out / "tables" / "table3.md").read_text()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"config": replace(CONFIG, steps=3)}, r"downstream.steps was 2, is 3"),
        ({"num_folds": 2}, "folds was 1, is 2"),
    ],
)
def test_other_settings_are_refused_with_the_difference(
    source: str, calls: list[str], tmp_path: Path, changes: dict[str, Any], told: str
) -> None:
    sweep(source, tmp_path / "out", CONFIG, MIXES, num_seeds=1)
    asked = {"config": CONFIG} | changes
    calls.clear()
    with pytest.raises(StoreError, match=rf"asked for differently before \({told}\); expected"):
        sweep(source, tmp_path / "out", mixes=parse_mixes("0.5", None, extra=True), **asked)
    assert calls == []


def test_another_manifest_is_refused(source: str, calls: list[str], tmp_path: Path) -> None:
    sweep(source, tmp_path / "out", CONFIG, MIXES, num_seeds=1)
    other = make_source(tmp_path / "other", "cases", [case("c0"), case("t0", split="test")])
    with pytest.raises(
        StoreError, match=r"manifest was [0-9a-f]+, is [0-9a-f]+\); expected the same"
    ):
        sweep(other, tmp_path / "out", CONFIG, parse_mixes(None, "1", extra=False))


def test_settings_that_change_no_figure_may_change(
    source: str, calls: list[str], tmp_path: Path
) -> None:
    sweep(source, tmp_path / "out", CONFIG, MIXES, num_seeds=1)
    sweep(source, tmp_path / "out", replace(CONFIG, num_loaders=0), MIXES, num_seeds=2)
    assert len(calls) == 6


def test_a_moved_lake_goes_on(source: str, calls: list[str], tmp_path: Path) -> None:
    sweep(source, tmp_path / "out", CONFIG, MIXES, num_seeds=1)
    moved = shutil.copytree(source, tmp_path / "moved")
    sweep(str(moved), tmp_path / "out", CONFIG, MIXES, num_seeds=2)
    assert len(calls) == 6


def test_somebodys_own_folder_is_left_alone(source: str, calls: list[str], tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("...")
    with pytest.raises(
        StoreError, match=r"found 1 files or folders that are no sweep's, as thesis.tex"
    ):
        sweep(source, tmp_path, CONFIG, MIXES)
    assert [one.name for one in tmp_path.iterdir()] == ["thesis.tex"]
    assert calls == []


@pytest.mark.parametrize("content", ["{", "[1]", ""])
def test_a_torn_identity_is_told(
    source: str, calls: list[str], tmp_path: Path, content: str
) -> None:
    (tmp_path / "sweep.json").write_text(content)
    with pytest.raises(StoreError, match=r"found a sweep\.json that is no JSON object"):
        sweep(source, tmp_path, CONFIG, MIXES)


def test_one_run_that_fails_does_not_stop_the_rest(
    source: str,
    calls: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        break_runs(patch, {"extra-0.5-s0-f0"}, FactoryError("the loss was not finite"))
        result = sweep(source, out, CONFIG, MIXES, num_seeds=2)
    assert (result.num_runs, result.num_failed) == (5, 1)
    assert "extra-0.5-s0-f0" not in names_of(out)
    (row,) = failed(out)
    assert (row["run"], row["mix"], row["seed"], row["fold"]) == (
        "extra-0.5-s0-f0",
        "extra-0.5",
        0,
        0,
    )
    assert row["message"] == "run extra-0.5-s0-f0: the loss was not finite"
    assert row["error_class"] == "FactoryError"
    page = (out / "tables" / "table3.md").read_text()
    assert "Missing: run extra-0.5-s0-f0: the loss was not finite" in page
    assert "failed: run extra-0.5-s0-f0: the loss was not finite" in capsys.readouterr().err
    # The same command tries it again, and only it.
    calls.clear()
    assert sweep(source, out, CONFIG, MIXES, num_seeds=2).num_failed == 0
    assert calls == ["extra-0.5-s0-f0"]
    assert failed(out) == []
    assert "Missing" not in (out / "tables" / "table3.md").read_text()


def test_a_torn_run_is_told_before_hours_are_spent(
    source: str, calls: list[str], tmp_path: Path
) -> None:
    sweep(source, tmp_path / "out", CONFIG, MIXES, num_seeds=1)
    calls.clear()
    (tmp_path / "out" / "runs" / "real-1-s0-f0" / "cases.parquet").write_bytes(b"torn")
    with pytest.raises(
        StoreError, match=r"real-1-s0-f0/cases\.parquet: found .* Remove the folder of"
    ):
        sweep(source, tmp_path / "out", CONFIG, MIXES, num_seeds=2)
    assert calls == []


def test_a_bug_in_a_run_is_kept_with_its_traceback(
    source: str, calls: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_runs(monkeypatch, {"real-1-s0-f0"}, RuntimeError("shapes differ"))
    sweep(source, tmp_path / "out", CONFIG, MIXES, num_seeds=1)
    (row,) = failed(tmp_path / "out")
    assert "found RuntimeError: shapes differ; expected none" in row["message"]
    assert "in fit" in row["traceback_tail"]


def test_a_failure_names_the_run_and_not_where_it_was_worked_on(
    source: str, calls: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fit(spec: RunSpec, *, device: str) -> None:
        raise FactoryError(f"run {spec.out}: stopped")

    monkeypatch.setattr(task, "fit_and_test", fit)
    with pytest.raises(
        FactoryError, match=r"all 3 runs failed, the first as: run real-1-s0-f0: .*stopped"
    ):
        sweep(source, tmp_path / "out", CONFIG, MIXES, num_seeds=1)
    place = tmp_path / "out" / "runs" / "real-1-s0-f0"
    assert (
        f"run {place}: stopped"
        in {row["run"]: row["message"] for row in failed(tmp_path / "out")}["real-1-s0-f0"]
    )


def test_a_failure_that_is_not_asked_for_now_stays_told(
    source: str, calls: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        break_runs(patch, {"extra-1-s1-f0", "extra-1-s0-f0"}, FactoryError("no luck"))
        sweep(source, out, CONFIG, MIXES, num_seeds=2)
    sweep(source, out, CONFIG, MIXES, num_seeds=1)
    assert [row["run"] for row in failed(out)] == ["extra-1-s1-f0"]


def test_a_run_whose_process_ends_each_time_is_given_up(
    source: str, calls: list[str], tmp_path: Path
) -> None:
    spec = replace(spec_of(source, tmp_path), out=str(tmp_path / "runs" / "real-1-s0-f0"))
    (tmp_path / "runs").mkdir()
    with working(tmp_path) as aside:
        for number in range(3):
            assert not (aside / f"real-1-s0-f0.{number}").exists()
            # What a process leaves that was killed.
            (aside / f"real-1-s0-f0.{number}").mkdir()
        failure = run_once(spec, str(aside), "cpu")
    assert failure is not None
    assert "its process ended 3 times; expected it to finish. Too little memory" in failure.message
    assert calls == []


def test_a_run_that_another_process_finished_first_stays(
    source: str, calls: list[str], tmp_path: Path
) -> None:
    run = tmp_path / "runs" / "real-1-s0-f0"
    run.parent.mkdir()
    with working(tmp_path) as one, working(tmp_path) as other:
        # The second does not sweep what the first is about.
        assert one.exists()
        first = run_once(replace(spec_of(source, tmp_path), out=str(run)), str(one), "cpu")
        before = (run / "cases.parquet").stat().st_ino
        # It is found there, and not trained again.
        run_once(replace(spec_of(source, tmp_path), out=str(run)), str(other), "cpu")
        assert calls == ["real-1-s0-f0"]
        (other / "late").mkdir()
        write(replace(spec_of(source, tmp_path), out=str(other / "late")))
        publish(other / "late", run)
        assert not (other / "late").exists()
    assert first is None
    assert (run / "cases.parquet").stat().st_ino == before


def test_half_a_run_in_the_place_of_one_is_made_anew(
    source: str, calls: list[str], tmp_path: Path
) -> None:
    half = tmp_path / "out" / "runs" / "real-1-s0-f0"
    sweep(source, tmp_path / "out", CONFIG, MIXES, num_seeds=1)
    (half / "result.json").unlink()
    calls.clear()
    sweep(source, tmp_path / "out", CONFIG, MIXES, num_seeds=1)
    assert calls == ["real-1-s0-f0"]
    assert read_run(half).label == "real-1"


def test_what_a_killed_sweep_left_is_swept(source: str, calls: list[str], tmp_path: Path) -> None:
    sweep(source, tmp_path / "out", CONFIG, MIXES, num_seeds=1)
    left = tmp_path / "out" / "runs" / ".unfinished" / "0123456789ab"
    left.mkdir(parents=True)
    (left / "model.pt").write_bytes(b"half")
    sweep(source, tmp_path / "out", CONFIG, MIXES, num_seeds=2)
    assert not left.exists()


def test_folds_test_each_patient_once_and_say_what_the_generator_may_have_seen(
    source: str, calls: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    sweep(source, out, CONFIG, parse_mixes("0.25", None, extra=True), num_seeds=1, num_folds=4)
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
    calls: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
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
    source: str, calls: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
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
    assert "left out: 1 synthetic volumes in val or test" in told
    assert "left out: 1 synthetic volumes rejected by quality control" in told
    assert not (tmp_path / "out").exists()
    assert calls == []


def test_mixes_that_come_to_the_same_volumes_are_told(
    source: str, calls: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep(source, tmp_path / "out", CONFIG, parse_mixes("0.5,0.51", None, extra=True), num_seeds=1)
    assert calls == ["real-1-s0-f0", "extra-0.5-s0-f0"]
    told = capsys.readouterr().err
    assert "extra-0.51 goes by the name of extra-0.5: they are the same volumes here" in told


def test_a_mix_that_the_folder_has_by_another_name_is_not_trained_again(
    source: str, calls: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    sweep(source, out, CONFIG, parse_mixes("1", None, extra=True), num_seeds=1)
    calls.clear()
    # Half of the mixed set is one for each real one.
    sweep(source, out, CONFIG, parse_mixes("0.25,0.5", None, extra=False), num_seeds=2)
    assert calls == ["ratio-0.25-s0-f0", "real-1-s1-f0", "ratio-0.25-s1-f0", "extra-1-s1-f0"]
    assert "ratio-0.5 goes by the name of extra-1" in capsys.readouterr().err


def test_scans_that_nobody_annotated_are_counted_to_people_and_beneath_the_table(
    source: str, calls: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
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


def test_what_runs_warn_of_is_said_once(
    source: str,
    calls: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    rehearse = task.fit_and_test

    def fit(spec: RunSpec, *, device: str) -> None:
        rehearse(spec, device=device)
        Path(spec.out, "warnings.log").write_text("left out: case c3: torn\n")

    monkeypatch.setattr(task, "fit_and_test", fit)
    sweep(source, tmp_path / "out", CONFIG, MIXES, num_seeds=2)
    assert capsys.readouterr().err.count("left out: case c3: torn") == 1


def test_a_network_that_does_not_exist_is_refused_before_the_first_run(
    source: str, calls: list[str], tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="MONAI has none of this name"):
        sweep(source, tmp_path / "out", replace(CONFIG, network="AttentionUnett"), MIXES)
    assert not (tmp_path / "out").exists()


def test_the_identity_says_what_all_runs_share(
    source: str, calls: list[str], tmp_path: Path
) -> None:
    sweep(source, tmp_path / "out", CONFIG, MIXES, num_seeds=1)
    told = json.loads((tmp_path / "out" / "sweep.json").read_text())
    assert (told["folds"], told["downstream"]["steps"]) == (1, 2)
    assert "num_loaders" not in told["downstream"]


def test_a_run_at_the_size_of_the_paper_asks_for_its_memory(source: str) -> None:
    plan = job.make_plan(source)
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


def test_the_command_tells_programs_the_table_and_people_the_rest(
    source: str, calls: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job, "figures_of", figures_of)
    ended = invoke(source, tmp_path)
    assert ended.exit_code == 0
    assert ended.stdout == f"{tmp_path / 'out' / 'tables' / 'table3.md'}\n"
    assert "R + 50 %S (extra-0.5): Dice 0." in ended.stderr
    assert "4 runs finished. Differences from R: " in ended.stderr
    assert calls == ["real-1-s0-f0", "extra-0.5-s0-f0", "real-1-s1-f0", "extra-0.5-s1-f0"]


def test_the_command_ends_with_status_1_where_a_run_failed(
    source: str, calls: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_runs(monkeypatch, {"extra-0.5-s1-f0"}, FactoryError("no luck"))
    ended = invoke(source, tmp_path)
    assert ended.exit_code == 1
    assert ended.stdout == f"{tmp_path / 'out' / 'tables' / 'table3.md'}\n"
    assert "3 runs finished, 1 failed: see failed.parquet" in ended.stderr


def invoke(source: str, folder: Path) -> Any:
    recipe = folder / "small.toml"
    recipe.write_text(
        "[downstream]\nsteps = 2\nnetwork_args = {channels = [4, 8], strides = [2]}\n"
    )
    flags = ["--ratios", "0.5", "--extra", "--seeds", "2", "--recipe", str(recipe)]
    return CliRunner().invoke(
        app, ["sweep", "--manifest", source, "--out", str(folder / "out"), *flags]
    )


def spec_of(source: str, folder: Path) -> RunSpec:
    plan = job.make_plan(source)
    (spec,) = job.specs_of(plan, folder, CONFIG, parse_mixes(None, "1", extra=False), 1)
    return spec


def test_a_run_that_is_not_what_the_sweep_would_do_is_refused_before_hours_are_spent(
    source: str, calls: list[str], tmp_path: Path
) -> None:
    run = tmp_path / "out" / "runs" / "extra-0.5-s0-f0"
    sweep(source, tmp_path / "out", CONFIG, MIXES, num_seeds=1)
    calls.clear()
    whole = (run / "result.json").read_text()
    told = json.loads(whole)
    for changes, difference in (
        ({"config": told["config"] | {"learning_rate": 1.0}}, "config.learning_rate was 1.0, is 0"),
        ({"network": "UNet"}, "network was UNet, is AttentionUnet"),
        ({"steps": -5}, "steps was -5, is 2"),
        ({"mix": {"num_real": 0, "num_synthetic": 0}}, "mix.num_real was 0, is 6; mix.num_synth"),
        ({"digest": "d" * 32}, "digest of manifest and volumes was dddd"),
    ):
        (run / "result.json").write_text(json.dumps(told | changes))
        with pytest.raises(
            StoreError,
            match=rf"extra-0\.5-s0-f0: found the result of another run \({difference}.* Remove the",
        ):
            sweep(source, tmp_path / "out", CONFIG, MIXES, num_seeds=2)
    (run / "result.json").write_text(whole)
    sweep(source, tmp_path / "out", CONFIG, MIXES, num_seeds=1)
    assert calls == []


def test_a_run_of_another_lake_is_no_run_of_the_sweep(
    source: str, calls: list[str], tmp_path: Path
) -> None:
    rows = [case(f"c{n}", image_sha256=sha(f"x{n}")) for n in range(6)]
    rows += [case(f"t{n}", split="test") for n in range(2)]
    other = make_source(tmp_path / "lake", "cases", rows)
    mixes = parse_mixes(None, "1", extra=False)
    sweep(other, tmp_path / "other", CONFIG, mixes, num_seeds=1)
    sweep(source, tmp_path / "out", CONFIG, mixes, num_seeds=1)
    place = tmp_path / "out" / "runs" / "real-1-s0-f0"
    shutil.rmtree(place)
    shutil.copytree(tmp_path / "other" / "runs" / place.name, place)
    with pytest.raises(StoreError, match=r"found the result of another run \(digest of manifest"):
        sweep(source, tmp_path / "out", CONFIG, mixes, num_seeds=1)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("real-0.5-s0-f0", "label was real-1, is real-0.5; mix.num_real was 6, is 3"),
        ("real-1-s1-f0", "seed was 0, is 1"),
        ("real-1-s0-f1", "whose name is no run's of this sweep; expected a mix, a seed and a fold"),
        ("real-1-s00-f0", "whose name is no run's of this sweep"),
        ("copy of real-1-s0-f0", "whose name is no run's of this sweep"),
        ("extra-9-s0-f0", r"that this sweep could not do .*9 needs 54 synthetic volumes"),
        (f"real-1-s{2**63}-f0", r"that this sweep could not do \(seed 9223372036854775808: "),
    ],
)
def test_a_run_under_another_name_is_refused(
    source: str, calls: list[str], tmp_path: Path, name: str, told: str
) -> None:
    runs = tmp_path / "out" / "runs"
    sweep(source, tmp_path / "out", CONFIG, MIXES, num_seeds=1)
    shutil.copytree(runs / "real-1-s0-f0", runs / name)
    with pytest.raises(StoreError, match=rf"runs/{name}: found .*{told}.* Remove the folder of"):
        sweep(source, tmp_path / "out", CONFIG, MIXES, num_seeds=1)


@pytest.mark.parametrize("content", [b"", b"torn", b"PAR1\x00PAR1"])
def test_notes_of_failures_that_are_torn_are_told_and_set_aside_before_the_runs(
    source: str,
    calls: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    content: bytes,
) -> None:
    out = tmp_path / "out"
    sweep(source, out, CONFIG, MIXES, num_seeds=1)
    for number in (1, 2):
        (out / "failed.parquet").write_bytes(content)
        with monkeypatch.context() as patch:
            patch.setattr(job, "_run", lambda *args: pytest.fail("a run was started"))
            with pytest.raises(pytest.fail.Exception):
                sweep(source, out, CONFIG, MIXES, num_seeds=1 + number)
        assert f"it is now failed.parquet.torn-{number}, and the sweep" in capsys.readouterr().err
        assert (out / f"failed.parquet.torn-{number}").read_bytes() == content
        sweep(source, out, CONFIG, MIXES, num_seeds=1 + number)
        assert failed(out) == []


def test_a_sweep_does_not_begin_within_another(
    source: str, calls: list[str], tmp_path: Path
) -> None:
    sweep(source, tmp_path / "out", CONFIG, MIXES, num_seeds=1)
    with pytest.raises(StoreError, match=r"found sweep\.json in .*/out, which it lies in; expect"):
        sweep(source, tmp_path / "out" / "runs" / "mine", CONFIG, MIXES, num_seeds=1)


@pytest.mark.parametrize("number", [0, 1_001, 2**63])
def test_more_seeds_than_anybody_trains_are_refused_at_once(
    source: str, calls: list[str], tmp_path: Path, number: int
) -> None:
    with pytest.raises(UsageError, match=rf"--seeds {number}: expected from 1 to 1000 trainings"):
        sweep(source, tmp_path / "out", CONFIG, MIXES, num_seeds=number)
    words = ["sweep", "--manifest", source, "--ratios", "0.5", "--seeds", str(number)]
    assert CliRunner().invoke(app, words).exit_code == 2


@pytest.mark.parametrize("error", [RuntimeError, FactoryError])
def test_what_is_said_of_a_failure_has_an_end(
    source: str,
    calls: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: type[Exception],
) -> None:
    text = "shapes differ " * 2_000 + "\nOriginal traceback: Traceback (most recent call last)"
    break_runs(monkeypatch, {"real-1-s0-f0"}, error(text))
    sweep(source, tmp_path / "out", CONFIG, MIXES, num_seeds=1)
    (row,) = failed(tmp_path / "out")
    assert "shapes differ shapes" in row["message"]
    assert "Original traceback" not in row["message"]
    assert len(row["message"]) < 1_100
    assert len(row["traceback_tail"]) <= 10_000


def test_a_network_that_does_not_take_the_grid_is_refused_before_the_first_run(
    source: str, calls: list[str], tmp_path: Path
) -> None:
    config = replace(CONFIG, network="DenseNet121", network_args={})
    with pytest.raises(UsageError, match=r"network DenseNet121: found \(1, 2\) out of"):
        sweep(source, tmp_path / "out", config, MIXES, num_seeds=1)
    assert not (tmp_path / "out").exists()
