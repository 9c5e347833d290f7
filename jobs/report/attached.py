"""Tables and pictures that `factory evaluate` and `factory downstream` left in their folders.

tables/*.md and known pictures, each only if it is a sound file of a sensible size
"""

import base64
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from factory.errors import UsageError
from factory.lake import MANIFEST

_MOST_TABLE_BYTES = 1_000_000
_MOST_PICTURE_BYTES = 3_000_000
_PNG = b"\x89PNG\r\n\x1a\n"
_EVALUATION_PICTURES = ("mds.png", "worst_pairs*.png")
_DOWNSTREAM_PICTURES = ("figure-5a.png", "figure-5b.png")
_MOST_PICTURES = 6
_MOST_NAMED = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class Attached:
    """What a folder of results has for the page."""

    folder: str
    tables: Sequence[str]
    """Markdown."""
    pictures: Sequence[tuple[str, str]]
    """Names, and PNGs as base64."""
    problems: Sequence[str]


def evaluation_in(folder: Path, lake: str) -> Attached:
    """Return what `factory evaluate` left in a folder, with a remark if it is of other lakes.

    Args:
        folder: That it wrote.
        lake: Absolute path or URL of the lake that the page is on.

    Raises:
        UsageError: It has no tables.
    """
    found = _attached(folder, "--evaluation", "factory evaluate", _EVALUATION_PICTURES)
    named = _names(folder)
    if not named or _is_of(folder, lake):
        return found
    others = ", ".join(named[:_MOST_NAMED])
    remark = (
        f"evaluation.json names {others} and not this lake: its figures may be of other volumes"
    )
    return replace(found, problems=[*found.problems, remark])


def downstream_in(folder: Path) -> Attached:
    """Return what `factory downstream` or its sweep left in a folder.

    Raises:
        UsageError: It has no tables.
    """
    return _attached(folder, "--downstream", "factory downstream", _DOWNSTREAM_PICTURES)


def find_evaluation(lake: str) -> Path | None:
    """Return the folder `evaluation` in a local lake or beside it, if it is of this very lake."""
    if "://" in lake:
        return None
    beside = (Path(lake, "evaluation"), Path(lake).parent / "evaluation")
    return next((folder for folder in beside if _is_of(folder, lake)), None)


def _is_of(folder: Path, lake: str) -> bool:
    """Tell whether one of the sets that were evaluated is this lake, or its manifest."""
    # Relative ones began where the command ran: beside the folder, or here.
    starts = (folder.resolve().parent, Path.cwd())
    places = [os.path.normpath(start / name) for name in _names(folder) for start in starts]
    return not {lake, f"{lake}/{MANIFEST}"}.isdisjoint((*places, *_names(folder)))


def _names(folder: Path) -> list[str]:
    """Return the places of the sets that were evaluated, as they were given."""
    try:
        file = folder / "evaluation.json"
        if not file.is_file() or file.stat().st_size > _MOST_TABLE_BYTES:
            return []
        sets = json.loads(file.read_bytes())["sets"].values()
        return [str(one["place"]) for one in sets]
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return []


def _attached(folder: Path, flag: str, verb: str, pictures: Sequence[str]) -> Attached:
    tables, problems = list[str](), list[str]()
    for file in sorted(folder.glob("tables/*.md")):
        if (content := _read(file, _MOST_TABLE_BYTES, problems)) is not None:
            tables.append(content.decode("utf-8", "replace"))
    if not tables:
        found = "; ".join(problems) or "no tables/*.md"
        raise UsageError(
            f"{flag} {folder}: found {found}; expected a folder that `{verb}` wrote. Run it first, or "
            "correct the path."
        )
    return Attached(
        folder=str(folder),
        tables=tables,
        pictures=list(_pictures(folder, pictures, problems)),
        problems=problems,
    )


def _pictures(folder: Path, names: Sequence[str], problems: list[str]) -> Iterator[tuple[str, str]]:
    files = [file for name in names for file in sorted(folder.glob(name))]
    for file in files[:_MOST_PICTURES]:
        content = _read(file, _MOST_PICTURE_BYTES, problems)
        if content is None:
            continue
        if content.startswith(_PNG):
            yield file.name, base64.b64encode(content).decode("ascii")
        else:
            problems.append(f"{file}: found no PNG; left out")


def _read(file: Path, most: int, problems: list[str]) -> bytes | None:
    try:
        # Not a pipe: reading one may never end.
        if not file.is_file():
            problems.append(f"{file}: found no regular file; left out")
        elif (size := file.stat().st_size) > most:
            problems.append(f"{file}: found {size} bytes, expected at most {most}; left out")
        else:
            return file.read_bytes()
    except OSError as error:
        problems.append(f"{file}: {error}; left out")
    return None
