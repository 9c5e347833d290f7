"""A check in a process of its own: one that hangs or dies takes nothing with it.

its module and flags --> child --a line a finding--> FILE --> its findings, and how it ended
"""

import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from jobs.doctor.asked import Asked
from jobs.doctor.finding import Finding, problem

Check = Callable[[Asked], Iterator[Finding]]

_CHILD = "from jobs.doctor.alone import child; child()"
_ENDS_OF_PROGRAMS = 3
"""Exit status of a child whose check raised, which its last line tells of."""

_LONGEST = 300
"""Letters of what a check that failed is quoted with: torch may name every tensor of a file."""


@dataclass(frozen=True, slots=True)
class Named:
    """A check by name, for it is imported where it runs."""

    title: str
    """What people call it."""

    function: str
    """`package.module:function`."""

    seconds: float = 60.0
    """Longest that it may take."""

    when_silent: str = (
        "Check that what it needs is reached from here, and is not busy; then ask again."
    )
    """What to do where it took longer."""


def run_here(named: Named, asked: Asked) -> Iterator[Finding]:
    """Run a check in this process; what it raises is told, and goes no further."""
    try:
        yield from _imported(named.function)(asked)
    except Exception as error:
        yield _failed(named.title, f"{type(error).__name__}: {error}")


def run_alone(named: Named, asked: Asked) -> Iterator[Finding]:
    """Run a check in another process, and end that where it takes too long.

    Yields:
        What it found, also before it died or was ended, and then how that was.
    """
    try:
        with tempfile.TemporaryDirectory(prefix="factory-doctor-") as folder:
            found, said = Path(folder, "found"), Path(folder, "said")
            found.touch()
            status = _run(named, asked, found, said)
            lines, last = found.read_text(encoding="utf-8").splitlines(), _last_line(said)
    except OSError as error:
        yield problem(
            f"{named.title}, temporary folder",
            f"{type(error).__name__}: {error}",
            "a folder that can be written to, with free space",
            "Make room there, or name another one with TMPDIR; then ask again.",
        )
        return
    for line in lines:
        try:
            yield Finding.from_json(json.loads(line))
        except (ValueError, TypeError, KeyError):
            yield _failed(named.title, f"what it wrote is cut off after {len(line)} letters")
    if status is None:
        yield problem(
            named.title,
            f"no answer within {named.seconds:g} s",
            "one",
            named.when_silent,
        )
    elif status == _ENDS_OF_PROGRAMS:
        yield _failed(named.title, last)
    elif status:
        how = f"signal {-status} ({_signal_name(-status)})" if status < 0 else f"status {status}"
        yield problem(
            named.title,
            f"its process ended with {how}" + (f": {last}" if last else ""),
            "a check that runs to its end",
            "Install the package that it loads again, for this machine; or give it more memory, where "
            "it was killed.",
        )


def child() -> None:
    """Run the check that the arguments name: what `run_alone` starts."""
    _, function, asked, found = sys.argv
    try:
        with Path(found).open("a", encoding="utf-8") as file:
            for finding in _imported(function)(Asked.from_text(asked)):
                file.write(json.dumps(finding.as_json()) + "\n")
                file.flush()
    except Exception as error:
        sys.stderr.write(f"\n{type(error).__name__}: {' '.join(str(error).split())}\n")
        sys.stderr.flush()
        os._exit(_ENDS_OF_PROGRAMS)
    # What a library says or waits for at its own end is of no interest.
    os._exit(0)


def _run(named: Named, asked: Asked, found: Path, said: Path) -> int | None:
    """Return the exit status of a child, as `subprocess` has it; None where it was ended."""
    # -P: a torch.py in the working directory is not ours.
    arguments = [sys.executable, "-P", "-c", _CHILD, named.function, asked.to_text(), str(found)]
    with (
        said.open("wb") as stderr,
        subprocess.Popen(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            start_new_session=True,
        ) as process,
    ):
        try:
            return process.wait(named.seconds)
        except subprocess.TimeoutExpired:
            return None
        finally:
            if process.poll() is None:
                # Its children too; it is not waited for yet, so the number is still its own.
                os.killpg(process.pid, signal.SIGKILL)


def _imported(function: str) -> Check:
    module, _, name = function.partition(":")
    check: Check = getattr(importlib.import_module(module), name)
    return check


def _failed(title: str, how: str) -> Finding:
    # No warning: what a check cannot do, the factory may not be able to do either.
    return problem(
        title,
        f"this check failed itself, and says nothing: {how[:_LONGEST]}",
        "a check that runs",
        "Look for a limit of this machine (memory, ulimit, /proc, space for temporary files); where there is "
        "none, report it with this line.",
    )


def _last_line(said: Path) -> str:
    lines = said.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1] if lines else ""


def _signal_name(number: int) -> str:
    return signal.Signals(number).name if number in set(signal.Signals) else "unknown"
