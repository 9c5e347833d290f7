"""What `train` does before and after its steps, without Ray."""

from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from factory.errors import StoreError, UsageError
from factory.nodules.crops import load_crops
from factory.nodules.graft import GraftConfig
from jobs.recipe import load_recipe
from jobs.train import checkpoints, job
from jobs.train.config import TrainConfig
from jobs.train.settings import LoopSettings
from models.checkpoint import save_checkpoint
from models.schedule import NoiseSchedule
from models.unet3d import UNet3D

CONFIG = replace(load_recipe("tiny").table("train", TrainConfig), steps=4)
GRAFTING = replace(CONFIG, graft=GraftConfig(probability=0.5))


@pytest.fixture
def attempts(monkeypatch: pytest.MonkeyPatch) -> list[LoopSettings]:
    """Settings of each start of workers; they write their last checkpoint and nothing else."""
    started: list[LoopSettings] = []

    def fit(_: Any, settings: LoopSettings, run: Path, *others: Any) -> None:
        started.append(settings)
        write_checkpoint(settings, run, settings.config.steps)

    monkeypatch.setattr(job, "connect", lambda address: nullcontext())
    monkeypatch.setattr(job, "fit", fit)
    return started


def write_checkpoint(settings: LoopSettings, run: Path, step: int, **changes: Any) -> None:
    torch.manual_seed(0)
    model = UNet3D(settings.config.model)
    schedule = NoiseSchedule(settings.config.schedule)

    def save(folder: Path) -> None:
        save_checkpoint(folder, model, schedule=schedule, preprocessing={}, training={"step": step})

    record = {"rng": checkpoints.RNG_POLICY, "asked": settings.asked, **changes}
    checkpoints.write(run, step, {}, record, save)


@pytest.fixture
def crops(tmp_path: Path) -> Path:
    """One ball of 10 mm in an 18 mm cube."""
    z, y, x = np.indices((9, 9, 9)) - 4
    ball = (z**2 + y**2 + x**2 <= 2.5**2)[None]
    np.savez(
        tmp_path / "crops.npz",
        ct_hu=np.where(ball, 20, -850).astype(np.int16),
        mask_percent=(100 * ball).astype(np.uint8),
        names=np.array(["ball"]),
        spacing_mm=np.float64(2.0),
    )
    return tmp_path / "crops.npz"


def train(cases: Path, run: Path, config: TrainConfig = CONFIG, **given: Any) -> job.TrainResult:
    return job.train(cases, run, config, recipe="tiny", **given)


def test_a_finished_run_is_not_trained_again_and_goes_on_to_more_steps(
    cases_16: Path, tmp_path: Path, attempts: list[LoopSettings]
) -> None:
    for steps, num_attempts in ((4, 1), (4, 1), (2, 1), (6, 2)):
        result = train(cases_16, tmp_path / "run", replace(CONFIG, steps=steps))
        assert (result.step, len(attempts)) == (max(4, steps), num_attempts)


def test_fewer_steps_than_the_model_has_are_told_and_leave_it_as_it_is(
    cases_16: Path,
    tmp_path: Path,
    attempts: list[LoopSettings],
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = tmp_path / "run"
    digest = train(cases_16, run).digest
    train(cases_16, run)
    assert "none back" not in capsys.readouterr().err
    result = train(cases_16, run, replace(CONFIG, steps=3))
    assert (result.digest, result.step, len(attempts)) == (digest, 4, 1)
    assert capsys.readouterr().err == (
        f"train: run {run} has taken 4 steps already, and --steps 3 takes none back: its model is kept "
        "as it is. Ask for more than 4, or choose another --out.\n"
    )


def test_a_run_that_was_killed_before_it_published_needs_no_workers_for_that(
    cases_16: Path, tmp_path: Path, attempts: list[LoopSettings]
) -> None:
    train(cases_16, tmp_path / "other")
    write_checkpoint(attempts[0], tmp_path / "run", 4)
    assert train(cases_16, tmp_path / "run").step == 4
    assert len(attempts) == 1


def test_steps_that_were_taken_are_not_taken_back(
    cases_16: Path, tmp_path: Path, attempts: list[LoopSettings]
) -> None:
    train(cases_16, tmp_path / "other")
    write_checkpoint(attempts[0], tmp_path / "run", 4)
    with pytest.raises(
        UsageError, match=r"^--steps 3: run .*run has taken 4; expected at least tha"
    ):
        train(cases_16, tmp_path / "run", replace(CONFIG, steps=3))
    assert not (tmp_path / "run" / "model").exists()
    assert len(attempts) == 1


@pytest.mark.parametrize("name", ["weights.safetensors", "model.json"])
def test_a_published_model_that_is_torn_is_made_again_from_the_newest_checkpoint(
    cases_16: Path,
    tmp_path: Path,
    attempts: list[LoopSettings],
    capsys: pytest.CaptureFixture[str],
    name: str,
) -> None:
    run = tmp_path / "run"
    digest = train(cases_16, run).digest
    file = run / "model" / name
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    assert train(cases_16, run).digest == digest
    assert file.read_bytes() == whole
    assert f"warning: checkpoint {run}/model: " in (told := capsys.readouterr().err)
    assert "; it is made again from the newest checkpoint" in told
    assert len(attempts) == 1


def test_more_workers_than_volumes_are_refused_before_anything_is_written(
    cases_16: Path, tmp_path: Path, attempts: list[LoopSettings]
) -> None:
    for num_workers in (3, (1, 3)):
        for call in (train, partial(job.dry_run, config=CONFIG, recipe="tiny")):
            with pytest.raises(
                UsageError, match=r"^--num-workers .*3: the recipe's batch_size is 2"
            ):
                call(cases_16, tmp_path / "run", num_workers=num_workers)
    assert not (tmp_path / "run").exists()
    train(cases_16, tmp_path / "run")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UsageError, match=r"^--num-workers 3: the recipe's batch_size is 2"):
        train(cases_16, tmp_path / "run", num_workers=3, fresh=True)
    assert (sorted(tmp_path.rglob("*")), len(attempts)) == (before, 1)


