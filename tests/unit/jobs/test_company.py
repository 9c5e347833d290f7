"""A suspect works alone, and nobody waits for ever."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from jobs.generate.company import Company

SECONDS = 10.0


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_items_work_beside_each_other() -> None:
    company, met = Company(), threading.Barrier(2, timeout=SECONDS)

    def work() -> None:
        with company.join(alone=False):
            met.wait()

    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(work) for _ in range(2)]:
            done.result(SECONDS)


def test_a_suspect_waits_until_it_is_alone_and_nobody_joins_it() -> None:
    company = Company()
    go, order = threading.Event(), []

    def work(name: str, *, alone: bool) -> None:
        with company.join(alone=alone):
            order.append(f"{name} begins")
            if name == "first":
                go.wait(SECONDS)
            order.append(f"{name} ends")

    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(work, "first", alone=False)
        wait_for(lambda: bool(order))
        suspect = pool.submit(work, "suspect", alone=True)
        wait_for(lambda: bool(company._suspects))
        late = pool.submit(work, "late", alone=False)
        assert order == ["first begins"]
        go.set()
        for done in (first, suspect, late):
            done.result(SECONDS)
    # Whoever came after the suspect waited for it.
    assert order == [
        f"{who} {what}" for who in ("first", "suspect", "late") for what in ("begins", "ends")
    ]


def test_an_item_that_fails_lets_the_next_one_in() -> None:
    company = Company()
    for alone in (True, False, True):
        try:
            with company.join(alone=alone):
                raise ValueError("broken")
        except ValueError:
            pass
    with company.join(alone=True):
        assert company._inside == 1
