"""Processes below one of ours, to be killed by tests."""

import os
import random
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path


def commands_below(pid: int) -> dict[int, str]:
    """Return the command lines of the processes below one; words end in NUL."""
    parents: dict[int, int] = {}
    commands: dict[int, str] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            stat = (entry / "stat").read_text()
            commands[int(entry.name)] = (entry / "cmdline").read_bytes().decode()
        except (OSError, UnicodeDecodeError):
            continue
        parents[int(entry.name)] = int(stat.rpartition(")")[2].split()[1])
    return {child: line for child, line in commands.items() if pid in _above(child, parents)}


def kill_about(driver: "subprocess.Popen[bytes]", chance: random.Random, most: int) -> int:
    """Kill a few actors of a driver, then its raylet or itself; return how many were killed."""
    kills = 0
    while driver.poll() is None and kills < most:
        actors = children(driver.pid, "ray::MapWorker")
        if not actors:
            time.sleep(0.05)
            continue
        time.sleep(chance.uniform(0.0, 1.5))
        last = kills >= 3 or kills == most - 1
        victims = (children(driver.pid, "raylet") or [driver.pid]) if last else actors
        victim = driver.pid if last and chance.random() < 0.5 else chance.choice(victims)
        try:
            os.kill(victim, signal.SIGKILL)
        except ProcessLookupError:
            continue
        kills += 1
        if last:
            with suppress(subprocess.TimeoutExpired):
                driver.wait(timeout=20)
            driver.kill()
            break
    return kills


def children(pid: int, name: str) -> list[int]:
    """Return the processes below one whose command begins with a name."""
    return [
        child
        for child, line in commands_below(pid).items()
        if Path(line.partition("\0")[0]).name.startswith(name)
    ]


def _above(pid: int, parents: dict[int, int]) -> list[int]:
    found = []
    while pid := parents.get(pid, 0):
        found.append(pid)
    return found
