"""Which sets `--synthetic` names: NAME=PLACE each, or PLACE with the name of its folder."""

import os
import re
from collections.abc import Iterable, Mapping

from factory.errors import UsageError
from factory.lake import MANIFEST
from manifests.read import is_url

REAL = "real"
"""Of the real set in tables, and of its floors; no other set's."""

_LONGEST = 64
_LONGEST_BYTES = 200
"""In UTF-8: pictures are named after sets, and the name of a file is of 255 at most."""

_NAME = re.compile(rf"[^\W_](?:[\w. -]{{0,{_LONGEST - 2}}}[\w.-])?")
_UNNAMEABLE = re.compile(r"[^\w. -]+")
_ALLOWED = (
    f"up to {_LONGEST} letters, digits, '.', '_', '-' and spaces, of {_LONGEST_BYTES} bytes at most, and not "
    f"{REAL!r}, which is the other set's"
)


def parse_sets(given: Iterable[str]) -> dict[str, str]:
    """Return the places of sets by their names, in the order in which they are given.

    What stands before a `=` is a name unless it has a slash: a folder `lr=3` is `./lr=3`.

    Args:
        given: Texts `PLACE` or `NAME=PLACE`.

    Raises:
        UsageError: Two sets have one name, a name is none that a set can have, or a place is empty.
    """
    sets: dict[str, str] = {}
    for text in given:
        name, place = _parted(text)
        if not place:
            raise UsageError(
                f"--synthetic {text!r}: found no place; expected PLACE or NAME=PLACE. Add the folder."
            )
        if other := next((one for one in sets if one.casefold() == name.casefold()), None):
            raise UsageError(
                f"--synthetic {text}: found two sets named {name} ({sets[other]} is the other); expected a "
                "name each. Give NAME=PLACE."
            )
        sets[name] = place
    check_names(sets)
    return sets


def check_names(sets: Mapping[str, str]) -> None:
    """Refuse names that tables and files cannot bear.

    Raises:
        UsageError: A name is the real set's, is too long, or has other characters; or there is no set.
    """
    if not sets:
        raise UsageError("--synthetic: found no set; expected one or more. Give a lake.")
    for name in sets:
        if not _is_name(name) or name.casefold() == REAL:
            raise UsageError(
                f"--synthetic: found the name {name!r}; expected {_ALLOWED}. Give another NAME=PLACE."
            )


def default_name(place: str) -> str:
    """Return the name of a set after its folder; a manifest of its own is named after its file."""
    path = place.rstrip("/") if is_url(place) else os.path.abspath(place)
    folder, _, last = path.rpartition("/")
    if last == MANIFEST:
        last = folder.rpartition("/")[2]
    name = _UNNAMEABLE.sub("-", last.removesuffix(".parquet")).lstrip(" .-_")[:_LONGEST]
    name = name.encode()[:_LONGEST_BYTES].decode(errors="ignore").rstrip(" ")
    return name if name and name.casefold() != REAL else "synthetic"


def _parted(text: str) -> tuple[str, str]:
    """Return name and place of a set as it was given.

    Raises:
        UsageError: Nothing is there, and it may be that a name was meant that is none.
    """
    head, equals, rest = text.partition("=")
    name = head.strip()
    # As a name whatever its bytes are: that it is too long is told of it, and not of a folder.
    is_named = bool(equals) and bool(_NAME.fullmatch(name))
    place = rest if is_named else text
    if "=" in place and not is_url(place) and not os.path.exists(place):
        raise UsageError(
            f"--synthetic {text!r}: found nothing at {place!r}; expected a folder or manifest that is there, or "
            f"NAME=PLACE with a name of {_ALLOWED}. Correct the path, or the name."
        )
    return (name if is_named else default_name(text)), place


def _is_name(text: str) -> bool:
    return bool(_NAME.fullmatch(text)) and len(text.encode()) <= _LONGEST_BYTES
