"""A sweep without a cluster: what it trains and in which order, and what is done again once it was stopped."""

from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from sweeps import CONFIG, MIXES, invoke, names_of, spec_of, tables_of, write_finished

from jobs.downstream.figures import figures_of
from jobs.downstream.outcome import write_outcome
from jobs.downstream.plan import RunSpec
from jobs.downstream.results import read_run
from jobs.downstream.sweep import job, task
from jobs.downstream.sweep.folder import publish, working
from jobs.downstream.sweep.job import sweep
from jobs.downstream.sweep.mixes import parse_mixes
from jobs.downstream.sweep.task import run_once


def test_every_mix_is_trained_with_every_seed_and_a_seed_is_whole_before_the_next(
    sweep_source: str, trained: list[str], tmp_path: Path
) -> None:
    result = sweep(sweep_source, tmp_path / "out", CONFIG, MIXES, num_seeds=2)
    assert trained == [
        f"{mix}-s{seed}-f0" for seed in (0, 1) for mix in ("real-1", "extra-0.5", "extra-1")
    ]
    assert sorted(trained) == names_of(tmp_path / "out")
    assert (result.num_runs, result.num_failed) == (6, 0)
    run = read_run(tmp_path / "out" / "runs" / "extra-0.5-s1-f0")
    assert (run.label, run.seed, run.fold) == ("extra-0.5", 1, 0)
    assert run.mix == {"num_real": 6, "num_synthetic": 3}


def test_the_table_and_the_figure_are_there(
    sweep_source: str, trained: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job, "write_outcome", write_outcome)
    monkeypatch.setattr(job, "figures_of", figures_of)
    out = tmp_path / "out"
    result = sweep(sweep_source, out, CONFIG, MIXES, num_seeds=2)
    assert [mix.title for mix in result.mixes] == ["R", "R + 50 %S", "R + 100 %S"]
    assert Path(result.table) == out / "tables" / "table3.md"
    page = Path(result.table).read_text()
    assert all(label in page for label in ("real-1", "extra-0.5", "extra-1"))
    assert (out / "figure-5a.png").read_bytes().startswith(b"\x89PNG")
    assert "<svg" in (out / "figure-5a.svg").read_text()
    assert pq.read_table(out / "figures.parquet").num_rows > 0


