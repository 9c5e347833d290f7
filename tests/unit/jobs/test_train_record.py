"""The curve of a run has each step once, whatever was killed."""

import json
import math
import os
import struct
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from queue import Full
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.image import imsave
from tensorboardX.proto.event_pb2 import Event

from jobs.cases import CaseStore
from jobs.train.config import TrainConfig
from jobs.train.job import _settings
from jobs.train.outputs import Outputs
from jobs.train.record import Recorder, drop_after
from jobs.train.settings import LoopSettings
from jobs.train.steps import Taken, start_training
from models.schedule import NoiseSchedule
from models.unet3d_config import UNet3DConfig


def record(run: Path, steps: range, *, start: int | None = None, loss: float = 0.5) -> None:
    with Recorder(run, start_step=steps.start - 1 if start is None else start) as recorder:
        for step in steps:
            recorder.step(step, loss=loss + step, lr=1e-3, seconds=2.0, wait=0.125)


def lines(run: Path) -> list[dict[str, Any]]:
    return [json.loads(text) for text in (run / "metrics.jsonl").read_text().splitlines()]


def events(run: Path) -> Iterator[Event]:
    """Read TFRecords: length, checksum, data, checksum."""
    for file in sorted((run / "tensorboard").iterdir()):
        content, at = file.read_bytes(), 0
        while at < len(content):
            (length,) = struct.unpack_from("<Q", content, at)
            yield Event.FromString(content[at + 12 : at + 12 + length])
            at += length + 16


def scalars(run: Path) -> dict[tuple[str, int], float]:
    return {
        (value.tag, event.step): value.simple_value
        for event in events(run)
        for value in event.summary.value
        if value.HasField("simple_value")
    }


def test_a_step_is_one_line_with_all_that_is_known_of_it(tmp_path: Path) -> None:
    with Recorder(tmp_path, start_step=0) as recorder:
        recorder.step(1, loss=0.7979345321655273, lr=1e-5, seconds=1.23456, wait=0.01234)
        recorder.step(2, loss=0.25, lr=2e-5, seconds=1.0, wait=0.0, val_loss=0.125)
    assert lines(tmp_path) == [
        {"step": 1, "loss": 0.797934532, "lr": 1e-5, "seconds": 1.2346, "wait": 0.0123},
        {"step": 2, "loss": 0.25, "lr": 2e-5, "seconds": 1.0, "wait": 0.0, "val_loss": 0.125},
    ]


def test_a_loss_is_written_to_the_last_bit_of_a_float32(tmp_path: Path) -> None:
    losses = np.random.default_rng(0).uniform(0.01, 2.0, size=50).astype(np.float32)
    with Recorder(tmp_path, start_step=0) as recorder:
        for step, loss in enumerate(losses, start=1):
            recorder.step(step, loss=float(loss), lr=0.1, seconds=0.0, wait=0.0)
    assert [np.float32(line["loss"]) for line in lines(tmp_path)] == losses.tolist()


def test_a_line_is_in_the_file_before_the_next_step(tmp_path: Path) -> None:
    with Recorder(tmp_path, start_step=0) as recorder:
        for step in range(1, 4):
            recorder.step(step, loss=0.5, lr=1e-3, seconds=2.0, wait=0.1)
            assert lines(tmp_path)[-1]["step"] == step


def test_a_run_that_goes_on_from_a_checkpoint_has_each_step_once(tmp_path: Path) -> None:
    record(tmp_path, range(1, 9))
    record(tmp_path, range(6, 8), loss=100.5)
    assert [(line["step"], line["loss"]) for line in lines(tmp_path)] == [
        *((step, step + 0.5) for step in range(1, 6)),
        (6, 106.5),
        (7, 107.5),
    ]
    record(tmp_path, range(1, 3))
    assert [line["step"] for line in lines(tmp_path)] == [1, 2]


@pytest.mark.parametrize("torn", ['{"step": 4, "lo', "\x00\x00\x00", '{"step": 4', "7", "[]", "{}"])
def test_half_a_line_is_dropped(tmp_path: Path, torn: str) -> None:
    record(tmp_path, range(1, 4))
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write(torn)
    record(tmp_path, range(4, 5))
    assert [line["step"] for line in lines(tmp_path)] == [1, 2, 3, 4]


