"""A dry run says what a training would be and cost, and leaves nothing behind."""

import re
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from factory.errors import ClusterError
from factory.nodules.graft import GraftConfig
from jobs.cases import CaseStore
from jobs.recipe import load_recipe, read_table
from jobs.train import dry_run, pace
from jobs.train.config import TrainConfig
from jobs.train.dry_run import describe, resolved_toml
from jobs.train.pace import StepTime, step_time
from models.footprint import Footprint, forward_flops
from models.unet3d_config import UNet3DConfig

SMALL = TrainConfig(
    steps=1000,
    batch_size=2,
    learning_rate=5e-4,
    checkpoint_every=100,
    model=UNet3DConfig(grid=16, base_channels=16, channel_mults=(1, 2), attention_max_size=4),
    graft=GraftConfig(probability=0.5),
)
CPU = torch.device("cpu")


@pytest.fixture
def two_seconds(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """A step takes two seconds a volume; what was asked for is kept."""
    asked: list[tuple[Any, ...]] = []

    def answer(*given: Any) -> StepTime:
        asked.append(given)
        return StepTime(2.0 * given[-1], "timed")

    monkeypatch.setattr(dry_run, "step_time", answer)
    return asked


def line(text: str, start: str) -> str:
    (found,) = [line for line in text.splitlines() if line.startswith(f"# {start}")]
    return found.removeprefix("# ")


@pytest.mark.parametrize("name", ["demo", "paper", "tiny"])
def test_the_resolved_recipe_is_a_recipe_that_asks_for_the_same(name: str) -> None:
    config = load_recipe(name).table("train", TrainConfig)
    table = tomllib.loads(resolved_toml(config))["train"]
    assert read_table(TrainConfig, table, "again") == config


def test_every_key_is_there_and_what_differs_from_the_defaults_is_marked() -> None:
    text = resolved_toml(SMALL)
    assert set(tomllib.loads(text)["train"]) == set(TrainConfig.__dataclass_fields__)
    marked = [line for line in text.splitlines() if "# default" in line]
    assert marked == [
        "steps = 1000  # default 100000",
        "batch_size = 2  # default 1",
        "learning_rate = 0.0005  # default 1e-05",
        "checkpoint_every = 100  # default 1000",
        "grid = 16  # default 128",
        "base_channels = 16  # default 64",
        "channel_mults = [1, 2]  # default [1, 1, 2, 3, 4]",
        "attention_max_size = 4  # default 16",
        "probability = 0.5  # default 0.0",
    ]
    assert "[train.model]" in text
    assert "max_grad_norm = 0.0\n" in text


def test_the_whole_text_can_be_saved_as_a_recipe(
    store: CaseStore, two_seconds: list[tuple[Any, ...]]
) -> None:
    text = describe(SMALL, store, recipe="mine", device="cpu")
    table = tomllib.loads(text)["train"]
    assert read_table(TrainConfig, table, "again") == SMALL
    assert text.startswith("# Recipe mine, resolved. Nothing was written.\n")


def test_the_paper_has_40_million_parameters_and_its_disk_and_memory_are_said(
    store: CaseStore, two_seconds: list[tuple[Any, ...]]
) -> None:
    config = load_recipe("paper").table("train", TrainConfig)
    text = describe(config, store, device="cpu")
    assert line(text, "parameters") == "parameters: 40.23 million"
    # Five float32 a weight; two newest, the best and one that is being written, and the model.
    assert line(text, "disk") == (
        "disk: 0.80 GB a checkpoint, every 1000 steps; with 3 of them and the model the run takes up "
        "to 3.38 GB, pictures aside"
    )
    assert line(text, "memory").startswith("memory of a worker: 14.59 GB, 0.80 GB of it weights")


def test_a_network_that_does_not_fit_is_warned_of(
    store: CaseStore, two_seconds: list[tuple[Any, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dry_run, "free_bytes", lambda device: 4e9)
    text = describe(load_recipe("paper").table("train", TrainConfig), store, device="cpu")
    assert line(text, "warning").startswith(
        "warning: 4.00 GB are free on this cpu. Try activation_"
    )
    assert "warning" not in describe(SMALL, store, device="cpu")


def test_steps_an_hour_and_the_days_to_the_last_step(
    store: CaseStore, two_seconds: list[tuple[Any, ...]]
) -> None:
    text = describe(replace(SMALL, steps=100_000), store, device="cpu")
    assert line(text, "speed") == "speed: 900 steps an hour, 4 s each, with 1 worker on cpu (timed)"
    assert line(text, "last step") == "last step: number 100000, 4.6 days from the start"
    text = describe(replace(SMALL, steps=100_000), store, device="cpu", steps_done=99_000)
    assert line(text, "last step") == "last step: number 100000, 1.1 hours from step 99000"
    assert line(text, "3 training and 0 validation cases of 16^3").endswith("66,666.7 times.")


def test_workers_that_share_a_cpu_are_no_faster_than_one(
    store: CaseStore, two_seconds: list[tuple[Any, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    text = describe(SMALL, store, device="cpu", num_workers=2)
    assert two_seconds[0][-1] == 2
    assert "4 s each, with 2 workers on cpu (timed; what they exchange is not counted)" in text


@pytest.fixture
def four_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine of two cores and four GPUs."""
    monkeypatch.setattr("jobs.cluster._torch_sees_a_gpu", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 4)
    monkeypatch.setattr("os.cpu_count", lambda: 2)


@pytest.mark.usefixtures("two_seconds", "four_gpus")
@pytest.mark.parametrize(
    ("batch_size", "asked", "device", "workers"),
    [
        (8, None, "auto", "4 workers"),
        (2, None, "cuda", "2 workers"),
        (8, 3, "auto", "3 workers"),
        (8, (1, 8), "auto", "4 workers"),
        (8, None, "cpu", "1 worker"),
        (8, (1, 8), "cpu", "2 workers"),
    ],
)
def test_a_dry_run_plans_the_workers_that_would_train_on_this_machine(
    store: CaseStore, batch_size: int, asked: Any, device: str, workers: str
) -> None:
    config = replace(SMALL, batch_size=batch_size)
    text = describe(config, store, device=device, num_workers=asked)
    assert f" with {workers} on " in line(text, "speed")
    assert "assumed" not in text


@pytest.mark.usefixtures("two_seconds", "four_gpus")
def test_more_workers_than_this_machine_has_room_for_are_refused_as_by_a_training(
    store: CaseStore,
) -> None:
    with pytest.raises(ClusterError, match=r"^--num-workers 5: the cluster has 4 GPUs, and a"):
        describe(replace(SMALL, batch_size=8), store, num_workers=5)


@pytest.mark.usefixtures("two_seconds", "four_gpus")
@pytest.mark.parametrize(
    ("asked", "assumed"),
    [
        (None, "4 workers, as if it has the GPUs of this machine"),
        ((1, 6), "6 workers, as if there is room for them"),
    ],
)
def test_of_a_named_cluster_it_says_what_it_assumed(
    store: CaseStore, asked: Any, assumed: str
) -> None:
    config = replace(SMALL, batch_size=8)
    text = describe(config, store, num_workers=asked, ray_address="head:6379")
    assert line(text, "assumed") == (
        f"assumed: the cluster at head:6379 was not asked; {assumed}. Memory and speed are those of "
        "this machine."
    )
    assert f" with {assumed[:9]} on " in line(text, "speed")


@pytest.mark.usefixtures("two_seconds")
def test_a_gpu_that_this_machine_lacks_is_left_to_the_named_cluster(
    store: CaseStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    text = describe(SMALL, store, device="cuda", ray_address="auto")
    assert "was not asked; 1 worker, as if it has the GPUs of this machine" in text
    with pytest.raises(ClusterError, match=r"^device cuda: .* and no GPU; expected at least one"):
        describe(SMALL, store, device="cuda")


def test_a_small_network_is_timed_by_taking_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = []

    def take(training: Any, config: TrainConfig, schedule: Any, batch: Any) -> None:
        taken.append(len(batch))
        pace.time.sleep(0.02)

    monkeypatch.setattr(pace, "take_step", take)
    found = step_time(SMALL, Footprint(state_bytes=1, activation_bytes=1), CPU, 2)
    assert found.how == "timed, the median of 3 steps on random voxels"
    assert found.seconds == pytest.approx(0.02, rel=0.5)
    assert taken == [2, 2, 2, 2]


@pytest.mark.parametrize(
    ("rate", "free", "why"),
    [
        (1e6, float("inf"), "a step is too long to try here"),
        (1e15, 0.0, "a step is too large for the 0.0 GB that are free here"),
    ],
)
def test_a_large_network_is_estimated_from_its_operations(
    monkeypatch: pytest.MonkeyPatch, rate: float, free: float, why: str
) -> None:
    monkeypatch.setattr(pace, "_matrix_rate", lambda *_: rate)
    monkeypatch.setattr(pace, "free_bytes", lambda _: free)
    found = step_time(SMALL, Footprint(state_bytes=1, activation_bytes=1), CPU, 2)
    assert found.seconds == pytest.approx(2 * 3 * forward_flops(SMALL.model) / (0.4 * rate))
    assert re.match(rf"estimated, for {why}: [\d.]+ TFLOP at 40% of the ", found.how)


def test_real_steps_are_taken_and_nothing_is_left_of_them(
    store: CaseStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def files() -> list[tuple[Path, int]]:
        return sorted((f, f.stat().st_mtime_ns) for f in Path(store.url).rglob("*"))

    before, state = files(), torch.random.get_rng_state()
    monkeypatch.chdir(tmp_path)
    text = describe(replace(SMALL, model=replace(SMALL.model, grid=8)), store, device="cpu")
    assert "(timed, the median of 3 steps on random voxels)" in line(text, "speed")
    assert files() == before
    assert not list(tmp_path.iterdir())
    assert torch.equal(torch.random.get_rng_state(), state)