def test_run_again_nothing_is_trained_and_the_tables_are_the_same(
    sweep_source: str, trained: list[str], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    sweep(sweep_source, out, CONFIG, MIXES, num_seeds=2)
    before = tables_of(out)
    trained.clear()
    sweep(sweep_source, out, CONFIG, MIXES, num_seeds=2)
    assert trained == []
    assert tables_of(out) == before


def test_a_finished_sweep_starts_no_cluster(
    sweep_source: str, trained: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep(sweep_source, tmp_path / "out", CONFIG, MIXES, num_seeds=1)
    monkeypatch.setattr(job, "connect", lambda address: pytest.fail("a cluster was started"))
    assert sweep(sweep_source, tmp_path / "out", CONFIG, MIXES, num_seeds=1).num_runs == 3


def test_a_stopped_sweep_ends_as_a_calm_one(
    sweep_source: str, trained: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep(sweep_source, tmp_path / "calm", CONFIG, MIXES, num_seeds=2)
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
            sweep(sweep_source, tmp_path / "out", CONFIG, MIXES, num_seeds=2)
    monkeypatch.setattr(task, "fit_and_test", rehearse)
    trained.clear()
    sweep(sweep_source, tmp_path / "out", CONFIG, MIXES, num_seeds=2)
    assert len(trained) == 1
    assert tables_of(tmp_path / "out") == tables_of(tmp_path / "calm")
    assert list((tmp_path / "out" / "runs" / ".unfinished").iterdir()) == []


def test_more_seeds_and_more_ratios_extend_a_sweep(
    sweep_source: str, trained: list[str], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    sweep(sweep_source, out, CONFIG, parse_mixes("0.5", None, extra=True), num_seeds=1)
    trained.clear()
    sweep(sweep_source, out, CONFIG, parse_mixes("0.5", None, extra=True), num_seeds=2)
    assert trained == ["real-1-s1-f0", "extra-0.5-s1-f0"]
    trained.clear()
    sweep(sweep_source, out, CONFIG, parse_mixes("1", "0.5", extra=True), num_seeds=1)
    assert trained == ["extra-1-s0-f0", "real-0.5-s0-f0"]
    # The table is of all that the folder has, asked for now or before.
    assert "extra-0.5" in (out / "tables" / "table3.md").read_text()


def test_a_run_that_another_process_finished_first_stays(
    sweep_source: str, trained: list[str], tmp_path: Path
) -> None:
    run = tmp_path / "runs" / "real-1-s0-f0"
    run.parent.mkdir()
    with working(tmp_path) as one, working(tmp_path) as other:
        # The second does not sweep what the first is about.
        assert one.exists()
        first = run_once(replace(spec_of(sweep_source, tmp_path), out=str(run)), str(one), "cpu")
        before = (run / "cases.parquet").stat().st_ino
        # It is found there, and not trained again.
        run_once(replace(spec_of(sweep_source, tmp_path), out=str(run)), str(other), "cpu")
        assert trained == ["real-1-s0-f0"]
        (other / "late").mkdir()
        write_finished(replace(spec_of(sweep_source, tmp_path), out=str(other / "late")))
        publish(other / "late", run)
        assert not (other / "late").exists()
    assert first is None
    assert (run / "cases.parquet").stat().st_ino == before


def test_half_a_run_in_the_place_of_one_is_made_anew(
    sweep_source: str, trained: list[str], tmp_path: Path
) -> None:
    half = tmp_path / "out" / "runs" / "real-1-s0-f0"
    sweep(sweep_source, tmp_path / "out", CONFIG, MIXES, num_seeds=1)
    (half / "result.json").unlink()
    trained.clear()
    sweep(sweep_source, tmp_path / "out", CONFIG, MIXES, num_seeds=1)
    assert trained == ["real-1-s0-f0"]
    assert read_run(half).label == "real-1"


def test_what_a_killed_sweep_left_is_swept(
    sweep_source: str, trained: list[str], tmp_path: Path
) -> None:
    sweep(sweep_source, tmp_path / "out", CONFIG, MIXES, num_seeds=1)
    left = tmp_path / "out" / "runs" / ".unfinished" / "0123456789ab"
    left.mkdir(parents=True)
    (left / "model.pt").write_bytes(b"half")
    sweep(sweep_source, tmp_path / "out", CONFIG, MIXES, num_seeds=2)
    assert not left.exists()


def test_what_runs_warn_of_is_said_once(
    sweep_source: str,
    trained: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    rehearse = task.fit_and_test

    def fit(spec: RunSpec, *, device: str) -> None:
        rehearse(spec, device=device)
        Path(spec.out, "warnings.log").write_text("left out: case c3: torn\n")

    monkeypatch.setattr(task, "fit_and_test", fit)
    sweep(sweep_source, tmp_path / "out", CONFIG, MIXES, num_seeds=2)
    assert capsys.readouterr().err.count("left out: case c3: torn") == 1


def test_the_command_tells_programs_the_table_and_people_the_rest(
    sweep_source: str, trained: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job, "figures_of", figures_of)
    ended = invoke(sweep_source, tmp_path)
    assert ended.exit_code == 0
    assert ended.stdout == f"{tmp_path / 'out' / 'tables' / 'table3.md'}\n"
    assert "R + 50 %S (extra-0.5): Dice 0." in ended.stderr
    assert "4 runs finished; differences from R in " in ended.stderr
    assert trained == ["real-1-s0-f0", "extra-0.5-s0-f0", "real-1-s1-f0", "extra-0.5-s1-f0"]
