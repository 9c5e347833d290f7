"""Training on Ray Train: two workers as one, precision, refusing."""

import fcntl
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from support import make_case_store
from train_runs import CONFIG, train_to

from factory.errors import StoreError, UsageError
from jobs.train.job import train
from models.checkpoint import load_checkpoint

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.usefixtures("ray_cluster")]


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of three phantoms on a 16^3 grid."""
    return make_case_store(tmp_path_factory.mktemp("train") / "cases", 3)


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
    assert two == pytest.approx(one, rel=1e-5)


def test_on_two_workers_checkpointing_changes_no_loss_and_bfloat16_changes_them_little(
    cases: Path, tmp_path: Path
) -> None:
    def train_on_two(name: str, precision: str, *, checkpointing: bool) -> list[float]:
        config = replace(CONFIG, precision=precision, activation_checkpointing=checkpointing)
        # Three volumes a step: one worker takes two of them, and exchanges after the second.
        return train_to(cases, tmp_path / name, 4, num_workers=2, batch_size=3, config=config)

    plain = train_on_two("plain", "float32", checkpointing=False)
    assert train_on_two("checkpointed", "float32", checkpointing=True) == plain

    found = train_on_two("bfloat16", "bfloat16", checkpointing=True)
    # bfloat16 keeps 8 bits, of which the mean over 3 x 4096 voxels averages most away.
    assert found == pytest.approx(plain, rel=0.02)
    assert found != plain
    weights = load_checkpoint(tmp_path / "bfloat16" / "model").denoiser.parameters()
    assert all(weight.dtype == torch.float32 and weight.isfinite().all() for weight in weights)


def test_a_run_that_diverges_is_not_tried_again_and_names_the_way_out(
    cases: Path, tmp_path: Path
) -> None:
    config = replace(CONFIG, learning_rate=1e30, batch_size=3)
    message = (
        r"stopped at step 2: the loss is .* of its batch: c\d, c\d, c\d\. .* max_grad_norm, or"
    )
    with pytest.raises(Exception, match=message):
        train(cases, tmp_path / "run", config, recipe="tiny", num_workers=2, device="cpu")
    assert len((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()) == 1
    assert not (tmp_path / "run" / "ray").exists()


def test_more_workers_than_volumes_in_a_step_are_refused(cases: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--num-workers 3: the recipe's batch_size is 2"):
        train(cases, tmp_path / "run", CONFIG, recipe="tiny", num_workers=3, device="cpu")
