"""What `generate` decides before and after the pool: who may draw into a lake, and what again."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from support import draw_in_process
from typer.testing import CliRunner

from factory.errors import CaseError, ClusterError, UsageError
from factory.lake import Lake
from jobs.amount import Amount
from jobs.app import app
from jobs.generate import job, pool
from jobs.generate.config import GenerateConfig
from jobs.generate.job import generate
from jobs.quarantine import as_case_error, give_up

CONFIG = GenerateConfig(steps=2)


@pytest.mark.parametrize(("retriable", "to_draw"), [(True, 1), (False, 0)])
def test_what_a_full_disk_gave_up_is_tried_again_and_what_is_broken_is_not(
    lake: Path,
    cases_16: Path,
    model_16: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    retriable: bool,
    to_draw: int,
) -> None:
    found = Lake(lake)
    work_id = sorted(found.committed_ids())[0]
    found.drop(work_id)
    error = as_case_error("c0", OSError(28, "No space left on device"))
    give_up(found, work_id, "c0", "generate", error, run_id="r", retriable=retriable)
    draw_in_process(monkeypatch)
    result = generate(cases_16, model_16, lake, Amount(count=4), CONFIG)

    assert f"resuming: 3 of 4 items done, {to_draw} to draw" in capsys.readouterr().err
    assert (result.num_synthetic, result.num_quarantined) == (3 + to_draw, 1 - to_draw)


def test_a_gpu_that_is_not_there_leaves_no_plan_behind(
    cases_16: Path, model_16: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw_in_process(monkeypatch)
    with pytest.raises(ClusterError, match="no GPU"):
        generate(cases_16, model_16, tmp_path / "lake", Amount(count=9), CONFIG, device="cuda")
    generate(cases_16, model_16, tmp_path / "lake", Amount(count=1), CONFIG)


def test_a_cpu_without_bfloat16_is_refused_before_anything_is_written(
    cases_16: Path, model_16: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw_in_process(monkeypatch)
    monkeypatch.setattr(job, "computes_in_bfloat16", lambda device: False)
    config = replace(CONFIG, precision="bfloat16")
    with pytest.raises(UsageError, match=r"--precision bfloat16: this CPU has no .* float32\."):
        generate(cases_16, model_16, tmp_path / "lake", Amount(count=1), config, device="cpu")
    assert not (tmp_path / "lake").exists()


def test_another_bank_is_named_as_what_changed(lake: Path, cases_16: Path, model_16: Path) -> None:
    identity = json.loads((lake / "dataset.json").read_text())
    identity["settings"]["bank"] = "another"
    identity["plan_id"] = "another"
    (lake / "dataset.json").write_text(json.dumps(identity))
    with pytest.raises(Exception, match=r"holds another plan \(settings\.bank was another, is "):
        generate(cases_16, model_16, lake, Amount(count=4), CONFIG)


def test_an_error_of_a_case_stays_as_it_is() -> None:
    error = CaseError("a", "found b; expected c")
    assert as_case_error("a", error) is error


def test_volumes_that_quality_control_doubts_are_announced(
    cases_16: Path,
    model_16: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Without clipping a network that has learned nothing drives the lungs to the window's ends."""
    draw_in_process(monkeypatch)
    unclipped = GenerateConfig(steps=20, clip_x0=False, sigma="beta")
    generate(cases_16, model_16, tmp_path / "lake", Amount(count=2), unclipped)
    assert "warning: 2 of 2 volumes to be reviewed; qc_reasons" in capsys.readouterr().err


def test_rejected_volumes_are_counted_and_told_in_the_last_line(
    lake: Path, cases_16: Path, model_16: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw_in_process(monkeypatch)
    (tmp_path / "own.toml").write_text("[generate]\nsteps = 2\n")
    found = Lake(lake)
    for number, work_id in enumerate(sorted(found.committed_ids())):
        row = found.committed_row(work_id)
        verdict = "reject" if number < 2 else "review"
        found.replace_commit(work_id, row | {"qc_verdict": verdict, "qc_reasons": ["too flat"]})
    asked = ["--cases", cases_16, "--model", model_16, "--out", lake, "--count", 4]
    asked += ["--recipe", tmp_path / "own.toml"]
    ended = CliRunner().invoke(app, ["generate", *map(str, asked)])
    last = ended.stderr.splitlines()[-1]
    assert "4 synthetic training volumes (" in last
    assert " synthetic), 2 of them rejected, 0 quarantined. Next: " in last


def test_an_actor_that_cannot_start_tells_why_whichever_error_of_rays_has_it() -> None:
    def failed(text: str, cause: str | None) -> Exception:
        error = RuntimeError(text)
        error.__cause__ = None if cause is None else ValueError(cause)
        return error

    assert pool.told_by(failed("outer", "no compiler\n here")) == "no compiler here"
    assert pool.told_by(failed("died: no compiler", "")) == "died: no compiler"
    assert pool.told_by(failed("x" * 400 + "why", None)).endswith("xwhy")
    assert pool.told_by(failed("", "")) == "no reason given"