def test_of_a_step_that_an_earlier_build_logged_twice_the_last_counts(tmp_path: Path) -> None:
    metrics = tmp_path / "metrics.jsonl"
    logged = [(1, 0.9), (3, 0.7), (2, 0.6), (3, 0.5)]
    metrics.write_text("".join(json.dumps({"step": s, "loss": v}) + "\n" for s, v in logged))
    drop_after(metrics, 3)
    assert [(line["step"], line["loss"]) for line in lines(tmp_path)] == [
        (1, 0.9),
        (2, 0.6),
        (3, 0.5),
    ]


def test_a_kill_while_lines_are_dropped_leaves_the_old_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record(tmp_path, range(1, 6))
    before = (tmp_path / "metrics.jsonl").read_bytes()

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", die)
    with pytest.raises(KeyboardInterrupt):
        drop_after(tmp_path / "metrics.jsonl", 2)
    assert (tmp_path / "metrics.jsonl").read_bytes() == before


def test_lines_stay_plain_json_where_the_validation_loss_is_not_finite(tmp_path: Path) -> None:
    with Recorder(tmp_path, start_step=0) as recorder:
        recorder.step(1, loss=0.5, lr=1e-3, seconds=2.0, wait=0.1, val_loss=math.nan)
    assert "NaN" not in (tmp_path / "metrics.jsonl").read_text()
    assert lines(tmp_path)[0]["val_loss"] is None


@pytest.fixture
def settings(store: CaseStore, tmp_path: Path) -> LoopSettings:
    """Of a run with a picture at every second step and a checkpoint at every third."""
    network = UNet3DConfig(grid=16, base_channels=8, channel_mults=(1, 2), attention_max_size=4)
    config = TrainConfig(
        sample_every=2, num_samples=1, checkpoint_every=3, num_probes=0, model=network
    )
    return _settings(store, tmp_path, config, None, "a test")


def keep_records(settings: LoopSettings, num_steps: int, *, in_haste: bool = False) -> None:
    """Leave what rank 0 leaves after each of the first steps."""
    training = start_training(settings.config, torch.device("cpu"))
    with Outputs(settings, training, NoiseSchedule(settings.config.schedule), world=1) as outputs:
        for training.step in range(1, num_steps + 1):
            taken = Taken(loss=0.5, learning_rate=1e-3, flagged=False)
            outputs.after_step(taken, seconds=2.0, wait=0.1, in_haste=in_haste)


@pytest.mark.parametrize(("num_steps", "in_haste"), [(3, False), (1, True)])
def test_the_lines_are_on_the_disk_before_their_checkpoint(
    settings: LoopSettings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    num_steps: int,
    in_haste: bool,
) -> None:
    synced: list[tuple[int, int]] = []

    def sync(descriptor: int) -> None:
        synced.append((os.fstat(descriptor).st_ino, len(lines(tmp_path))))

    monkeypatch.setattr(os, "fsync", sync)
    config = replace(settings.config, sample_every=0)
    keep_records(replace(settings, config=config), num_steps, in_haste=in_haste)
    assert synced[0] == ((tmp_path / "metrics.jsonl").stat().st_ino, num_steps)
    state = tmp_path / "checkpoints" / f"step_0000000{num_steps}" / "state.pt"
    assert (state.stat().st_ino, num_steps) in synced[1:]


