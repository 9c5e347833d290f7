"""The curve of a run has each step once, whatever was killed."""

import json
import math
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.image import imsave
from tensorboardX.proto.event_pb2 import Event

from jobs.train.record import Recorder, drop_after


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


def test_a_validation_loss_is_on_the_disk_before_its_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = []
    with Recorder(tmp_path, start_step=0) as recorder:
        monkeypatch.setattr("os.fsync", synced.append)
        recorder.step(1, loss=0.5, lr=1e-3, seconds=2.0, wait=0.1)
        assert synced == []
        recorder.step(2, loss=0.5, lr=1e-3, seconds=2.0, wait=0.1, val_loss=0.5)
        assert len(synced) == 1


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
