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
_NAMED = re.compile(rf"(?P<name>[^\W_][\w. -]{{0,{_LONGEST - 1}}})=(?P<place>.*)", re.DOTALL)
_UNNAMEABLE = re.compile(r"[^\w. -]+")


def parse_sets(given: Iterable[str]) -> dict[str, str]:
    """Return the places of sets by their names, in the order in which they are given.

    What stands before a `=` is a name unless it has a slash: a folder `lr=3` is `./lr=3`.

    Args:
        given: Texts `PLACE` or `NAME=PLACE`.

    Raises:
        UsageError: Two sets have one name, one has the real set's, or a place is empty.
    """
    sets: dict[str, str] = {}
    for text in given:
        found = _NAMED.fullmatch(text)
        name, place = found.group("name", "place") if found else (default_name(text), text)
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
        UsageError: A name is the real set's, or has other characters; or there is no set.
    """
    if not sets:
        raise UsageError("--synthetic: found no set; expected one or more. Give a lake.")
    for name in sets:
        if not _NAMED.fullmatch(f"{name}=") or name.casefold() == REAL:
            raise UsageError(
                f"--synthetic: found the name {name!r}; expected up to {_LONGEST} letters, digits, '.', '_', "
                f"'-' and spaces, and not {REAL!r}, which is the other set's. Give another NAME=PLACE."
            )


def default_name(place: str) -> str:
    """Return the name of a set after its folder; a manifest of its own is named after its file."""
    path = place.rstrip("/") if is_url(place) else os.path.abspath(place)
    folder, _, last = path.rpartition("/")
    if last == MANIFEST:
        last = folder.rpartition("/")[2]
    name = _UNNAMEABLE.sub("-", last.removesuffix(".parquet")).lstrip(" .-_")[:_LONGEST]
    return name if name and name.casefold() != REAL else "synthetic"
