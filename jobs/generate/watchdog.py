"""An end to what would never end: a time limit on an item, kept by another thread."""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

EXIT_STATUS = 75
"""Of a process that the watchdog ended."""

_SECONDS_TO_TELL = 10.0


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
