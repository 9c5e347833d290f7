"""What a run tells of itself while it goes on."""

from pathlib import Path
from typing import Any

import pytest

from factory.lake import PROGRESS, Lake
from jobs.generate.tally import Tally
from jobs.generate.tally import tally as tally_of


class ConnectionClosedError(Exception):
    """As botocore's, which is no `OSError`."""


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Bar:
    def __init__(self) -> None:
        self.done, self.note = 0, ""

    def update(self, done: int, note: str = "") -> None:
        self.done, self.note = done, note


def row(actor: str, seconds: float, device: float, problem: str = "") -> dict[str, Any]:
    return {
        "work_id": "w",
        "committed": not problem,
        "recorded": not problem.startswith("disk"),
        "problem": problem,
        "seconds": seconds,
        "device_seconds": device,
        "actor": actor,
    }


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def tally(tmp_path: Path, clock: Clock) -> Tally:
    lake = Lake(tmp_path / "lake")
    return Tally(
        lake=lake,
        run_id="run",
        planned=20,
        committed=9,
        quarantined=1,
        todo=10,
        tracker=Bar(),
        clock=clock,
    )


def recorded(tally: Tally) -> dict[str, Any]:
    return tally.lake.storage.read_json(PROGRESS)


def test_from_the_first_moment_the_lake_tells_what_is_to_come(tally: Tally) -> None:
    found = recorded(tally)
    assert (found["planned"], found["committed"], found["quarantined"]) == (20, 9, 1)
    assert (found["left"], found["seconds_left"], found["volumes_per_hour"]) == (10, None, 0.0)


def test_rate_time_left_and_the_share_of_the_device_follow_from_what_ended(
    tally: Tally, clock: Clock
) -> None:
    for _ in range(4):
        clock.now += 5.0
        tally.take(row("a", 5.0, 4.0))
    found = recorded(tally)
    assert (found["committed"], found["left"], found["actors"]) == (13, 6, 1)
    assert found["volumes_per_hour"] == 720.0
    assert found["seconds_left"] == 30
    assert found["device_share"] == 0.8
    assert tally.tracker.note == "720 an hour, device 80%"  # type: ignore[attr-defined]


def test_an_actor_that_came_later_counts_from_its_first_item(tally: Tally, clock: Clock) -> None:
    clock.now += 90.0
    tally.take(row("a", 10.0, 10.0))
    clock.now += 10.0
    tally.take(row("b", 10.0, 5.0))
    assert tally.device_share == 0.75


def test_an_actor_that_is_gone_counts_no_longer(tally: Tally, clock: Clock) -> None:
    for wave in range(5):
        for _ in range(10):
            clock.now += 10.0
            tally.take(row(f"actor-{wave}", 10.0, 10.0))
    assert tally.device_share == 1.0
    tally.record()
    assert recorded(tally)["actors"] == 1


def test_records_are_written_every_ten_seconds_and_at_the_end(tally: Tally, clock: Clock) -> None:
    clock.now += 9.0
    tally.take(row("a", 1.0, 1.0))
    assert recorded(tally)["left"] == 10
    clock.now += 1.0
    tally.take(row("a", 1.0, 1.0))
    assert recorded(tally)["left"] == 8


def test_what_is_given_up_is_named_and_counted(
    tally: Tally, capsys: pytest.CaptureFixture[str]
) -> None:
    tally.take(row("a", 1.0, 0.0, problem="case c0: found a hole"))
    assert "quarantined: case c0: found a hole" in capsys.readouterr().err
    assert tally.tracker.note.endswith("1 quarantined")  # type: ignore[attr-defined]
    tally.record()
    assert recorded(tally)["quarantined"] == 2


def test_what_could_not_even_be_recorded_is_open_and_not_quarantined(
    tally: Tally, capsys: pytest.CaptureFixture[str]
) -> None:
    tally.take(row("a", 1.0, 0.0, problem="disk full"))
    assert "open: disk full" in capsys.readouterr().err
    tally.record()
    assert (recorded(tally)["quarantined"], recorded(tally)["committed"]) == (1, 9)


def test_the_last_figures_are_left_also_by_a_run_that_fails(tmp_path: Path) -> None:
    lake = Lake(tmp_path / "lake")

    def fail_after_one() -> None:
        with tally_of(lake, run_id="run", planned=5, todo=3, quarantined=1) as counted:
            counted.take(row("a", 1.0, 1.0))
            raise KeyError

    with pytest.raises(KeyError):
        fail_after_one()
    found = lake.storage.read_json(PROGRESS)
    assert (found["committed"], found["quarantined"], found["left"]) == (2, 1, 2)


def test_a_lake_that_cannot_be_written_to_does_not_end_the_count(
    tally: Tally, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: Any) -> None:
        raise ConnectionClosedError

    monkeypatch.setattr(tally.lake.storage, "write_json", full)
    tally.record()
    assert "warning: progress.json could not be written" in capsys.readouterr().err
