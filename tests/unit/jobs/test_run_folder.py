"""A run belongs to what it was asked for, and is never lost."""

import errno
import fcntl
import json
import os
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from factory.augment import AugmentConfig
from factory.errors import StoreError
from jobs.cases import CaseStore
from jobs.train import run_folder
from jobs.train.checkpoints import RNG_POLICY, Checkpoint
from jobs.train.config import TrainConfig
from jobs.train.run_folder import (
    alone,
    asked_of,
    check_checkpoint,
    check_claim,
    claim,
    only_writer,
    publish,
    set_aside,
)

CONFIG = TrainConfig()


@pytest.fixture
def run(store: CaseStore, tmp_path: Path) -> Path:
    """A run of the paper's settings, with a checkpoint."""
    run = tmp_path / "run"
    (run / "checkpoints" / "step_00000010").mkdir(parents=True)
    claim(run, asked_of(CONFIG, store, None))
    return run


@pytest.mark.parametrize(
    ("changes", "difference"),
    [
        ({"learning_rate": 5e-4}, "learning_rate was 1e-05, is 0.0005"),
        ({"precision": "bfloat16"}, "precision was float32, is bfloat16"),
        ({"loss": "l2"}, "loss was l1, is l2"),
        ({"decay_steps": 9}, "decay_steps was 0, is 9"),
        ({"augment": AugmentConfig(scale=0.1)}, "augment.scale was 0.0, is 0.1"),
    ],
)
def test_another_recipe_under_the_name_of_a_run_is_refused_with_the_difference(
    run: Path, store: CaseStore, changes: dict[str, Any], difference: str
) -> None:
    other = asked_of(replace(CONFIG, **changes), store, None)
    with pytest.raises(StoreError) as caught:
        claim(run, other)
    assert f"asked for differently before ({difference}); expected the same" in str(caught.value)
    assert "or start anew with --fresh" in str(caught.value)


@pytest.mark.parametrize(
    "changes",
    [
        {"steps": 5, "checkpoint_every": 2, "num_checkpoints": 7, "max_failures": 0},
        {"sample_every": 3, "num_samples": 1, "num_probes": 0, "num_loaders": 0},
        {"activation_checkpointing": True, "compiled": True},
    ],
)
def test_how_far_and_how_a_run_goes_may_change(
    run: Path, store: CaseStore, changes: dict[str, Any]
) -> None:
    claim(run, asked_of(replace(CONFIG, **changes), store, None))


def test_other_cases_or_nodules_are_refused(run: Path, store: CaseStore) -> None:
    fewer = CaseStore(store.url, store.ingest, store.rows[1:])
    with pytest.raises(StoreError, match=r"\(cases_digest was \w{32}, is \w{32}\)"):
        claim(run, asked_of(CONFIG, fewer, None))
    with pytest.raises(StoreError, match=r"\(crops_digest was absent, is abc\)"):
        claim(run, asked_of(CONFIG, store, "abc"))


def digest_of_cases(store: CaseStore, rows: list[dict[str, Any]]) -> str:
    digest: str = asked_of(CONFIG, CaseStore(store.url, store.ingest, rows), None)["cases_digest"]
    return digest


def test_cases_in_another_order_or_of_another_size_are_others(store: CaseStore) -> None:
    """A slot of a step is told its case by its place, and grafts and turns by its millimetres."""
    asked = digest_of_cases(store, store.rows)
    assert digest_of_cases(store, [dict(row) for row in store.rows]) == asked
    assert digest_of_cases(store, store.rows[::-1]) != asked
    first, *others = store.rows
    for place in range(3):
        affine = list(first["affine"])
        affine[5 * place] += 0.5
        assert digest_of_cases(store, [{**first, "affine": affine}, *others]) != asked


def test_a_run_that_never_came_to_a_checkpoint_may_be_asked_for_anew(
    run: Path, store: CaseStore
) -> None:
    shutil.rmtree(run / "checkpoints")
    other = asked_of(replace(CONFIG, seed=3), store, None)
    check_claim(run, other)
    claim(run, other)
    assert json.loads((run / "run.json").read_text()) == other
    assert sorted(path.name for path in run.iterdir()) == ["run.json"]


@pytest.mark.parametrize("left", ["checkpoints/step_00000010", "model", "ray/train"])
def test_a_run_that_left_anything_to_go_on_from_may_not(
    run: Path, store: CaseStore, left: str
) -> None:
    shutil.rmtree(run / "checkpoints")
    (run / left).mkdir(parents=True)
    before = (run / "run.json").read_bytes()
    other = asked_of(replace(CONFIG, seed=3), store, None)
    for refuse in (check_claim, claim):
        with pytest.raises(StoreError, match=r"asked for differently before \(seed was 0, is 3\)"):
            refuse(run, other)
    assert (run / "run.json").read_bytes() == before


def test_a_run_that_an_earlier_build_began_is_asked_the_same_by_the_same_recipe(
    run: Path, store: CaseStore
) -> None:
    file = run / "run.json"
    asked = json.loads(file.read_text())
    for key in ("warmup_steps", "loss", "lung_weight", "augment", "graft", "precision"):
        del asked[key]
    asked["model"].pop("front_end", None)
    file.write_text(json.dumps(asked | {"activation_checkpointing": True}))
    claim(run, asked_of(CONFIG, store, None))
    with pytest.raises(StoreError, match=r"\(lung_weight was 1\.0, is 2\.0\)"):
        claim(run, asked_of(replace(CONFIG, lung_weight=2.0), store, None))