def test_a_picture_that_cannot_be_made_is_warned_of_and_training_goes_on(
    settings: LoopSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ValueError("the network drew NaN")

    monkeypatch.setattr("jobs.train.outputs.write_samples", fail)
    keep_records(settings, 5)
    assert [line["step"] for line in lines(tmp_path)] == [1, 2, 3, 4, 5]
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step_00000003"]
    assert (tmp_path / "warnings.log").read_text().splitlines() == [
        f"warning: step {step}: no picture could be made (ValueError: the network drew NaN); "
        "training goes on. Set sample_every = 0 to have none"
        for step in (2, 4)
    ]


def test_losses_compare_where_the_probes_are_of_the_same_cases(
    settings: LoopSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    records: list[dict[str, Any]] = []
    monkeypatch.setattr("jobs.train.checkpoints.write", lambda *given: records.append(given[3]))

    def probes(**changes: Any) -> object:
        keep_records(replace(settings, **changes), 1, in_haste=True)
        return records[-1]["probes"]

    known = probes()
    first, *others = settings.training_cases
    assert isinstance(known, str)
    assert probes(config=replace(settings.config, learning_rate=0.5)) == known
    assert probes(validation_cases=settings.training_cases, training_cases=[first]) == known
    assert probes(config=replace(settings.config, num_probes=1)) != known
    assert probes(validation_cases=[first]) != known
    assert probes(training_cases=[*others, first]) != known


def test_a_step_that_goes_back_is_a_fault_of_the_loop(tmp_path: Path) -> None:
    record(tmp_path, range(1, 4))
    with (
        Recorder(tmp_path, start_step=3) as recorder,
        pytest.raises(AssertionError, match=r"step 3 after step 3"),
    ):
        recorder.step(3, loss=0.5, lr=1e-3, seconds=2.0, wait=0.1)


def test_tensorboard_has_the_same_numbers(tmp_path: Path) -> None:
    with Recorder(tmp_path, start_step=4) as recorder:
        recorder.step(5, loss=0.75, lr=0.5, seconds=2.0, wait=0.125, val_loss=0.25)
        recorder.step(6, loss=0.5, lr=0.25, seconds=4.0, wait=0.0)
    assert scalars(tmp_path) == {
        ("loss", 5): 0.75,
        ("lr", 5): 0.5,
        ("seconds", 5): 2.0,
        ("wait", 5): 0.125,
        ("val_loss", 5): 0.25,
        ("loss", 6): 0.5,
        ("lr", 6): 0.25,
        ("seconds", 6): 4.0,
        ("wait", 6): 0.0,
    }


def test_a_tensorboard_that_has_ended_does_not_stop_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its thread ends on a full disk, and then nothing takes from its queue."""
    monkeypatch.setattr("jobs.train.record._LONGEST_QUEUE", 8)
    recorder = Recorder(tmp_path, start_step=0)
    writer = recorder._board.file_writer.event_writer
    writer._worker.stop()
    queue = writer._event_queue
    # Where it would wait for ever, it raises.
    monkeypatch.setattr(queue, "put", partial(queue.put, block=False))
    imsave(tmp_path / "drawn.png", np.zeros((5, 7, 3), dtype=np.uint8))
    try:
        for step in range(1, 21):
            recorder.step(step, loss=0.5, lr=1e-3, seconds=2.0, wait=0.1)
            recorder.picture(step, tmp_path / "drawn.png")
    except Full:
        # Or it would wait again, when the process ends.
        writer._closed = True
        raise
    recorder.close()
    assert [line["step"] for line in lines(tmp_path)] == list(range(1, 21))


def test_tensorboard_forgets_the_steps_that_are_taken_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It hides what it read before, from the step of a start on; even of one in the same second."""
    monkeypatch.setattr("time.time", lambda: 1.7e9)
    record(tmp_path, range(1, 9))
    record(tmp_path, range(6, 8))
    starts = [event.step for event in events(tmp_path) if event.HasField("session_log")]
    assert sorted(starts) == [1, 6]


def test_a_picture_is_shown_in_tensorboard_pixel_by_pixel(tmp_path: Path) -> None:
    from io import BytesIO

    from matplotlib.image import imread

    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    imsave(tmp_path / "drawn.png", pixels)
    with Recorder(tmp_path, start_step=0) as recorder:
        recorder.picture(3, tmp_path / "drawn.png")
    ((step, image),) = [
        (event.step, value.image)
        for event in events(tmp_path)
        for value in event.summary.value
        if value.HasField("image")
    ]
    shown = np.rint(255 * imread(BytesIO(image.encoded_image_string)))
    assert step == 3
    np.testing.assert_array_equal(shown[..., :3], pixels)
