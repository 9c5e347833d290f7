"""What is answered to which path, without a socket.

    ""                    the page, and its parts by their names
    solid.html            another page, of one volume in 3D
    rows?start=&count=    a piece of the list: kind=, verdict=, text= filter it, at= finds a row in it
    rows/INDEX            one row
    volumes/INDEX         its voxels, with their grid in a header
    about                 what is served, and how many rows of each kind and verdict

A row is named by its number in the manifest: no path is ever taken from who asks.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from importlib.resources import files
from threading import BoundedSemaphore
from typing import Any
from urllib.parse import parse_qsl

import numpy as np

from jobs.report.markup import printable
from jobs.view.catalog import Catalog, Filter
from jobs.view.told import listed, told
from jobs.view.voxels import UNREADABLE, serve_volume

GRID = "X-Grid"
"""Header of a volume: its grid as JSON."""

MOST_ROWS = 200
"""In one answer."""

_MOST_TEXT = 200
_VOLUMES_AT_ONCE = 2
_NUMBER = re.compile(r"[0-9]{1,12}")
_JSON = "application/json"
_HTML = "text/html; charset=utf-8"
_SCRIPT, _STYLE = "text/javascript; charset=utf-8", "text/css; charset=utf-8"
_OWN_SCRIPTS = ("planes", "state", "ask", "filter", "list", "stage", "told", "view", "solid")
_PARTS = {
    "": ("view/page/view.html", _HTML),
    "look.css": ("pages/look.css", _STYLE),
    "view.css": ("view/page/view.css", _STYLE),
    "solid.html": ("view/page/solid.html", _HTML),
    "niivue.js": ("view/page/niivue.js", _SCRIPT),
    "slices.js": ("pages/slices.js", _SCRIPT),
    **{f"{name}.js": (f"view/page/{name}.js", _SCRIPT) for name in _OWN_SCRIPTS},
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What goes back."""

    content: bytes
    kind: str
    """Its media type."""
    status: HTTPStatus = HTTPStatus.OK
    headers: Mapping[str, str] = field(default_factory=dict)


class Site:
    """Answers about a catalog.

    Args:
        catalog: What is served.
    """

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        # However much a browser asks for at once, memory holds few.
        self._reading = BoundedSemaphore(_VOLUMES_AT_ONCE)

    def answer(self, path: str, query: str) -> Answer:
        """Answer one request; what nothing is known of is 404, and what is nonsense 400.

        Args:
            path: Below the address that is told to the user; taken as it is, nothing is decoded.
            query: Without its question mark.
        """
        if path in _PARTS:
            name, kind = _PARTS[path]
            part = files("jobs").joinpath(*name.split("/"))
            # NiiVue is not of this source: an installation may go without it.
            if not part.is_file():
                return refusal(HTTPStatus.NOT_FOUND, f"{path} is not installed")
            return Answer(content=part.read_bytes(), kind=kind)
        if path == "about":
            return _json(self._about())
        if path == "rows":
            return self._rows(query)
        folder, _, number = path.partition("/")
        if folder not in ("rows", "volumes") or not _NUMBER.fullmatch(number):
            return refusal(HTTPStatus.NOT_FOUND, "nothing is here")
        index = int(number)
        if index >= self._catalog.table.num_rows:
            return refusal(HTTPStatus.NOT_FOUND, f"there is no row {index}")
        return self._row(index) if folder == "rows" else self._volume(index)

    def _about(self) -> dict[str, Any]:
        catalog = self._catalog
        return {
            "name": printable(catalog.url.rstrip("/").rpartition("/")[2]),
            "place": printable(catalog.url),
            "problems": [printable(one) for one in catalog.problems],
            "num_rows": catalog.table.num_rows,
            "kinds": catalog.counts("kind"),
            "verdicts": catalog.counts("qc_verdict"),
        }

    def _rows(self, query: str) -> Answer:
        try:
            asked = _asked(query)
        except ValueError as error:
            return refusal(HTTPStatus.BAD_REQUEST, str(error))
        numbers = self._catalog.matching(asked.rows)
        start = asked.start
        if asked.at is not None:
            place = int(np.searchsorted(numbers, asked.at))
            is_there = place < len(numbers) and numbers[place] == asked.at
            start = place - place % asked.count if is_there else 0
        found = self._catalog.listed(numbers[start : start + asked.count])
        return _json(
            {"start": start, "matched": len(numbers), "rows": [listed(row) for row in found]}
        )

    def _row(self, index: int) -> Answer:
        row = self._catalog.row(index)
        return _json(told(row, index, self._catalog.donor(row)))

    def _volume(self, index: int) -> Answer:
        row = self._catalog.row(index)
        try:
            with self._reading:
                found = serve_volume(row, self._catalog.folder)
        except UNREADABLE as error:
            text = printable(" ".join(str(error).split())) or type(error).__name__
            return _json({"problem": text}, HTTPStatus.UNPROCESSABLE_ENTITY)
        return Answer(
            content=found.content,
            kind="application/octet-stream",
            headers={GRID: json.dumps(found.grid)},
        )


def refusal(status: HTTPStatus, text: str) -> Answer:
    """Return an answer that says what was wrong."""
    return Answer(content=f"{text}\n".encode(), kind="text/plain; charset=utf-8", status=status)


@dataclass(frozen=True, slots=True)
class _Asked:
    rows: Filter
    start: int
    count: int
    at: int | None


def _asked(query: str) -> _Asked:
    """Read a query.

    Raises:
        ValueError: A key is unknown or given twice, or a value is not what it should be.
    """
    pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=8, errors="replace")
    given = dict(pairs)
    if len(given) < len(pairs) or not given.keys() <= {
        *("start", "count", "at", "kind", "verdict", "text")
    }:
        raise ValueError("expected start, count, at, kind, verdict and text, each at most once")
    if len(given.get("text", "")) > _MOST_TEXT:
        raise ValueError(f"expected a text of at most {_MOST_TEXT} characters")
    rows = Filter(given.get("kind", ""), given.get("verdict", ""), given.get("text", ""))
    at = _number(given["at"]) if "at" in given else None
    count = _number(given.get("count", "50"))
    if not 1 <= count <= MOST_ROWS:
        raise ValueError(f"expected a count of 1 to {MOST_ROWS}")
    return _Asked(rows, _number(given.get("start", "0")), count, at)


def _number(text: str) -> int:
    if not _NUMBER.fullmatch(text):
        raise ValueError("expected a whole number")
    return int(text)


def _json(content: Any, status: HTTPStatus = HTTPStatus.OK) -> Answer:
    # Plain ASCII: what is no text in a file name is none here either.
    data = json.dumps(content, allow_nan=False, separators=(",", ":")).encode("ascii")
    return Answer(content=data, kind=_JSON, status=status)
