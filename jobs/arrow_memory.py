"""Where Arrow takes a driver's memory from."""

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def from_the_system() -> Iterator[None]:
    """Let Arrow allocate from the system, which what is freed returns to; also a decorator.

    Arrow's own pool keeps it, in segments for each thread that has read or written a table: of a plan
    and a manifest of 10,000 rows, which are 15 MB, some 50 MiB more.
    """
    import pyarrow as pa

    before = pa.default_memory_pool()
    pa.set_memory_pool(pa.system_memory_pool())
    try:
        yield
    finally:
        pa.set_memory_pool(before)
