"""Models that ship with the package: a checkpoint's folder each, named after the recipe that made it."""

from pathlib import Path

NAMES = ("demo",)
"""What `shipped` knows."""


def shipped(name: str) -> Path:
    """Return the checkpoint of a model that ships.

    Raises:
        ValueError: None has this name.
    """
    if name not in NAMES:
        raise ValueError(
            f"model {name!r}: none that ships has this name; known are {', '.join(NAMES)}"
        )
    return Path(__file__).parent / name
