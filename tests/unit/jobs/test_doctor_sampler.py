"""A few seconds of sampling, and what is made of them."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from jobs.doctor import sampler
from jobs.doctor.asked import Asked
from jobs.doctor.finding import Finding, Verdict
from jobs.generate.config import GenerateConfig
from models.checkpoint import load_checkpoint


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(sampler, "SECONDS", 0.3)
    monkeypatch.chdir(tmp_path)
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def found(model: str | Path, recipe: str = "") -> Finding:
    if recipe:
        Path("own.toml").write_text(recipe)
        Path("factory.toml").write_text('recipe = "own.toml"\n')
    (finding,) = sampler.check(Asked(model=str(model), device="cpu"))
    return finding


def pace_of(*ends: float) -> sampler.Pace:
    pace = sampler.Pace(torch.device("cpu"))
    pace.ends = list(ends)
    return pace


def test_the_first_step_warms_up_and_does_not_count() -> None:
    pace = pace_of(0.0, 10.0, 11.0, 13.0)
    assert (pace.num_steps, pace.seconds_a_step) == (2, 1.5)


def test_a_step_that_took_all_the_time_counts_alone() -> None:
    pace = pace_of(0.0, 60.0)
    assert (pace.num_steps, pace.seconds_a_step) == (1, 60.0)


def test_a_benchmark_ends_with_the_step_in_which_its_time_is_up(
    model_16: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a clock that a step moves by 0.125 s: it draws on after a volume's two steps."""
    ticks = (0.125 * tick for tick in range(100))
    monkeypatch.setattr(sampler, "time", SimpleNamespace(perf_counter=lambda: next(ticks)))
    checkpoint = load_checkpoint(model_16)
    pace = sampler.benchmark(checkpoint, GenerateConfig(steps=2), torch.device("cpu"))
    assert pace.ends == [0.0, 0.125, 0.25, 0.375]


def test_an_hour_is_of_the_steps_of_a_whole_volume(
    model_16: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sampler, "benchmark", lambda *_: pace_of(0.0, 1.0, 3.0, 5.0))
    told = found(model_16, "[generate]\nsampler = 'ddim'\nsteps = 10\n")
    assert told.verdict is Verdict.ok
    assert told.found.startswith("180 volumes an hour, one actor on 1 CPU thread: 20.0 s a volume")
    assert "(10 steps of ddim, float32), from 2 steps; left out: loading" in told.found
    assert "N of them draw less than N times" in told.found


def test_a_volume_of_more_than_an_hour_is_warned_of(
    model_16: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sampler, "benchmark", lambda *_: pace_of(0.0, 1.0, 400.0))
    told = found(model_16, "[generate]\nsampler = 'ddim'\nsteps = 10\n")
    assert told.verdict is Verdict.warning
    assert "--recipe fast" in told.advice


def test_a_run_is_taken_for_the_model_in_it(model_16: Path, tmp_path: Path) -> None:
    shutil.copytree(model_16, tmp_path / "run" / "model")
    assert "16^3" in found("run", "[generate]\nsteps = 5\n").found


def test_more_steps_than_the_schedule_has_are_a_problem(model_16: Path) -> None:
    told = found(model_16, "[generate]\nsteps = 25\n")
    assert (told.verdict, told.expected) == (Verdict.problem, "1 to 20")


def test_a_model_that_is_not_there_is_a_problem_that_names_it() -> None:
    told = found("nowhere")
    assert (told.check, told.verdict) == ("model", Verdict.problem)
    assert "nowhere" in told.found


def test_weights_that_are_torn_are_a_problem(model_16: Path, tmp_path: Path) -> None:
    torn = Path(shutil.copytree(model_16, tmp_path / "torn"))
    weights = torn / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    assert found(torn).verdict is Verdict.problem


def test_a_recipe_without_a_network_needs_no_benchmark() -> None:
    told = found("nowhere", "[generate]\nsynthesizer = 'noise'\n")
    assert told.verdict is Verdict.ok
    assert "noise, which runs no network" in told.found


def test_bfloat16_on_a_cpu_without_it_is_a_problem(
    model_16: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sampler, "computes_in_bfloat16", lambda _: False)
    told = found(model_16, "[generate]\nprecision = 'bfloat16'\n")
    assert told.verdict is Verdict.problem
    assert "--precision float32" in told.advice
