"""Training on Ray Train: two workers, resuming, refusing."""

import fcntl
import json
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from support import write_scan

from factory.errors import StoreError, UsageError
from factory.ingest.prepare import IngestConfig
from jobs.ingest.job import ingest
from jobs.recipe import load_recipe
from jobs.train.config import TrainConfig
from jobs.train.job import train
from models.checkpoint import load_checkpoint

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.usefixtures("ray_cluster")]

FACTORY = Path(sys.executable).with_name("factory")
RECIPES = Path(__file__).parents[2] / "jobs" / "recipes"
CONFIG = replace(load_recipe("tiny").table("train", TrainConfig), checkpoint_every=3)


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory, ray_cluster: None) -> Path:
    """A store of three phantoms on a 16^3 grid."""
    folder = tmp_path_factory.mktemp("train")
    for seed in range(3):
        write_scan(folder / "scans", f"p{seed}", seed)
    ingest(folder / "scans", folder / "cases", IngestConfig(grid=16))
    return folder / "cases"


def losses(run: Path) -> list[float]:
    """Loss by step; of a step that was taken twice, the last."""
    lines = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    by_step = {line["step"]: line["loss"] for line in lines}
    assert sorted(by_step) == list(range(1, len(by_step) + 1))
    return [by_step[step] for step in sorted(by_step)]


def train_to(
    cases: Path,
    run: Path,
    steps: int,
    *,
    num_workers: int = 1,
    batch_size: int = 2,
    config: TrainConfig = CONFIG,
) -> list[float]:
    config = replace(config, steps=steps, batch_size=batch_size)
    result = train(cases, run, config, recipe="tiny", num_workers=num_workers, device="cpu")
    assert result.step == steps
    return losses(run)


def test_a_run_that_was_killed_and_run_again_has_the_losses_of_one_that_never_stopped(
    cases: Path, tmp_path: Path
) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(
        (RECIPES / "tiny.toml").read_text().replace("checkpoint_every = 10", "checkpoint_every = 3")
    )
    command = [
        *(str(FACTORY), "train", "--cases", str(cases), "--recipe", str(recipe)),
        *("--steps", "12", "--device", "cpu", "--out", str(tmp_path / "killed")),
    ]
    with (tmp_path / "log").open("wb") as log:
        driver = subprocess.Popen(command, stdout=log, stderr=log)
        # The second checkpoint begins after the first one is registered.
        deadline = time.monotonic() + 180
        while not (tmp_path / "killed" / "ray" / "train" / "step_00000006").exists():
            assert driver.poll() is None, (tmp_path / "log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        driver.send_signal(signal.SIGKILL)
        driver.wait()
    assert not (tmp_path / "killed" / "model").exists()
    time.sleep(2)  # Ray's daemons see that their driver has gone, and end its workers.
    taken = len((tmp_path / "killed" / "metrics.jsonl").read_text().splitlines())
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    lines = len((tmp_path / "killed" / "metrics.jsonl").read_text().splitlines())
    assert lines - taken <= 9  # It went on from a checkpoint, not from the start.

    subprocess.run([*command[:-1], str(tmp_path / "calm")], capture_output=True, check=True)
    assert losses(tmp_path / "killed") == losses(tmp_path / "calm")
    digests = [
        load_checkpoint(tmp_path / name / "model").card.digest for name in ("killed", "calm")
    ]
    assert digests[0] == digests[1]


def test_a_run_goes_on_to_more_steps(cases: Path, tmp_path: Path) -> None:
    train_to(cases, tmp_path / "run", 2)
    assert len(train_to(cases, tmp_path / "run", 4)) == 4


def test_a_run_belongs_to_one_process(cases: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    with (tmp_path / "run" / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(StoreError, match=r"another process trains into it; expected none"):
            train(cases, tmp_path / "run", CONFIG, recipe="tiny")


def test_two_workers_train_on_the_same_batch_as_one(cases: Path, tmp_path: Path) -> None:
    """Of five volumes a step, one worker takes three and the other two."""
    one = train_to(cases, tmp_path / "one", 3, batch_size=5)
    two = train_to(cases, tmp_path / "two", 3, batch_size=5, num_workers=2)

    # Sums of floats in another order; a wrong batch or a missed average is off by percents.
    assert two == pytest.approx(one, rel=1e-4)


def test_on_two_workers_checkpointing_changes_no_loss_and_bfloat16_changes_them_little(
    cases: Path, tmp_path: Path
) -> None:
    def train_on_two(name: str, config: TrainConfig) -> list[float]:
        # Three volumes a step: one worker takes two of them, and exchanges after the second.
        return train_to(cases, tmp_path / name, 4, num_workers=2, batch_size=3, config=config)

    plain = train_on_two("plain", CONFIG)
    checkpointed = replace(CONFIG, activation_checkpointing=True)
    assert train_on_two("checkpointed", checkpointed) == plain

    found = train_on_two("bfloat16", replace(checkpointed, precision="bfloat16"))
    # bfloat16 keeps 8 bits, of which the mean over 3 x 4096 voxels averages most away.
    assert found == pytest.approx(plain, rel=0.02)
    assert found != plain
    weights = load_checkpoint(tmp_path / "bfloat16" / "model").denoiser.parameters()
    assert all(weight.dtype == torch.float32 and weight.isfinite().all() for weight in weights)


def test_a_run_does_not_change_its_precision(cases: Path, tmp_path: Path) -> None:
    train_to(cases, tmp_path / "run", 1)
    other = replace(CONFIG, steps=2, precision="bfloat16", activation_checkpointing=True)
    message = r"\(precision was float32, is bfloat16\)"
    with pytest.raises(StoreError, match=message):
        train(cases, tmp_path / "run", other, recipe="tiny")


def test_another_recipe_under_the_name_of_a_run_is_refused(cases: Path, tmp_path: Path) -> None:
    train_to(cases, tmp_path / "run", 1)
    other = replace(CONFIG, learning_rate=5e-4)
    with pytest.raises(StoreError, match=r"\(learning_rate was 0\.001, is 0\.0005\)"):
        train(cases, tmp_path / "run", other, recipe="tiny")


def test_more_workers_than_volumes_in_a_step_are_refused(cases: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--num-workers 3: the recipe's batch_size is 2"):
        train(cases, tmp_path / "run", CONFIG, recipe="tiny", num_workers=3)