def test_checkpoints_that_this_build_cannot_read_are_not_trained_over(
    run: Path, store: CaseStore
) -> None:
    shutil.rmtree(run / "checkpoints")
    (run / "ray" / "train").mkdir(parents=True)
    with pytest.raises(
        StoreError, match=r"checkpoints of an earlier build in ray/train, which this"
    ):
        claim(run, asked_of(CONFIG, store, None))


@pytest.mark.parametrize("text", ["{half", "[]"])
def test_a_damaged_run_file_is_named(run: Path, store: CaseStore, text: str) -> None:
    (run / "run.json").write_text(text)
    with pytest.raises(StoreError, match=r"run .*run: run\.json .* start anew with --fresh"):
        claim(run, asked_of(CONFIG, store, None))


def test_looking_at_a_run_that_is_not_there_makes_none(tmp_path: Path, store: CaseStore) -> None:
    check_claim(tmp_path / "none", asked_of(CONFIG, store, None))
    assert not (tmp_path / "none").exists()


def test_a_fresh_start_sets_the_old_run_aside_and_overwrites_no_older_one(run: Path) -> None:
    parent = run.parent
    (run / "metrics.jsonl").write_text("two weeks\n")
    assert set_aside(run) == parent / "run.old-1"
    run.mkdir()
    (run / "run.json").write_text("{}")
    assert set_aside(run) == parent / "run.old-2"
    assert (parent / "run.old-1" / "metrics.jsonl").read_text() == "two weeks\n"
    assert set_aside(run) is None


def test_a_run_that_is_trained_into_is_not_set_aside(run: Path) -> None:
    with alone(run), pytest.raises(StoreError, match="another process trains into it"):
        set_aside(run)
    assert run.exists()


def test_a_run_waits_with_being_set_aside_until_its_last_worker_has_ended(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_folder, "_SECONDS_FOR_A_WRITER_TO_END", 0.3)
    with (run / ".writer.lock").open("w") as worker:
        fcntl.flock(worker, fcntl.LOCK_EX)
        with pytest.raises(StoreError, match=r"a worker of an earlier attempt still writes into i"):
            set_aside(run)
    assert [path.name for path in run.parent.iterdir() if "run" in path.name] == ["run"]
    assert (run / "checkpoints" / "step_00000010").is_dir()
    assert set_aside(run) == run.parent / "run.old-1"


def test_a_folder_that_no_training_made_is_not_moved(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    assert set_aside(home) is None
    (home / "thesis.txt").write_text("three years")
    with pytest.raises(
        StoreError, match=r"^--fresh .*home: found a folder without run\.json, which"
    ):
        set_aside(home)
    assert [path.name for path in tmp_path.iterdir()] == ["home"]
    assert [path.name for path in home.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize("hold", [alone, only_writer])
def test_a_file_system_without_locks_is_named_as_such(
    run: Path,
    monkeypatch: pytest.MonkeyPatch,
    hold: Callable[[Path], AbstractContextManager[None]],
) -> None:
    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with (
        pytest.raises(
            StoreError,
            match=r"its file system has no locks \(.*No locks available\); exp.*-o flock",
        ),
        hold(run),
    ):
        pytest.fail("it was held")


def test_a_model_is_on_the_disk_before_it_has_its_name(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = tmp_path / "trained"
    trained.mkdir()
    for name in ("weights.safetensors", "model.json"):
        (trained / name).write_text(name)
    model, synced = run / "model", []

    def sync(descriptor: int) -> None:
        synced.append((os.fstat(descriptor).st_ino, model.exists()))

    monkeypatch.setattr(os, "fsync", sync)
    publish(trained, run)
    assert sorted(path.name for path in model.iterdir()) == ["model.json", "weights.safetensors"]
    for written in (*model.iterdir(), model):
        assert (written.stat().st_ino, False) in synced
    # And then the name.
    assert synced[-1] == (run.stat().st_ino, True)


def checkpoint_of(asked: dict[str, Any], rng: str | None = RNG_POLICY) -> Checkpoint:
    return Checkpoint(Path("step_00000010"), 10, {"asked": asked, "rng": rng})


def test_a_checkpoint_that_drew_its_noise_otherwise_is_refused(store: CaseStore) -> None:
    asked = asked_of(CONFIG, store, None)
    check_checkpoint(checkpoint_of(asked), asked)
    with pytest.raises(StoreError, match=r"step_00000010: draws its randomness as 'dice'; this b"):
        check_checkpoint(checkpoint_of(asked, "dice"), asked)


def test_a_checkpoint_of_another_run_is_refused(store: CaseStore) -> None:
    asked = asked_of(CONFIG, store, None)
    other = asked_of(replace(CONFIG, seed=3), store, None)
    with pytest.raises(StoreError, match=r"is of another run \(seed was 3, is 0\)"):
        check_checkpoint(checkpoint_of(other), asked)
