"""The cluster that a command starts for itself: which daemons it keeps."""

import os
import sys
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.ray,
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"),
]


def daemons() -> set[str]:
    """Return what this process has started and still runs: the names of programs and scripts."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = (folder / "stat").read_text().rpartition(")")[2].split()[1]
            words = (folder / "cmdline").read_text().split("\0")
        except OSError:
            continue
        if int(parent) == os.getpid():
            found |= {Path(word).name for word in words if not word.startswith("-")}
    return found


@pytest.mark.usefixtures("ray_cluster")
def test_no_daemon_reads_the_logs_that_nobody_is_shown() -> None:
    assert {"gcs_server", "raylet"} <= daemons()
    assert "log_monitor.py" not in daemons()
