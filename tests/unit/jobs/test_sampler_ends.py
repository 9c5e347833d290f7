"""What ends a process, and which item is to blame for it."""

import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any

import pytest
import torch
from sampler_bench import (
    CONFIG,
    RUN,
    Bench,
    MakeBench,
)

from jobs.generate import actor, blame, volume_sampler
from jobs.generate.watchdog import EXIT_STATUS


def test_an_item_that_keeps_ending_its_process_is_given_up(bench: Bench) -> None:
    work_id = bench.items["c0"].work_id
    for _ in range(CONFIG.max_attempts):
        bench.lake.attempts.start(work_id, RUN)
    row = bench.draw("c0")

    assert row["committed"] is False
    assert row["problem"] == (
        f"case c0: work item {work_id} ended its process 3 times; expected a volume. Give the actor "
        "more memory and run again, or leave the case out."
    )
    reason = bench.reason("c0")
    assert (reason["attempts"], reason["retriable"], reason["run_id"]) == (3, True, RUN)
    assert bench.lake.storage.names("volumes") == []


def test_attempts_of_other_runs_and_one_less_than_too_many_do_not_count(bench: Bench) -> None:
    work_id = bench.items["c0"].work_id
    for _ in range(5):
        bench.lake.attempts.start(work_id, "another-run")
    for _ in range(CONFIG.max_attempts - 1):
        bench.lake.attempts.start(work_id, RUN)
    assert bench.draw("c0")["committed"]


def test_a_poisoned_gpu_ends_the_actor_and_not_the_item(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def poison(*_: Any, **__: Any) -> None:
        raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered")

    ended: list[int] = []

    def end(status: int) -> None:
        ended.append(status)
        raise SystemExit(status)

    monkeypatch.setattr(volume_sampler, "assess", poison)
    monkeypatch.setattr("jobs.generate.watchdog.os._exit", end)
    with pytest.raises(SystemExit):
        bench.draw("c0")
    assert ended == [EXIT_STATUS]
    assert bench.lake.quarantined_ids() == set()
    (died,) = bench.lake.attempts.died(bench.items["c0"].work_id, RUN)
    assert died.ended.startswith("the device failed: CUDA error: an illegal memory access")


def test_deaths_in_company_and_on_lost_nodes_are_not_the_items_fault(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    work_id = bench.items["c0"].work_id
    for _ in range(CONFIG.max_attempts):
        bench.lake.attempts.start(work_id, RUN, alone=False)
        bench.lake.attempts.start(work_id, RUN, node_id="gone")
    monkeypatch.setattr(blame, "lost_nodes", lambda: {"gone"})
    assert bench.draw("c0")["committed"]
    assert bench.lake.attempts.died(work_id, RUN) == []


def test_what_takes_whole_nodes_with_it_is_given_up_in_the_end(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(4 * CONFIG.max_attempts):
        bench.lake.attempts.start(bench.items["c0"].work_id, RUN, node_id="gone")
    monkeypatch.setattr(blame, "lost_nodes", lambda: {"gone"})
    problem = bench.draw("c0")["problem"]
    assert "ended its process 12 times with nodes that were lost; expected a volume" in problem


def test_an_item_that_died_once_is_tried_alone_and_a_new_one_is_not(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, bool] = {}
    start = bench.lake.attempts.start

    def watch(item: str, run: str, *, node_id: str, alone: bool) -> Any:
        asked[item] = alone
        return start(item, run, node_id=node_id, alone=alone)

    monkeypatch.setattr(bench.sampler._lake.attempts, "start", watch)
    suspect, new = bench.items["c0"].work_id, bench.items["c1"].work_id
    start(suspect, RUN, alone=False)
    bench.draw("c0")
    bench.draw("c1")
    assert asked == {suspect: True, new: False}


def test_a_step_that_was_too_slow_each_time_says_so(bench: Bench) -> None:
    work_id = bench.items["c0"].work_id
    for _ in range(CONFIG.max_attempts):
        attempt = bench.lake.attempts.start(work_id, RUN)
        bench.lake.attempts.end(attempt, "a step of it ran longer than 30 s")
    problem = bench.draw("c0")["problem"]
    assert "ended its process 3 times (a step of it ran longer than 30 s)" in problem
    assert "Give it more time (max_seconds of [generate])" in problem


@pytest.mark.parametrize(("failures", "committed"), [(1, True), (2, False)])
def test_a_full_device_gets_a_second_try_with_an_empty_cache(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, failures: int, committed: bool
) -> None:
    left = [torch.OutOfMemoryError("CUDA out of memory")] * failures
    sample = bench.sampler._sampler.sample

    def run_out(*given: Any) -> Any:
        if left:
            raise left.pop()
        return sample(*given)

    monkeypatch.setattr(bench.sampler._sampler, "sample", run_out)
    row = bench.draw("c0")
    assert row["committed"] is committed
    if not committed:
        assert "ran out of memory, also with an empty cache" in row["problem"]
        assert "--precision bfloat16" in row["problem"]
        record = bench.reason("c0")
        assert (record["error_class"], record["retriable"]) == ("OutOfMemoryError", True)


def test_a_step_beyond_its_time_is_recorded_before_the_process_ends(
    make_bench: MakeBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = make_bench(config=replace(CONFIG, max_seconds=0.2))
    ended: list[int] = []
    monkeypatch.setattr("jobs.generate.watchdog.os._exit", ended.append)
    monkeypatch.setattr(bench.sampler._sampler, "sample", lambda *_: time.sleep(1.0))
    told: list[str] = []
    monkeypatch.setattr(
        bench.sampler._lake.attempts, "end", lambda attempt, reason: told.append(reason)
    )
    bench.draw("c0")
    assert ended == [EXIT_STATUS]
    assert told == ["a step of it ran longer than 0.2 s"]


def test_the_first_item_shows_how_long_a_step_takes(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits: list[float] = []

    def note(seconds: float, tell: Any) -> AbstractContextManager[None]:
        limits.append(seconds)
        return nullcontext()

    monkeypatch.setattr(actor, "time_limit", note)
    bench.draw("c0")
    bench.draw("c1")
    half = len(limits) // 2
    assert limits == [0.0] * half + [600.0] * half
    assert half == 4
