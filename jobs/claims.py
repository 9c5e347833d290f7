"""Who a folder belongs to: what was asked for when it was made, against what is asked for now."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from factory.storage import Storage


def differences(found: Mapping[str, Any], asked: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Return each setting that differs, as "train.seed was 0, is 1"; nested tables by their path."""
    texts = []
    for key in sorted(found.keys() | asked.keys()):
        was, now = (_as_read(side.get(key)) for side in (found, asked))
        if isinstance(was, Mapping) and isinstance(now, Mapping):
            texts += differences(was, now, f"{prefix}{key}.")
        elif was != now:
            texts.append(f"{prefix}{key} was {_text(was)}, is {_text(now)}")
    return texts


def names_in(folder: str | Path | Storage) -> list[str]:
    """Return the names in a folder, which need not be there, but for hidden ones and what is being written.

    What file managers leave, and what a killed process was writing, tell nothing of whose folder it is.
    """
    storage = folder if isinstance(folder, Storage) else Storage(folder)
    return [name for name in storage.names("") if name[0] != "."]


def _as_read(value: Any) -> Any:
    """Return what a JSON file makes of a value: it knows no tuples."""
    return list(value) if isinstance(value, tuple) else value


def _text(value: Any) -> str:
    return "absent" if value is None else str(value)
