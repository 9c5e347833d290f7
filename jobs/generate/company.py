"""Who works in one process at a time: some items, or one suspect alone."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Company:
    """Lets items work beside each other, and a suspect by itself.

    A process that ends takes all of its items with it, and only of one that was alone can be said
    that it is to blame.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._inside = 0
        self._suspects = 0
        """Those that wait and the one that works: nobody else begins meanwhile."""

    @contextmanager
    def join(self, *, alone: bool) -> Iterator[None]:
        """Work for as long as the block runs, as soon as it may."""
        with self._changed:
            if alone:
                self._suspects += 1
                self._changed.wait_for(lambda: self._inside == 0)
            else:
                self._changed.wait_for(lambda: self._suspects == 0)
            self._inside += 1
        try:
            yield
        finally:
            with self._changed:
                self._inside -= 1
                self._suspects -= alone
                self._changed.notify_all()
