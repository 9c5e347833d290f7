"""Fuzzing: bytes with mutations, a bounded number of them in the suite, or for as long as asked.

`FACTORY_FUZZ_SECONDS=600 pytest -k fuzz` goes on for ten minutes with other mutations each round.
"""

import os
import time
from collections.abc import Callable
from typing import TypeVar

from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

SECONDS_VARIABLE = "FACTORY_FUZZ_SECONDS"

Drawn = TypeVar("Drawn")


def fuzz(
    strategy: st.SearchStrategy[Drawn], check: Callable[[Drawn], None], *, examples: int
) -> None:
    """Call `check` with drawn values: one round of `examples`, or rounds until the time is over."""
    end = time.monotonic() + float(os.environ.get(SECONDS_VARIABLE, "0"))
    number = 0
    while number == 0 or time.monotonic() < end:
        given_check = given(strategy)(lambda value: check(value))
        bounded = settings(
            max_examples=examples,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        seed(number)(bounded(given_check))()
        number += 1


def mutated(original: bytes) -> st.SearchStrategy[bytes]:
    """Draw copies of bytes with some overwritten, cut out, put in or cut off."""
    place = st.integers(0, len(original))
    patch = st.one_of(
        st.binary(min_size=1, max_size=8),
        st.sampled_from(
            [b"\xff" * 4, b"\xfe\xff\xff\xff", b"\0" * 4, b"\xff\xff\xff\x7f", b"\xfe\xff\x00\xe0"]
        ),
    )
    edit = st.one_of(
        st.tuples(st.just("write"), place, patch),
        st.tuples(st.just("insert"), place, patch),
        st.tuples(st.just("cut"), place, st.integers(1, 64).map(bytes)),
        st.tuples(st.just("end"), place, st.just(b"")),
    )
    # Most files have one thing wrong; a cut end leaves little for others.
    return st.lists(edit, min_size=1, max_size=4).map(lambda edits: _edited(original, edits))


def _edited(original: bytes, edits: list[tuple[str, int, bytes]]) -> bytes:
    changed = bytearray(original)
    for kind, at, patch in edits:
        if kind == "write":
            changed[at : at + len(patch)] = patch
        elif kind == "insert":
            changed[at:at] = patch
        elif kind == "cut":
            del changed[at : at + len(patch)]
        else:
            del changed[at:]
    return bytes(changed)
