"""How a doctor times reverse steps: as many actors at once as there are, and for no longer than it may."""

import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from jobs.doctor import pace
from jobs.generate.config import GenerateConfig
from models.checkpoint import load_checkpoint

CPU = torch.device("cpu")
GIB = 2**30


@pytest.fixture(autouse=True)
def _threads_stay():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def pace_of(*ends: float) -> pace.Pace:
    return pace.Pace(CPU, seconds=0.0, ends=list(ends))


def clock(patch: pytest.MonkeyPatch, seconds_a_step: float) -> None:
    """Make a step take so long; each thread has a clock of its own."""
    own = threading.local()

    def tick() -> float:
        own.now = getattr(own, "now", -seconds_a_step) + seconds_a_step
        return float(own.now)

    patch.setattr(pace, "time", SimpleNamespace(perf_counter=tick))


def timed(model: Path, num_actors: int) -> list[pace.Pace]:
    return list(pace.benchmark(load_checkpoint(model), GenerateConfig(steps=2), CPU, num_actors))


def test_the_first_step_warms_up_and_does_not_count() -> None:
    found = pace_of(0.0, 10.0, 11.0, 13.0)
    assert (found.num_steps, found.seconds_a_step) == (2, 1.5)


def test_a_step_that_took_all_the_time_counts_alone() -> None:
    found = pace_of(0.0, 60.0)
    assert (found.num_steps, found.seconds_a_step) == (1, 60.0)


def test_a_benchmark_ends_with_the_step_in_which_its_time_is_up(
    model_16: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It draws on after a volume's two steps; the one alone has taken one second of the five."""
    clock(monkeypatch, seconds_a_step=1.0)
    (found,) = timed(model_16, num_actors=1)
    assert found.taken == pytest.approx(4.0)
    assert (found.num_steps, found.seconds_a_step) == (3, 1.0)


def test_as_many_actors_draw_at_once_as_there_are(
    model_16: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each beside the others: alone, one is faster where two CPUs are threads of one core."""
    clock(monkeypatch, seconds_a_step=1.0)
    together = threading.Barrier(3, timeout=60)
    drawn = pace._drawn

    def meet(*given):
        if given[2].seconds:
            together.wait()
        return drawn(*given)

    monkeypatch.setattr(pace, "_drawn", meet)
    assert len(timed(model_16, num_actors=3)) == 3


def test_a_step_that_takes_all_the_time_leaves_none_for_other_actors(
    model_16: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock(monkeypatch, seconds_a_step=60.0)
    (found,) = timed(model_16, num_actors=2)
    assert (found.num_steps, found.seconds_a_step) == (1, 60.0)


@pytest.mark.parametrize(
    ("left", "count"),
    [(float("inf"), pace.MOST_AT_ONCE), (3.1 * GIB, 3), (0.5 * GIB, 1)],
)
def test_no_more_actors_draw_at_once_than_half_of_the_memory_holds(
    left: float, count: int, model_16: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An actor of half a GiB, by how the most that the process has had grows."""
    clock(monkeypatch, seconds_a_step=1.0)
    peaks = iter([1.0 * GIB, 1.5 * GIB])
    monkeypatch.setattr(pace, "_peak_bytes", lambda: next(peaks))
    monkeypatch.setattr(pace, "memory_left", lambda: left)
    assert len(timed(model_16, num_actors=64)) == count
