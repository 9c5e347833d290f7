"""A sweep on Ray that is killed, run twice at once, or has a run that cannot be: its tables stand."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from evaluations import real_set, relunged, scan, synthetic_set
from processes import commands_below

from jobs.amount import Amount
from jobs.downstream.config import DownstreamConfig
from jobs.downstream.results import read_run
from jobs.downstream.sweep import job
from jobs.downstream.sweep.folder import finished
from jobs.downstream.sweep.job import sweep
from jobs.downstream.sweep.mixes import parse_mixes
from jobs.mix import write_mix

pytestmark = [pytest.mark.ray, pytest.mark.slow]

DOWNSTREAM = (sys.executable, "-c", "from jobs.downstream.command import app; app()")
SPLITS = ["train"] * 4 + ["test"] * 2
RECIPE = """
[downstream]
steps = 3
num_loaders = 0
[downstream.network_args]
channels = [4, 8]
strides = [2]
"""
CONFIG = DownstreamConfig(steps=3, num_loaders=0, network_args={"channels": [4, 8], "strides": [2]})
RATIOS = "0,0.5,1"
NUM_RUNS = 6
SECONDS_TO_END = 300


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Four training phantoms and two that test, and a synthetic one of each of the four."""
    folder = tmp_path_factory.mktemp("mixed")
    cases = real_set(folder / "cases", SPLITS)
    lake = synthetic_set(folder / "lake", [(n, relunged(scan(n), n)) for n in range(4)])
    return write_mix([cases, lake], folder / "mix.parquet", Amount(extra=1.0))


@pytest.fixture(scope="module")
def calm(
    mixed: str, tmp_path_factory: pytest.TempPathFactory, ray_cluster: None
) -> dict[str, bytes]:
    """What a sweep tells that nothing disturbed."""
    out = tmp_path_factory.mktemp("calm") / "sweep"
    result = sweep(
        mixed, out, CONFIG, parse_mixes(RATIOS, None, extra=True), num_seeds=2, device="cpu"
    )
    assert (result.num_runs, result.num_failed) == (NUM_RUNS, 0)
    return tables_of(out)


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "small.toml"
    path.write_text(RECIPE)
    return path


def command(mixed: str, out: Path, recipe: Path) -> list[str]:
    return [
        *(*DOWNSTREAM, "sweep", "--manifest", mixed, "--out", str(out)),
        *("--ratios", RATIOS, "--extra", "--seeds", "2"),
        *("--recipe", str(recipe), "--device", "cpu"),
    ]


def tables_of(out: Path) -> dict[str, bytes]:
    """Return all that a sweep tells, by name."""
    files = [out / "figures.parquet", *(out / "tables").iterdir(), *out.glob("figure-*")]
    return {file.name: file.read_bytes() for file in files}


def scores_of(out: Path) -> list[Any]:
    return [read_run(run).cases for run in finished(out)]


def test_a_sweep_trains_its_runs_on_the_cluster(calm: dict[str, bytes]) -> None:
    assert set(calm) == {"figures.parquet", "table3.md", "figure-5a.png", "figure-5a.svg"}
    page = calm["table3.md"].decode()
    assert all(label in page for label in ("real-1", "extra-0.5", "extra-1"))


def test_three_kills_leave_the_tables_of_a_calm_sweep(
    mixed: str, tmp_path: Path, recipe: Path, calm: dict[str, bytes]
) -> None:
    """Driver and workers, each while runs are under way; the same command follows each end."""
    out, chance = tmp_path / "sweep", random.Random(3)
    with (tmp_path / "log").open("wb") as log:
        for victim in ("worker", "driver", "driver"):
            driver = subprocess.Popen(command(mixed, out, recipe), stdout=log, stderr=log)
            workers = _wait_for_workers(driver, tmp_path / "log")
            time.sleep(chance.uniform(0.0, 2.0))
            with suppress(ProcessLookupError):
                os.kill(driver.pid if victim == "driver" else workers[0], signal.SIGKILL)
            if victim == "worker":
                # Its run is tried again, in another process.
                assert driver.wait(SECONDS_TO_END) == 0, (tmp_path / "log").read_text()[-3000:]
                assert tables_of(out) == calm
                for run in finished(out)[:4]:
                    (run / "result.json").unlink()
            driver.wait(SECONDS_TO_END)
        ended = subprocess.run(
            command(mixed, out, recipe), stdout=log, stderr=log, timeout=SECONDS_TO_END
        )
    assert ended.returncode == 0, (tmp_path / "log").read_text()[-3000:]
    assert tables_of(out) == calm
    assert pq.read_table(out / "failed.parquet").num_rows == 0


def test_two_sweeps_at_once_do_not_harm_each_other(
    mixed: str, tmp_path: Path, recipe: Path, calm: dict[str, bytes]
) -> None:
    out = tmp_path / "sweep"
    drivers = [
        subprocess.Popen(
            command(mixed, out, recipe),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    told = [driver.communicate(timeout=SECONDS_TO_END) for driver in drivers]
    assert [driver.returncode for driver in drivers] == [0, 0], told
    assert [stdout for stdout, _ in told] == [f"{out / 'tables' / 'table3.md'}\n"] * 2
    assert tables_of(out) == calm
    assert list((out / "runs" / ".unfinished").iterdir()) == []


def test_a_run_that_ends_its_process_each_time_is_given_up_and_the_rest_is_told(
    mixed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, calm: dict[str, bytes]
) -> None:
    def deadly(spec: Any, working: str, device: str, num_threads: int | None) -> Any:
        import os
        import signal

        from jobs.downstream.sweep import task

        def die(spec: Any, *, device: str) -> None:
            os.kill(os.getpid(), signal.SIGKILL)

        if "extra-0.5-s0" in spec.out:
            task.fit_and_test = die
        return task.run_once(spec, working, device, num_threads)

    monkeypatch.setattr(job, "run_once", deadly)
    out = tmp_path / "sweep"
    result = sweep(
        mixed, out, CONFIG, parse_mixes(RATIOS, None, extra=True), num_seeds=2, device="cpu"
    )
    assert (result.num_runs, result.num_failed) == (NUM_RUNS - 1, 1)
    (message,) = pq.read_table(out / "failed.parquet")["message"].to_pylist()
    assert "run extra-0.5-s0-f0: its process ended 3 times" in message
    monkeypatch.undo()
    sweep(mixed, out, CONFIG, parse_mixes(RATIOS, None, extra=True), num_seeds=2, device="cpu")
    assert tables_of(out) == calm


def _wait_for_workers(driver: "subprocess.Popen[bytes]", log: Path) -> Sequence[int]:
    """Return the processes of a driver that train, once there are some."""
    deadline = time.monotonic() + SECONDS_TO_END
    while time.monotonic() < deadline and driver.poll() is None:
        if found := [
            pid for pid, line in commands_below(driver.pid).items() if "ray::run_once" in line
        ]:
            return found
        time.sleep(0.05)
    raise AssertionError(log.read_text()[-3000:])
