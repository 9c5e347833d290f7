"""What a process of its own notes of an ingest: apart from tests, whose imports it need not wait for."""

from pathlib import Path
from typing import Any

from jobs.ingest.private import Private


def note_thirty(folder: Path, name: str, both_are_up: Any) -> None:
    """Note thirty inputs, one after the other, once the other process is up."""
    both_are_up.wait()
    for index in range(30):
        Private(folder).note({f"{name}{index}": "/scans"})
