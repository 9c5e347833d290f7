"""What has no end in a folder of files, pipes and devices; and folders that are closed."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

KINDS = ("pipe", "device")


def write_endless(path: Path, kind: str) -> Path:
    """Make a pipe, or a link to a device that is read without end."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero")
    return path


def close_folder(patch: pytest.MonkeyPatch, folder: Path) -> None:
    """Keep everybody from listing a folder, root too, whom its mode would not keep."""
    scandir = os.scandir

    def refused(path: str) -> object:
        if Path(path) == folder:
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    folder.mkdir(parents=True, exist_ok=True)
    patch.setattr(os, "scandir", refused)


@contextmanager
def not_for_ever(seconds: float = 5.0) -> Iterator[None]:
    """Fail a test whose code waits, or reads, without end."""

    def late(*_: object) -> None:
        pytest.fail(f"it was still busy after {seconds:g} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)
