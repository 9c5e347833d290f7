"""Threads make examples ready ahead of the step, and change nothing about them."""

import threading
import time

import pytest
import torch

from factory.errors import StoreError
from jobs.train.examples import Example
from jobs.train.feed import Feed


class Counted:
    """Examples that say which step and slot they are of."""

    def __init__(self, seconds: float = 0.0, broken: tuple[int, int] | None = None) -> None:
        self.made: list[tuple[int, int]] = []
        self.threads: set[str] = set()
        self._seconds, self._broken = seconds, broken

    def example(self, step: int, slot: int) -> Example:
        if (step, slot) == self._broken:
            raise StoreError("volume p3.ome.zarr: found a torn chunk")
        # Later slots end first, unless somebody keeps their order.
        time.sleep(self._seconds / (1 + slot))
        self.made.append((step, slot))
        self.threads.add(threading.current_thread().name)
        tensor = torch.tensor([step, slot])
        return Example(x_start=tensor, condition=tensor, t=tensor, noise=tensor)


def drawn(feed: Feed) -> list[tuple[int, ...]]:
    return [tuple(example.t.tolist()) for example in feed.next()]


@pytest.mark.parametrize("num_loaders", [0, 1, 3])
def test_a_worker_gets_its_slots_of_each_step_in_order(num_loaders: int) -> None:
    with Feed(Counted(0.004), range(1, 6, 2), start=7, stop=12, num_loaders=num_loaders) as feed:
        found = [drawn(feed) for _ in range(5)]
    assert found == [[(step, 1), (step, 3), (step, 5)] for step in range(7, 12)]


def wait_for(source: Counted, num_made: int) -> None:
    deadline = time.monotonic() + 10.0
    while len(source.made) < num_made:
        assert time.monotonic() < deadline
        time.sleep(0.002)


def test_steps_are_made_ready_while_the_network_computes() -> None:
    source = Counted(0.05)
    with Feed(source, range(1), start=0, stop=20, num_loaders=2) as feed:
        feed.next()
        assert feed.waited > 0.02
        wait_for(source, 3)
        feed.next()
        assert feed.waited < 0.02
    assert all(name.startswith("loader") for name in source.threads)


def test_no_more_is_made_ready_than_a_few_steps() -> None:
    source = Counted()
    with Feed(source, range(2), start=0, stop=100, num_loaders=2) as feed:
        feed.next()
        wait_for(source, 6)
        time.sleep(0.02)
        assert sorted(source.made) == [(step, slot) for step in range(3) for slot in range(2)]


def test_nothing_is_made_ready_behind_the_last_step() -> None:
    source = Counted()
    with Feed(source, range(2), start=0, stop=2, num_loaders=2) as feed:
        feed.next()
        feed.next()
        with pytest.raises(ValueError, match=r"step 2 was asked for; the feed ends at 2"):
            feed.next()
    assert sorted(source.made) == [(0, 0), (0, 1), (1, 0), (1, 1)]


def test_without_loaders_a_step_waits_for_its_examples_and_says_how_long() -> None:
    source = Counted(0.02)
    with Feed(source, range(1), start=0, stop=2, num_loaders=0) as feed:
        assert source.made == []
        feed.next()
        assert feed.waited >= 0.02
    assert source.threads == {threading.main_thread().name}


@pytest.mark.parametrize("num_loaders", [0, 2])
def test_a_case_that_cannot_be_read_ends_the_step_that_needs_it_by_name(num_loaders: int) -> None:
    source = Counted(broken=(1, 0))
    with Feed(source, range(2), start=0, stop=3, num_loaders=num_loaders) as feed:
        feed.next()
        with pytest.raises(StoreError, match=r"volume p3\.ome\.zarr: found a torn chunk"):
            feed.next()


def test_a_training_that_ends_early_leaves_no_thread_behind() -> None:
    with (
        pytest.raises(FloatingPointError),
        Feed(Counted(0.01), range(4), start=0, stop=99, num_loaders=2),
    ):
        raise FloatingPointError
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("loader")]
