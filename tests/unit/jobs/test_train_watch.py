"""What people see of a run: the loss, its pace and how long it will still take."""

import io
import json
import sys
import time
from pathlib import Path

import pytest

from jobs.train import watch as watching
from jobs.train.watch import Pace, last_metrics, watch


class Shown:
    """A tracker that remembers what it was told."""

    def __init__(self) -> None:
        self.updates: list[tuple[int, str]] = []

    def update(self, done: int, note: str = "") -> None:
        self.updates.append((done, note))


def seen(*marks: tuple[int, float]) -> float:
    pace = Pace()
    for step, now in marks:
        pace.saw(step, now)
    return pace.steps_a_second


def test_the_pace_is_of_the_steps_that_were_watched() -> None:
    assert seen() == 0.0
    assert seen((1, 0.0)) == 0.0
    assert seen((0, 0.0), (1, 10.0), (5, 12.0)) == 2.0
    assert seen((0, 0.0), (1, 10.0), (5, 12.0), (5, 13.0)) == 2.0


def test_what_a_run_had_before_and_how_long_its_workers_took_to_start_do_not_count() -> None:
    assert seen((500, 0.0), (500, 30.0), (501, 60.0), (503, 61.0)) == 2.0


def test_steps_that_are_taken_again_after_a_failure_begin_a_new_pace() -> None:
    assert seen((9, 0.0), (10, 1.0), (11, 2.0), (6, 60.0), (10, 61.0)) == 4.0


def test_the_pace_is_that_of_the_last_ten_minutes() -> None:
    slow = [(step, 100.0 * step) for step in range(20)]
    fast = [(19 + step, 1900.0 + step) for step in range(1, 800)]
    assert seen(*slow, *fast) == pytest.approx(1.0)
    # Steps longer than that have a pace too.
    assert seen((0, 0.0), (1, 1000.0), (2, 2000.0), (3, 3000.0)) == pytest.approx(0.001)


def write(metrics: Path, step: int, loss: float) -> None:
    with metrics.open("a") as file:
        file.write(json.dumps({"step": step, "loss": loss}) + "\n")


def test_a_log_says_loss_pace_and_time_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    metrics, shown = tmp_path / "metrics.jsonl", Shown()
    view = watching._View(metrics, 1000, shown)
    clock = iter([0.0, 10.0, 14.0, 400.0])
    monkeypatch.setattr("time.monotonic", lambda: next(clock))
    view.show()
    for step, loss in ((1, 0.9), (2, 0.81234), (10, 0.5), (11, 0.25)):
        write(metrics, step, loss)
        view.show()
    assert shown.updates == [
        (1, "loss 0.9000"),
        (2, "loss 0.8123"),
        (10, "loss 0.5000, 2.0 steps/s, 0:08:15 left"),
        (11, "loss 0.2500, 43.3 s/step, 11:54:17 left"),
    ]


def test_a_bar_has_an_estimate_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    metrics, shown = tmp_path / "metrics.jsonl", Shown()
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    view = watching._View(metrics, 1000, shown)
    clock = iter([0.0, 10.0, 14.0])
    monkeypatch.setattr("time.monotonic", lambda: next(clock))
    for step in (1, 2, 10):
        write(metrics, step, 0.5)
        view.show()
    assert shown.updates[-1] == (10, "loss 0.5000, 2.0 steps/s")


def test_the_last_step_is_shown_even_if_it_came_as_the_watch_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    metrics, log = tmp_path / "metrics.jsonl", io.StringIO()
    monkeypatch.setattr(sys, "stderr", log)
    monkeypatch.setattr(watching, "_SECONDS_BETWEEN_LOOKS", 60.0)
    with watch(metrics, 2):
        write(metrics, 1, 0.9)
        write(metrics, 2, 0.75)
    assert log.getvalue().splitlines()[0] == f"train: logging to {metrics}"
    assert log.getvalue().splitlines()[-1] == "train: 2/2 in 0 s loss 0.7500"


def warn(file: Path, text: str) -> None:
    with file.open("a", encoding="utf-8") as log:
        log.write(text)


def test_what_workers_warn_of_is_shown_once_and_not_what_was_warned_of_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, said = tmp_path / "warnings.log", list[str]()
    monkeypatch.setattr(watching, "say", said.append)
    warnings = watching._Warnings(file)
    warnings.show()
    warn(file, "warning: step 2: é\nwarning: st")
    for _ in range(2):
        warnings.show()
    assert said == ["warning: step 2: é"]
    warn(file, "ep 4\n")
    for _ in range(2):
        warnings.show()
    assert said == ["warning: step 2: é", "warning: step 4"]

    later = watching._Warnings(file)
    later.show()
    warn(file, "warning: step 6\nwarning: step 8\n")
    later.show()
    assert said[2:] == ["warning: step 6", "warning: step 8"]


@pytest.mark.parametrize("seconds", [60.0, 0.01])
def test_a_warning_is_shown_while_a_run_is_watched_or_as_the_watch_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    file, log = tmp_path / "warnings.log", io.StringIO()
    monkeypatch.setattr(sys, "stderr", log)
    monkeypatch.setattr(watching, "_SECONDS_BETWEEN_LOOKS", seconds)
    warn(file, "warning: of an earlier attempt\n")
    with watch(tmp_path / "metrics.jsonl", 2):
        warn(file, "warning: step 2\n")
        deadline = time.monotonic() + 4.0
        while seconds < 1.0 and "step 2" not in log.getvalue():
            assert time.monotonic() < deadline
            time.sleep(0.01)
    assert [line for line in log.getvalue().splitlines() if line.startswith("warning")] == [
        "warning: step 2"
    ]


def test_the_last_whole_line_counts_however_long_the_file(tmp_path: Path) -> None:
    metrics = tmp_path / "metrics.jsonl"
    assert last_metrics(metrics) == {}
    for step in range(1, 500):
        write(metrics, step, 0.5)
    with metrics.open("a") as file:
        file.write('{"step": 500, "lo')
    assert last_metrics(metrics) == {"step": 499, "loss": 0.5}
