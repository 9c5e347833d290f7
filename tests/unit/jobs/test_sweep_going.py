"""How far the runs of a sweep are, while they are at work."""

import json
from pathlib import Path

from jobs.downstream.sweep.going import steps_of


def at_work(folder: Path, name: str, step: int) -> None:
    (folder / name).mkdir()
    (folder / name / "metrics.jsonl").write_text(json.dumps({"step": step, "loss": 1.0}) + "\n")


def test_the_furthest_runs_are_named_with_their_steps(tmp_path: Path) -> None:
    at_work(tmp_path, "real-1-s0-f0.0", 12)
    at_work(tmp_path, "extra-0.25-s0-f0.1", 1_500)
    (tmp_path / "real-1-s1-f0.0").mkdir()
    assert steps_of(tmp_path, 2_000) == [
        "extra-0.25-s0-f0 at step 1,500 of 2,000",
        "real-1-s0-f0 at step 12 of 2,000",
    ]


def test_of_many_runs_four_are_named(tmp_path: Path) -> None:
    for seed in range(6):
        at_work(tmp_path, f"real-1-s{seed}-f0.0", seed + 1)
    told = steps_of(tmp_path, 9)
    assert (len(told), told[0], told[-1]) == (5, "real-1-s5-f0 at step 6 of 9", "2 more")


def test_a_run_whose_process_ended_is_named_once_where_it_is_now(tmp_path: Path) -> None:
    at_work(tmp_path, "real-1-s0-f0.0", 180)
    at_work(tmp_path, "real-1-s0-f0.1", 7)
    assert steps_of(tmp_path, 200) == ["real-1-s0-f0 at step 7 of 200"]


def test_runs_that_have_ended_are_not_at_work_whatever_they_left(tmp_path: Path) -> None:
    at_work(tmp_path, "real-1-s0-f0.2", 57)
    at_work(tmp_path, "real-1-s1-f0.0", 7)
    at_work(tmp_path, "somebody", 9)
    told = steps_of(tmp_path, 200, ended={"real-1-s0-f0"})
    assert told == ["real-1-s1-f0 at step 7 of 200"]
