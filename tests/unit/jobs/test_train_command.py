"""What `factory train` says when it has trained."""

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from jobs.app import app
from jobs.train import job
from jobs.train.job import TrainResult


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the job was asked for, in an empty folder; it trains nothing."""
    given: dict[str, Any] = {}

    def train(*places: Any, **settings: Any) -> TrainResult:
        given.update(settings, places=places)
        return TrainResult(model="run/model", digest="0123456789abcdef", step=20, loss=0.25)

    monkeypatch.setattr(job, "train", train)
    monkeypatch.setattr(job, "dry_run", lambda *_, **settings: given.update(settings) or "a recipe")
    monkeypatch.chdir(tmp_path)
    return given


@pytest.mark.parametrize(
    ("flags", "next_flags"),
    [
        ("", ""),
        ("--cases mine --out lungs --recipe tiny", " --cases mine --model lungs --recipe tiny"),
        # The name alone would mean the model that ships.
        ("--out demo", " --model ./demo"),
        ("--steps 20 --fresh --device cpu", ""),
    ],
)
def test_a_training_ends_with_the_command_that_draws_with_its_model(
    asked: dict[str, Any], flags: str, next_flags: str
) -> None:
    result = CliRunner().invoke(app, ["train", *flags.split()])
    assert (result.exit_code, result.stdout) == (0, "run/model\n")
    assert result.stderr == (
        "20 steps, last loss 0.2500, model 0123456789ab. "
        f"Next: factory generate --ratio 0.25{next_flags}\n"
    )


def test_a_dry_run_is_told_of_the_cluster_that_would_train(asked: dict[str, Any]) -> None:
    result = CliRunner().invoke(app, ["train", "--dry-run", "--ray-address", "head:6379"])
    assert (result.exit_code, result.stdout) == (0, "a recipe\n")
    assert result.stderr == "nothing was written. Next: factory train --ray-address head:6379\n"
    assert asked["ray_address"] == "head:6379"
