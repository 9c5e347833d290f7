"""What a worker does around its steps, in this process: Ray Train's part is played by the test."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from jobs.cases import CaseStore
from jobs.train.config import TrainConfig
from jobs.train.job import _settings
from jobs.train.loop import train_loop
from jobs.train.preemption import PreemptionNotice
from jobs.train.settings import LoopSettings
from models.unet3d_config import UNet3DConfig

CONFIG = TrainConfig(
    steps=5,
    batch_size=2,
    learning_rate=1e-3,
    checkpoint_every=100,
    num_checkpoints=5,
    num_probes=2,
    num_loaders=0,
    # Attention at 16^3 would cost more than all else.
    model=UNet3DConfig(grid=16, base_channels=8, channel_mults=(1, 2), attention_max_size=4),
)

Train = Callable[..., str | None]


@pytest.fixture
def leaving(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """Nodes that the cluster says will be taken away, from now on."""
    import ray.train
    import ray.train.collective
    import ray.train.torch

    nodes: dict[str, list[str]] = {"ids": []}
    context = SimpleNamespace(get_world_size=lambda: 1, get_world_rank=lambda: 0)
    monkeypatch.setattr(ray.train, "get_context", lambda: context)
    monkeypatch.setattr(ray.train.torch, "get_device", lambda: torch.device("cpu"))
    monkeypatch.setattr(ray.train.torch, "prepare_model", lambda model, **_: model)
    monkeypatch.setattr(ray.train.collective, "broadcast_from_rank_zero", lambda data: data)
    monkeypatch.setattr(
        ray.train,
        "get_preemption_info",
        lambda: SimpleNamespace(preempted_node_ids=nodes["ids"]) if nodes["ids"] else None,
    )
    return nodes


@pytest.fixture
def train(store: CaseStore, tmp_path: Path, leaving: dict[str, list[str]]) -> Train:
    def call(**changes: Any) -> str | None:
        settings: LoopSettings = _settings(
            store, tmp_path, replace(CONFIG, **changes), None, "a test"
        )
        return train_loop({"settings": settings})

    return call


def lines(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def checkpoints(run: Path) -> list[str]:
    return sorted(path.name for path in (run / "checkpoints").iterdir())


def test_a_notice_that_the_machine_leaves_makes_one_checkpoint_at_the_next_step(
    train: Train,
    tmp_path: Path,
    leaving: dict[str, list[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And the run goes on: what is left of the time is used."""
    leaving["ids"] = ["node-a"]
    monkeypatch.setattr(PreemptionNotice, "is_due", lambda notice: True)
    assert train() is None
    assert checkpoints(tmp_path) == ["step_00000001", "step_00000005"]
    # Of the first only the state counts: measuring it would take time that there may not be.
    assert ["val_loss" in line for line in lines(tmp_path)] == [False] * 4 + [True]


def test_each_notice_makes_one_checkpoint_of_its_own(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray Train tells again and again of all nodes that leave, and forgets those that have left."""
    told = iter([[], ["a"], ["a"], ["a", "b"], ["b"], ["a", "b"], ["b"]])
    monkeypatch.setattr(PreemptionNotice, "is_due", lambda notice: True)
    monkeypatch.setattr(
        "ray.train.get_preemption_info", lambda: SimpleNamespace(preempted_node_ids=next(told))
    )
    assert train(steps=7) is None
    assert checkpoints(tmp_path) == ["step_00000002", "step_00000004", "step_00000007"]


def test_workers_ask_for_the_notice_now_and_then_only(
    leaving: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr("jobs.train.preemption.time.monotonic", lambda: now)
    notice = PreemptionNotice()
    assert not notice.is_due()
    now = 103.0
    assert notice.is_due()
    assert not notice.is_new()
    assert not notice.is_due()
    for ids, is_new in ((["a"], True), (["a"], False), (["a", "b"], True)):
        leaving["ids"] = ids
        assert notice.is_new() is is_new


def test_a_run_that_diverges_ends_with_its_step_its_loss_and_its_cases(
    train: Train, tmp_path: Path
) -> None:
    told = train(learning_rate=1e30, checkpoint_every=1)
    assert told is not None
    assert told.startswith(f"run {tmp_path}: training stopped at step 2: the loss is ")
    assert "The cases of its batch: c" in told
    assert "Lower learning_rate, set max_grad_norm, or look" in told
    # The step before it is there, and nothing of the one that was refused.
    assert checkpoints(tmp_path) == ["step_00000001"]
    assert [line["step"] for line in lines(tmp_path)] == [1]


def test_a_checkpoint_of_another_run_ends_all_workers_with_the_same_words(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rank 0 alone has looked at it, and the others wait for what it found."""
    assert train(steps=1) is None
    heard: list[Any] = []

    def broadcast(data: Any) -> Any:
        heard.append(data)
        return heard[0]

    monkeypatch.setattr("ray.train.collective.broadcast_from_rank_zero", broadcast)
    for rank in (0, 1):
        context = SimpleNamespace(get_world_size=lambda: 2, get_world_rank=lambda rank=rank: rank)
        monkeypatch.setattr("ray.train.get_context", lambda context=context: context)
        told = train(steps=2, seed=1)
        assert told is not None
        assert told.startswith(
            f"checkpoint {tmp_path}/checkpoints/step_00000001: is of another run"
        )
        assert "(seed was 0, is 1)" in told
    assert len(heard) == 2
    assert [line["step"] for line in lines(tmp_path)] == [1]


def test_a_run_that_goes_on_has_each_step_once_and_the_losses_of_a_calm_one(
    train: Train, tmp_path: Path
) -> None:
    assert train(checkpoint_every=2) is None
    calm = lines(tmp_path)
    torn = tmp_path / "checkpoints" / "step_00000005" / "state.pt"
    torn.write_bytes(torn.read_bytes()[:1000])
    assert train(checkpoint_every=2) is None
    again = lines(tmp_path)
    assert [line["step"] for line in again] == [1, 2, 3, 4, 5]
    for key in ("loss", "lr", "val_loss"):
        assert [line.get(key) for line in again] == [line.get(key) for line in calm]


def test_pictures_are_drawn_when_they_are_due_and_change_no_loss(
    train: Train, tmp_path: Path
) -> None:
    assert train(steps=3) is None
    calm = [line["loss"] for line in lines(tmp_path)]
    for path in (tmp_path / "checkpoints").iterdir():
        path.rename(path.with_name(f"{path.name}.other"))
    assert train(steps=3, sample_every=2, num_samples=1) is None
    assert [path.name for path in (tmp_path / "samples").iterdir()] == ["step_00000002.png"]
    assert [line["loss"] for line in lines(tmp_path)] == calm
