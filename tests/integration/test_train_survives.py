"""Training that was killed, moved to other workers or damaged goes on as if nothing had been."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from processes import commands_below
from support import make_case_store
from train_runs import losses, train_to

from models.card import read_model_card

pytestmark = [pytest.mark.ray, pytest.mark.slow]

FACTORY = Path(sys.executable).with_name("factory")
RECIPES = Path(__file__).parents[2] / "jobs" / "recipes"
SECONDS_TO_START = 240


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of three phantoms on a 16^3 grid."""
    return make_case_store(tmp_path_factory.mktemp("survives") / "cases", 3)


@pytest.fixture(scope="module")
def calm(cases: Path, tmp_path_factory: pytest.TempPathFactory, ray_cluster: None) -> list[float]:
    """Losses of ten steps on one worker that nothing disturbed."""
    return train_to(cases, tmp_path_factory.mktemp("calm") / "run", 10)


def digest(run: Path) -> str:
    return read_model_card(run / "model").digest


def steps_taken(run: Path) -> int:
    metrics = run / "metrics.jsonl"
    return metrics.read_bytes().count(b"\n") if metrics.exists() else 0


def wait_for_step(run: Path, step: int) -> None:
    deadline = time.monotonic() + SECONDS_TO_START
    while steps_taken(run) < step:
        assert time.monotonic() < deadline, f"step {step} was not reached"
        time.sleep(0.01)


@pytest.mark.parametrize("num_workers", [1, 2])
def test_a_run_whose_driver_was_killed_and_run_again_is_one_that_never_stopped(
    cases: Path, tmp_path: Path, num_workers: int
) -> None:
    """Run again at once: the workers of the first driver may be about to write still."""
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(
        (RECIPES / "tiny.toml").read_text().replace("checkpoint_every = 10", "checkpoint_every = 3")
    )
    command = [
        *(str(FACTORY), "train", "--cases", str(cases), "--recipe", str(recipe)),
        *("--steps", "14", "--device", "cpu", "--num-workers", str(num_workers)),
        *("--out", str(tmp_path / "killed")),
    ]
    with (tmp_path / "log").open("wb") as log:
        driver = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            wait_for_step(tmp_path / "killed", 5)
        finally:
            driver.send_signal(signal.SIGKILL)
            driver.wait()
    assert not (tmp_path / "killed" / "model").exists()
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert "train: going on from the checkpoint of step" in ended.stderr

    subprocess.run([*command[:-1], str(tmp_path / "calm")], capture_output=True, check=True)
    assert losses(tmp_path / "killed") == losses(tmp_path / "calm")
    assert digest(tmp_path / "killed") == digest(tmp_path / "calm")


def test_a_worker_that_is_killed_is_replaced_and_the_curve_is_the_calm_one(
    cases: Path, calm: list[float], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    killed: list[int] = []

    def kill() -> None:
        wait_for_step(run, 5)
        killed.extend(training_workers())
        for pid in killed:
            os.kill(pid, signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    found = train_to(cases, run, 10)
    killer.join()
    assert killed
    assert found == calm


def training_workers() -> list[int]:
    """Processes of Ray Train's workers that this process has started, through Ray's daemons."""
    below = commands_below(os.getpid())
    return [pid for pid, line in below.items() if "RayTrainWorker" in line]


def test_a_run_goes_on_with_other_workers_within_rounding(
    cases: Path, calm: list[float], tmp_path: Path
) -> None:
    train_to(cases, tmp_path / "run", 4)
    # As many as there is room for, of one or two.
    assert train_to(cases, tmp_path / "run", 8, num_workers=(1, 2)) == pytest.approx(
        calm[:8], rel=1e-5
    )
    assert losses(tmp_path / "run")[:4] == calm[:4]
    record = tmp_path / "run" / "checkpoints" / "step_00000008" / "state.json"
    assert json.loads(record.read_text())["num_workers"] == 2


@pytest.mark.usefixtures("ray_cluster")
@pytest.mark.parametrize("batch_size", [3, 4])
def test_on_three_workers_a_run_that_goes_on_adds_in_the_same_order(
    cases: Path, tmp_path: Path, batch_size: int
) -> None:
    """With one volume each, and with one worker that has two."""
    for name, stops in (("calm", (4,)), ("stopped", (2, 4))):
        for steps in stops:
            train_to(cases, tmp_path / name, steps, num_workers=3, batch_size=batch_size)
    assert digest(tmp_path / "stopped") == digest(tmp_path / "calm")


@pytest.mark.usefixtures("ray_cluster")
def test_a_torn_newest_checkpoint_costs_the_steps_since_the_one_before(
    cases: Path, calm: list[float], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train_to(cases, tmp_path / "run", 5)
    torn = tmp_path / "run" / "checkpoints" / "step_00000005" / "state.pt"
    torn.write_bytes(torn.read_bytes()[:1000])
    capsys.readouterr()
    assert train_to(cases, tmp_path / "run", 10) == calm
    told = capsys.readouterr().err
    assert "step_00000005 is torn (state.pt (1000 bytes) has another sha256)" in told
    assert "train: going on from the checkpoint of step 3" in told


def test_ctrl_c_says_how_to_go_on(cases: Path, tmp_path: Path) -> None:
    """A terminal sends it to all processes of the command; Ray Train would end without a word."""
    run = tmp_path / "run"
    line = [str(FACTORY), "train", "--cases", str(cases), "--out", str(run), "--recipe", "tiny"]
    driver = subprocess.Popen(
        [*line, "--steps", "500"], stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    wait_for_step(run, 2)
    os.killpg(driver.pid, signal.SIGINT)
    told = driver.communicate(timeout=120)[1]
    assert driver.returncode == 130, told
    assert "interrupted: the same command goes on from what is finished" in told
