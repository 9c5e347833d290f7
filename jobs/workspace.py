"""Where things are when no flag says so: `factory.toml` in the working directory.

recipe = "demo"
[paths]
cases = "/data/cases"
run = "runs/first"
lake = "s3://bucket/lake"
"""

import os
import re
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from factory.errors import UsageError
from factory.urls import check_url

SETTINGS_FILE = "factory.toml"

# A Path has one slash of the two.
_URL = re.compile(r"^[a-z][a-z0-9+.-]+:/")
_ONE_SLASH_OR_TWO = re.compile(r":/+")

_PATHS = ("cases", "run", "lake")


@dataclass(frozen=True, slots=True)
class Workspace:
    """What `factory.toml` says; each of it may be absent."""

    paths: dict[str, str] = field(default_factory=dict)
    recipe: str = ""


def place_of(name: str, given: str | None) -> str:
    """Return the path or URL that a flag gave, else the workspace's, else `name` itself.

    Raises:
        UsageError: It is empty, a URL with credentials in it, or one that lost a slash.
    """
    place = given if given is not None else _read().paths.get(name, name)
    if not place.strip():
        raise UsageError(f"{name}: found an empty name; expected a path or a URL. Give one.")
    if "://" in place:
        check_url(place)
        return place
    if _URL.match(place):
        raise UsageError(
            f"{_shown(name, place)}: found a URL with one slash; expected two, as s3://BUCKET/FOLDER. "
            "Correct it."
        )
    return str(Path(place))


def path_of(name: str, given: str | Path | None) -> Path:
    """Return the path that a flag gave, else the workspace's, else `name` itself.

    Raises:
        UsageError: It is a URL, where only a folder will do.
    """
    path = str(given) if given is not None else _read().paths.get(name, name)
    if "://" in path or _URL.match(path):
        raise UsageError(
            f"{_shown(name, path)}: found a URL; expected a path that every node sees. Mount the bucket, "
            "or copy it."
        )
    return Path(path)


def from_here(place: str) -> str:
    """Return a place as it is named in the working directory: what lies in it by its relative path."""
    if "://" in place or not place:
        return place
    relative = os.path.relpath(place)
    return place if relative.startswith(os.pardir) else relative


def is_named(name: str) -> bool:
    """Return whether the workspace says where something is."""
    return name in _read().paths


def recipe_of(given: str | None, default: str) -> str:
    """Return the recipe that a flag gave, else the workspace's, else the default."""
    return given or _read().recipe or default


def _shown(name: str, place: str) -> str:
    """Return a name with its place, if that may be repeated."""
    try:
        check_url(_ONE_SLASH_OR_TWO.sub("://", place, count=1))
    except UsageError:
        return name
    return f"{name} {place}"


def _read() -> Workspace:
    try:
        settings = tomllib.loads(Path(SETTINGS_FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return Workspace()
    except (OSError, ValueError) as error:
        raise UsageError(f"{SETTINGS_FILE}: found {error}; expected TOML. Correct it.") from error
    paths, recipe = settings.pop("paths", {}), settings.pop("recipe", "")
    _require("paths", paths, dict, "a table")
    unknown = [*settings, *(f"paths.{key}" for key in paths if key not in _PATHS)]
    if unknown:
        raise UsageError(
            f"{SETTINGS_FILE}: found key {unknown[0]}; expected recipe and "
            f"{', '.join(f'paths.{name}' for name in _PATHS)}. Correct the name."
        )
    _require("recipe", recipe, str, "a text")
    for key, value in paths.items():
        _require(f"paths.{key}", value, str, "a text")
    return Workspace(paths, recipe)


def _require(key: str, value: Any, kind: type, expected: str) -> None:
    if not isinstance(value, kind):
        raise UsageError(
            f"{SETTINGS_FILE}: found {key} = {value!r}; expected {expected}. Correct it."
        )
