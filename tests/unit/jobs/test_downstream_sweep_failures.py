"""Runs of a sweep that fail: what is kept of them, what is told, and what is tried again."""

from dataclasses import replace
from pathlib import Path

import pytest
from sweeps import CONFIG, MIXES, break_runs, failed, invoke, names_of, spec_of

from factory.errors import FactoryError
from jobs.downstream.plan import RunSpec
from jobs.downstream.sweep import job, task
from jobs.downstream.sweep.folder import working
from jobs.downstream.sweep.job import sweep
from jobs.downstream.sweep.task import run_once


def test_one_run_that_fails_does_not_stop_the_rest(
    sweep_source: str,
    trained: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        break_runs(patch, {"extra-0.5-s0-f0"}, FactoryError("the loss was not finite"))
        result = sweep(sweep_source, out, CONFIG, MIXES, num_seeds=2)
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
    trained.clear()
    assert sweep(sweep_source, out, CONFIG, MIXES, num_seeds=2).num_failed == 0
    assert trained == ["extra-0.5-s0-f0"]
    assert failed(out) == []
    assert "Missing" not in (out / "tables" / "table3.md").read_text()


def test_a_bug_in_a_run_is_kept_with_its_traceback(
    sweep_source: str, trained: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_runs(monkeypatch, {"real-1-s0-f0"}, RuntimeError("shapes differ"))
    sweep(sweep_source, tmp_path / "out", CONFIG, MIXES, num_seeds=1)
    (row,) = failed(tmp_path / "out")
    assert "found RuntimeError: shapes differ; expected none" in row["message"]
    assert "in fit" in row["traceback_tail"]


def test_a_failure_names_the_run_and_not_where_it_was_worked_on(
    sweep_source: str, trained: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fit(spec: RunSpec, *, device: str) -> None:
        raise FactoryError(f"run {spec.out}: stopped")

    monkeypatch.setattr(task, "fit_and_test", fit)
    with pytest.raises(
        FactoryError,
        match=r"of 3 runs none could be finished, the first as: run real-1-s0-f0: .*stopped",
    ):
        sweep(sweep_source, tmp_path / "out", CONFIG, MIXES, num_seeds=1)
    place = tmp_path / "out" / "runs" / "real-1-s0-f0"
    assert (
        f"run {place}: stopped"
        in {row["run"]: row["message"] for row in failed(tmp_path / "out")}["real-1-s0-f0"]
    )


def test_a_failure_that_is_not_asked_for_now_stays_told(
    sweep_source: str, trained: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        break_runs(patch, {"extra-1-s1-f0", "extra-1-s0-f0"}, FactoryError("no luck"))
        sweep(sweep_source, out, CONFIG, MIXES, num_seeds=2)
    sweep(sweep_source, out, CONFIG, MIXES, num_seeds=1)
    assert [row["run"] for row in failed(out)] == ["extra-1-s1-f0"]


def test_a_run_whose_process_ends_each_time_is_given_up(
    sweep_source: str, trained: list[str], tmp_path: Path
) -> None:
    spec = replace(spec_of(sweep_source, tmp_path), out=str(tmp_path / "runs" / "real-1-s0-f0"))
    (tmp_path / "runs").mkdir()
    with working(tmp_path) as aside:
        for number in range(3):
            assert not (aside / f"real-1-s0-f0.{number}").exists()
            # What a process leaves that was killed.
            (aside / f"real-1-s0-f0.{number}").mkdir()
        failure = run_once(spec, str(aside), "cpu")
    assert failure is not None
    assert "its process ended 3 times; expected it to finish. Too little memory" in failure.message
    assert trained == []


def test_the_command_ends_with_status_1_where_a_run_failed(
    sweep_source: str, trained: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_runs(monkeypatch, {"extra-0.5-s1-f0"}, FactoryError("no luck"))
    ended = invoke(sweep_source, tmp_path)
    assert ended.exit_code == 1
    assert ended.stdout == f"{tmp_path / 'out' / 'tables' / 'table3.md'}\n"
    assert "3 runs finished, 1 failed: see failed.parquet" in ended.stderr


@pytest.mark.parametrize("content", [b"", b"torn", b"PAR1\x00PAR1"])
def test_notes_of_failures_that_are_torn_are_told_and_set_aside_before_the_runs(
    sweep_source: str,
    trained: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    content: bytes,
) -> None:
    out = tmp_path / "out"
    sweep(sweep_source, out, CONFIG, MIXES, num_seeds=1)
    for number in (1, 2):
        (out / "failed.parquet").write_bytes(content)
        with monkeypatch.context() as patch:
            patch.setattr(job, "_run", lambda *args: pytest.fail("a run was started"))
            with pytest.raises(pytest.fail.Exception):
                sweep(sweep_source, out, CONFIG, MIXES, num_seeds=1 + number)
        assert f"it is now failed.parquet.torn-{number}, and the sweep" in capsys.readouterr().err
        assert (out / f"failed.parquet.torn-{number}").read_bytes() == content
        sweep(sweep_source, out, CONFIG, MIXES, num_seeds=1 + number)
        assert failed(out) == []


@pytest.mark.parametrize("error", [RuntimeError, FactoryError])
def test_what_is_said_of_a_failure_has_an_end(
    sweep_source: str,
    trained: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: type[Exception],
) -> None:
    text = "shapes differ " * 2_000 + "\nOriginal traceback: Traceback (most recent call last)"
    break_runs(monkeypatch, {"real-1-s0-f0"}, error(text))
    sweep(sweep_source, tmp_path / "out", CONFIG, MIXES, num_seeds=1)
    (row,) = failed(tmp_path / "out")
    assert "shapes differ shapes" in row["message"]
    assert "Original traceback" not in row["message"]
    assert len(row["message"]) < 1_100
    assert len(row["traceback_tail"]) <= 10_000
