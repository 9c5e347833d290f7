"""A few seconds of sampling, and what is made of them."""

import shutil
from pathlib import Path

import pytest
import torch

from jobs.doctor import pace, sampler
from jobs.doctor.asked import Asked
from jobs.doctor.finding import Finding, Verdict
from jobs.doctor.pace import Pace


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(pace, "SECONDS", 0.3)
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


def paces(*seconds_a_step: float) -> list[Pace]:
    return [Pace(torch.device("cpu"), 5.0, [0.0, 9.0, 9.0 + one]) for one in seconds_a_step]


def drawn_at(monkeypatch: pytest.MonkeyPatch, *seconds_a_step: float, cpus: float = 1) -> None:
    """Have actors take so long a step each, on a machine of so many CPUs."""
    monkeypatch.setattr(sampler, "usable_cpus", lambda: cpus)
    monkeypatch.setattr(sampler, "benchmark", lambda *_: paces(*seconds_a_step))
    monkeypatch.setattr(sampler, "seconds_beside", lambda *_: 5.0)


TEN_STEPS = "[generate]\nsampler = 'ddim'\nsteps = 10\n"


def test_an_hour_is_of_whole_volumes_with_all_that_an_actor_does(
    model_16: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn_at(monkeypatch, 2.5)
    told = found(model_16, TEN_STEPS)
    assert told.verdict is Verdict.ok
    assert told.found.startswith(
        "120 volumes an hour, by the one actor of 1 CPU thread that generate starts here: 30.0 s a volume"
    )
    assert (
        f"of 16^3 by {model_16}, recipe own.toml (10 steps of ddim, float32: 25.0 s" in told.found
    )
    assert (
        "from 1 step; reading, checking and writing to a disk of this machine: 5.00 s)"
        in told.found
    )
    assert "left out: starting the actors, and volumes that are drawn again" in told.found


def test_an_hour_is_of_all_actors_that_generate_starts_and_of_each(
    model_16: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn_at(monkeypatch, 2.0, 3.0, cpus=2.9)
    told = found(model_16, TEN_STEPS)
    assert told.found.startswith(
        "240 volumes an hour, 120 by each of the 2 actors of 1 CPU thread that generate starts here"
    )


def test_actors_beyond_those_that_were_timed_are_promised_nothing(
    model_16: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn_at(monkeypatch, 2.5, 2.5, cpus=64)
    told = found(model_16, TEN_STEPS + "num_threads = 4\n")
    assert told.found.startswith(
        "240 volumes an hour by 2 actors at once of 4 CPU threads, 120 each"
    )
    assert (
        "generate starts 16 here, more than were timed, which draw less than 8 times as many"
        in told.found
    )


def test_a_gpu_draws_one_volume_while_the_cpu_has_another() -> None:
    for steps, beside, volume in ((2.0, 5.0, 20.0), (0.1, 5.0, 5.0)):
        told = sampler.Estimate(paces(steps), 10, beside, torch.device("cuda"))
        assert told.volume == pytest.approx(volume)


def test_no_room_for_a_volume_to_be_timed_with_is_a_problem(
    model_16: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> float:
        raise OSError(28, "No space left on device")

    drawn_at(monkeypatch, 1.0)
    monkeypatch.setattr(sampler, "seconds_beside", full)
    told = found(model_16, TEN_STEPS)
    assert told.verdict is Verdict.problem
    assert told.found == "no space left"
    assert "TMPDIR" in told.advice


def test_a_volume_of_more_than_an_hour_is_warned_of(
    model_16: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn_at(monkeypatch, 400.0)
    told = found(model_16, TEN_STEPS)
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