def test_a_fresh_run_starts_from_nothing_and_says_where_the_old_one_is(
    cases_16: Path,
    tmp_path: Path,
    attempts: list[LoopSettings],
    capsys: pytest.CaptureFixture[str],
) -> None:
    train(cases_16, tmp_path / "run")
    other = replace(CONFIG, seed=1)
    with pytest.raises(StoreError, match=r"\(seed was 0, is 1\).*--fresh"):
        train(cases_16, tmp_path / "run", other)
    train(cases_16, tmp_path / "run", other, fresh=True)
    assert [settings.config.seed for settings in attempts] == [0, 1]
    assert f"the earlier run is now {tmp_path / 'run.old-1'}; remove it when" in (
        capsys.readouterr().err
    )
    assert (tmp_path / "run.old-1" / "model").exists()


def test_a_checkpoint_of_another_scheme_of_randomness_is_refused_before_workers_start(
    cases_16: Path, tmp_path: Path, attempts: list[LoopSettings]
) -> None:
    train(cases_16, tmp_path / "run")
    write_checkpoint(attempts[0], tmp_path / "run", 5, rng="dice")
    with pytest.raises(StoreError, match=r"step_00000005: draws its randomness as 'dice'"):
        train(cases_16, tmp_path / "run", replace(CONFIG, steps=6))
    assert len(attempts) == 1


def test_a_recipe_that_grafts_needs_nodules_and_nodules_such_a_recipe(
    cases_16: Path, tmp_path: Path, crops: Path
) -> None:
    with pytest.raises(
        UsageError, match=r"^\[train\.graft\] probability is 0\.5, but there are no n"
    ):
        train(cases_16, tmp_path / "run", GRAFTING)
    with pytest.raises(
        UsageError, match=r"--nodules .*crops\.npz: the recipe grafts none; expecte"
    ):
        train(cases_16, tmp_path / "run", nodules=crops)
    assert not (tmp_path / "run").exists()


def test_the_nodules_are_part_of_what_a_run_is(
    cases_16: Path, tmp_path: Path, crops: Path, attempts: list[LoopSettings]
) -> None:
    train(cases_16, tmp_path / "run", GRAFTING, nodules=crops)
    (settings,) = attempts
    assert settings.crops_path == str(crops)
    assert settings.asked["crops_digest"] == load_crops(crops).digest
    arrays = dict(np.load(crops))
    np.savez(crops, **{**arrays, "ct_hu": arrays["ct_hu"] + np.int16(1)})
    with pytest.raises(StoreError, match=r"\(crops_digest was \w{64}, is \w{64}\)"):
        train(cases_16, tmp_path / "run", GRAFTING, nodules=crops)


def test_a_dry_run_refuses_what_a_run_would_and_writes_nothing(
    cases_16: Path,
    tmp_path: Path,
    attempts: list[LoopSettings],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: dict[str, Any] = {}
    monkeypatch.setattr("jobs.train.dry_run.describe", lambda *_, **given: told.update(given))
    job.dry_run(cases_16, tmp_path / "none", CONFIG, recipe="tiny", num_workers=(1, 2))
    assert not (tmp_path / "none").exists()
    assert (told["num_workers"], told["steps_done"]) == ((1, 2), 0)

    train(cases_16, tmp_path / "run")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(StoreError, match="asked for differently before"):
        job.dry_run(cases_16, tmp_path / "run", replace(CONFIG, seed=1), recipe="tiny")
    job.dry_run(cases_16, tmp_path / "run", CONFIG, recipe="tiny")
    assert (told["steps_done"], sorted(tmp_path.rglob("*"))) == (4, before)
