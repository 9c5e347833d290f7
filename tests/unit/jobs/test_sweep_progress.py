"""A sweep shows the steps of the runs that are at work, not their ends alone."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sweeps import CONFIG, MIXES

from jobs.downstream.sweep import job
from jobs.downstream.sweep.needs import Needs


def test_while_a_run_trains_its_steps_are_shown(
    sweep_source: str, trained: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[tuple[int, str]] = []
    rehearsed = job._ended

    def ended(todo: Any, aside: Path, needs: Needs) -> Iterator[Any]:
        going = aside / "real-1-s0-f0.0"
        going.mkdir()
        (going / "metrics.jsonl").write_text(json.dumps({"step": 1}) + "\n")
        yield None
        # What a run that ended left is not at work.
        yield from rehearsed(todo, aside, needs)

    @contextmanager
    def progress(title: str, total: int) -> Iterator[Any]:
        yield SimpleNamespace(update=lambda done, note="": shown.append((done, note)))

    monkeypatch.setattr(job, "_ended", ended)
    monkeypatch.setattr(job, "progress", progress)
    job.sweep(sweep_source, tmp_path / "out", CONFIG, MIXES, num_seeds=1)
    assert shown[0] == (0, "real-1-s0-f0 at step 1 of 2")
    assert [done for done, _ in shown[1:]] == list(range(1, len(trained) + 1))
    assert shown[-1] == (len(trained), "")


def test_who_waits_for_runs_looks_up_in_between(monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    waits = iter([([], ["a"]), ([], ["a"]), (["a"], [])])

    def remote(**_: Any) -> Any:
        return lambda _: SimpleNamespace(remote=lambda *_: "a")

    monkeypatch.setattr(ray, "remote", remote)
    monkeypatch.setattr(ray, "wait", lambda running, timeout: next(waits))
    monkeypatch.setattr(ray, "get", lambda _: None)
    spec: Any = SimpleNamespace(out="runs/real-1-s0-f0")
    needs = Needs(num_cpus=1, num_gpus=0, memory=1, is_clamped=False)
    assert list(job._ended([spec], Path("aside"), needs)) == [None, None, (spec, None)]
