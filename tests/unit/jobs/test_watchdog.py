"""What hangs is ended, with its reason told; what is in time is left alone."""

import subprocess
import sys
import time
from pathlib import Path

from jobs.generate.watchdog import EXIT_STATUS, Patience, time_limit

SCRIPT = """
import sys, time
from pathlib import Path
from jobs.generate import watchdog

watchdog._SECONDS_TO_TELL = 0.2

def tell():
    Path(sys.argv[1]).write_text("late")
    if sys.argv[2] == "hang":
        time.sleep(60)

with watchdog.time_limit(0.2, tell):
    time.sleep(60)
"""


def run(told: Path, teller: str) -> int:
    script = [sys.executable, "-c", SCRIPT, str(told), teller]
    return subprocess.run(script, timeout=120, check=False).returncode


def test_a_step_that_never_ends_ends_its_process_and_tells_why(tmp_path: Path) -> None:
    assert run(tmp_path / "told", "quick") == EXIT_STATUS
    assert (tmp_path / "told").read_text() == "late"


def test_a_storage_that_hangs_too_does_not_keep_the_process(tmp_path: Path) -> None:
    assert run(tmp_path / "told", "hang") == EXIT_STATUS


def test_a_step_in_time_and_one_without_limit_are_left_alone() -> None:
    told: list[str] = []
    for seconds in (0.05, 0.0):
        with time_limit(seconds, lambda: told.append("late")):
            pass
    time.sleep(0.2)
    assert told == []


def test_a_limit_that_was_asked_for_holds_from_the_first_step() -> None:
    patience = Patience(30.0)
    assert patience.seconds == 30.0
    patience.saw(29.0)
    patience.saw_item()
    assert patience.seconds == 30.0


def test_without_one_a_step_may_take_far_longer_than_any_before_and_no_longer() -> None:
    patience = Patience(0.0)
    patience.saw(0.1)
    # A first draw on a CPU may take hours, and nothing is known of it yet.
    assert patience.seconds == 0.0
    patience.saw_item()
    assert patience.seconds == 600.0
    patience.saw(100.0)
    patience.saw(1.0)
    assert patience.seconds == 2000.0
