"""Examples made ready by threads while the network computes."""

import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Generic, Protocol, Self, TypeVar

import torch

from jobs.train.config import TrainConfig

_STEPS_AHEAD = 2
"""At the least: a step that is being made ready beside one that waits."""


class Pinnable(Protocol):
    """What a slot of a step trains on."""

    def pinned(self) -> Self:
        """Return it in pinned memory."""


ExampleT = TypeVar("ExampleT", bound=Pinnable)
ExampleT_co = TypeVar("ExampleT_co", bound=Pinnable, covariant=True)


class Source(Protocol[ExampleT_co]):
    """Where examples come from; see `jobs.train.examples.Examples`."""

    def example(self, step: int, slot: int) -> ExampleT_co:
        """Return what a slot of a step trains on; any thread may ask."""


class Feed(Generic[ExampleT]):
    """Hands out the examples of one worker, step by step, in order.

    Threads and not processes: what takes long (reading, resampling, noise) leaves the interpreter
    to others, and cases stay in memory once.

    Args:
        examples: Where they come from.
        slots: This worker's slots of each step.
        start: First step.
        stop: Step after the last; nothing is prepared from there on.
        num_loaders: Threads; with 0 a step's examples are made when they are asked for.
        pin: Put them into pinned memory, from where copies to a GPU do not hold the host up.

    Attributes:
        waited: Seconds that the last `next` took.
    """

    def __init__(
        self,
        examples: Source[ExampleT],
        slots: Sequence[int],
        *,
        start: int,
        stop: int,
        num_loaders: int,
        pin: bool = False,
    ) -> None:
        self.waited = 0.0
        self._examples = examples
        self._slots = slots
        self._next_step, self._stop = start, stop
        # A thread begins on the first GPU, which may be another's.
        self._pin_for = torch.cuda.current_device() if pin else None
        self._pool = ThreadPoolExecutor(num_loaders, "loader") if num_loaders else None
        self._ahead = max(_STEPS_AHEAD, 1 + -(-num_loaders // max(1, len(slots))))
        self._waiting: deque[list[Future[ExampleT]]] = deque()

    def __enter__(self) -> Self:
        self._prepare()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def next(self) -> list[ExampleT]:
        """Return the examples of the next step, in the order of the slots.

        Raises:
            FactoryError: A case cannot be read or made ready; it is named.
            ValueError: There is no further step.
        """
        begin = time.monotonic()
        if self._pool is None:
            step = self._take()
            found = [self._make(step, slot) for slot in self._slots]
        else:
            self._prepare()
            if not self._waiting:
                self._take()
            found = [future.result() for future in self._waiting.popleft()]
            self._prepare()
        self.waited = time.monotonic() - begin
        return found

    def _prepare(self) -> None:
        while (
            self._pool is not None
            and len(self._waiting) < self._ahead
            and self._next_step < self._stop
        ):
            step = self._take()
            self._waiting.append([self._pool.submit(self._make, step, s) for s in self._slots])

    def _take(self) -> int:
        if self._next_step >= self._stop:
            raise ValueError(f"step {self._next_step} was asked for; the feed ends at {self._stop}")
        self._next_step += 1
        return self._next_step - 1

    def _make(self, step: int, slot: int) -> ExampleT:
        example = self._examples.example(step, slot)
        if self._pin_for is None:
            return example
        with torch.cuda.device(self._pin_for):
            return example.pinned()


def feed_of(
    config: TrainConfig,
    examples: Source[ExampleT],
    slots: Sequence[int],
    *,
    start: int,
    device: torch.device,
) -> Feed[ExampleT]:
    """Return the feed of one worker of a run.

    Args:
        config: The recipe.
        examples: Where they come from.
        slots: The worker's slots of each step.
        start: First step.
        device: Of the worker's network.
    """
    return Feed(
        examples,
        slots,
        start=start,
        stop=config.steps,
        num_loaders=config.num_loaders,
        pin=device.type == "cuda",
    )
