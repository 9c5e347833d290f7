"""Files that appear whole or not at all: written beside their place, then put into it."""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def written_aside(path: Path) -> Iterator[Path]:
    """Give a name in a file's folder to write to; at the end it takes the file's place.

    Where writing fails, nothing is left of it, and a file that was there stays as it was.

    Args:
        path: The file; its folder is made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not the file's own name and more: that may be as long as a name can be.
    aside = path.with_name(f".{uuid.uuid4().hex}.unfinished")
    try:
        yield aside
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)


def write_text_aside(text: str, path: Path) -> None:
    """Write or replace a file of UTF-8 text."""
    with written_aside(path) as aside:
        aside.write_text(text, encoding="utf-8")
