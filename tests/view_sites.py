"""Small lakes as `factory view` serves them, and what its answers hold."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
from mix_sources import case, drawn, make_source, nodules

from jobs.view.catalog import open_catalog
from jobs.view.server import Server
from jobs.view.site import GRID, Answer, Site


def get(site: Site, path: str, **query: object) -> Any:
    """Return the JSON of an answer that is well."""
    answer = site.answer(path, "&".join(f"{name}={value}" for name, value in query.items()))
    assert answer.status == HTTPStatus.OK, answer.content
    return json.loads(answer.content)


def listed(site: Site, **query: object) -> list[int]:
    """Return the places of the rows in a list."""
    return [row["index"] for row in get(site, "rows", **query)["rows"]]


def lake_of(folder: Path, *rows: dict[str, object]) -> Site:
    """Write a lake, and open it."""
    return Site(open_catalog(make_source(folder, "lake", rows)))


def make_site(folder: Path) -> Site:
    """Write a lake whose rows 0 and 1 are real, 2 to 4 synthetic."""
    return lake_of(
        folder,
        case("A", nodules=nodules(7.0, 12.5)),
        case("B"),
        drawn("A", 0, qc_verdict="accept", qc_reasons=[], seed_index=0, nodules=nodules(6.0)),
        drawn("A", 1, qc_verdict="review", qc_reasons=["the seam shows"], seed_index=1),
        drawn("B", 2, qc_verdict="accept", qc_reasons=[], seed_index=0, nodules=[]),
    )


def grid_of(answer: Answer) -> dict[str, Any]:
    """Return what an answer says of its grid."""
    found: dict[str, Any] = json.loads(answer.headers[GRID])
    return found


def hu_of(answer: Answer) -> np.ndarray:
    """Return the HU of an answer, (z, y, x)."""
    shape = grid_of(answer)["shape"]
    return np.frombuffer(answer.content, "<i2", int(np.prod(shape))).reshape(shape)


def problem_of(answer: Answer) -> str:
    """Return why there is no volume in an answer."""
    assert answer.status == HTTPStatus.UNPROCESSABLE_ENTITY
    return str(json.loads(answer.content)["problem"])


@contextmanager
def served(lake: str) -> Iterator[Server]:
    """Serve a lake from a thread, and end with it."""
    with Server(Site(open_catalog(lake)), 0) as running:
        # Often, so that a test does not wait for its end.
        Thread(target=running.serve_forever, args=(0.01,), daemon=True).start()
        yield running
        running.shutdown()
