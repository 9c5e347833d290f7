"""An end to what would never end: a time limit on an item, kept by another thread."""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

EXIT_STATUS = 75
"""Of a process that the watchdog ended."""

_SECONDS_TO_TELL = 10.0


_TIMES_THE_LONGEST = 20.0
_SECONDS_AT_LEAST = 600.0


class Patience:
    """How long a step may take: what was asked for, or far longer than any step so far.

    Args:
        max_seconds: As asked for; 0 means twenty times the longest step of this process, at least ten
            minutes, and no limit until a whole item has shown how long a step takes here.
    """

    def __init__(self, max_seconds: float) -> None:
        self._asked = max_seconds
        self._longest = 0.0
        self._is_known = False

    @property
    def seconds(self) -> float:
        """The limit of the next step; 0 means none."""
        if self._asked or not self._is_known:
            return self._asked
        return max(_SECONDS_AT_LEAST, _TIMES_THE_LONGEST * self._longest)

    def saw(self, seconds: float) -> None:
        """Take note of a step that came to its end."""
        self._longest = max(self._longest, seconds)

    def saw_item(self) -> None:
        """Take note of an item that came to its end: each kind of step was seen."""
        self._is_known = True


@contextmanager
def time_limit(seconds: float, tell: Callable[[], None]) -> Iterator[None]:
    """End this process if the block takes longer.

    A kernel or a read that hangs cannot be interrupted from Python, and leaves a process that
    nothing can be trusted in. Ray starts another, and tries the item again.

    Args:
        seconds: 0 means no limit.
        tell: Called before the end, to record the reason; it has ten seconds, for what hangs may be
            the storage that it writes to.
    """
    if not seconds:
        yield
        return
    timer = threading.Timer(seconds, end_process, args=(tell,))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def end_process(tell: Callable[[], None]) -> None:
    """End this process once the reason is recorded, or could not be.

    Args:
        tell: As in `time_limit`.
    """
    teller = threading.Thread(target=tell, daemon=True)
    teller.start()
    teller.join(_SECONDS_TO_TELL)
    os._exit(EXIT_STATUS)
