"""A lake of a few small volumes for `factory report`, and its page as a reader finds it."""

import base64
import json
import shutil
import zlib
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import draw_in_process, make_case_store

from factory.lake import MANIFEST, QUARANTINE
from jobs.report.job import report
from manifests.read import read_manifest
from manifests.write import write_manifest

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
"""One pixel."""

VOID = {"meta", "link", "input", "img", "br", "rect", "path"}


class Page(HTMLParser):
    """The elements of a page: what is in them, and what scripts it would run."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: dict[str, str] = {}
        """Text below each element that has an id."""
        self.problems: list[str] = []
        self.titles: list[str] = []
        """Texts of the title and of the first heading."""
        self._open: list[tuple[str, str | None]] = []
        self.feed(text)
        self.problems += [f"{tag} is never closed" for tag, _ in self._open]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.elements.append((tag, found))
        if (name := found.get("id")) is not None:
            if name in self.words:
                self.problems.append(f"two elements have the id {name}")
            self.words[name] = ""
        if tag not in VOID:
            self._open.append((tag, found.get("id")))
        # As a browser sets elements apart.
        self.handle_data(" ")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag in VOID:
            return
        opened = self._open.pop()[0] if self._open else "nothing"
        if opened != tag:
            self.problems.append(f"{tag} ends where {opened} is open")

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1][0] in ("title", "h1") and data.strip():
            self.titles.append(data)
        for _, name in self._open:
            if name is not None:
                self.words[name] += data

    def named(self, tag: str) -> list[dict[str, str | None]]:
        """Return the attributes of all elements of a tag."""
        return [attributes for name, attributes in self.elements if name == tag]

    def section(self, name: str) -> str:
        """Return the text of the section with this heading's id, in one line."""
        return " ".join(self.words[f"{name}-section"].split())


def read_page(path: Path) -> Page:
    """Read a page, and give each section the id of its heading."""
    return Page(as_sections(path.read_text(encoding="utf-8")))


def as_sections(text: str) -> str:
    """Return a page whose sections have ids: those of their headings and `-section`."""
    start, mark = "<section aria-labelledby=", '"'
    parts = text.split(start)
    named = [f"<section id={mark}{one.split(mark)[1]}-section{mark} x={one}" for one in parts[1:]]
    return parts[0] + "".join(named)


def unpacked(text: str, shape: list[int]) -> np.ndarray:
    """Return the HU of slices, as the page's script does."""
    content = zlib.decompress(base64.b64decode(text))
    size = len(content) // 2
    folded = [low | high << 8 for low, high in zip(content[:size], content[size:], strict=True)]
    steps = np.array([one // 2 if one % 2 == 0 else -(one + 1) // 2 for one in folded])
    sums = np.cumsum(steps.reshape(shape), axis=-1)
    return ((sums + 32768) % 65536 - 32768).astype(np.int16)


def slices_of(path: Path, number: int = 1) -> dict[str, Any]:
    """Return what a page has of the slices of its first volume, or another."""
    content: dict[str, Any] = json.loads(read_page(path).words[f"volume-{number}-slices"])
    return content


def made_lake(folder: Path, model: Path, *, count: int = 4, grid: int = 16) -> Path:
    """Draw a lake from two phantoms, in this process."""
    from jobs.amount import Amount
    from jobs.generate.config import GenerateConfig
    from jobs.generate.job import generate

    cases = make_case_store(folder / "cases", 2, grid=grid)
    with pytest.MonkeyPatch.context() as patch:
        draw_in_process(patch)
        generate(cases, model, folder / "lake", Amount(count=count), GenerateConfig(steps=2))
    return folder / "lake"


def half_done(lake: Path, *, keep: int) -> list[str]:
    """Make a lake one that is still being drawn; return the work ids that are left in it."""
    (lake / MANIFEST).unlink()
    (lake / QUARANTINE).unlink(missing_ok=True)
    commits = sorted((lake / "commits").glob("*.json"))
    for commit in commits[keep:]:
        commit.unlink()
        for volume in (lake / "volumes").glob(f"{commit.stem}.*"):
            shutil.rmtree(volume)
    return [commit.stem for commit in commits[:keep]]


def page_of(lake: Path, **given: Any) -> Page:
    """Write the page of a lake, and read it."""
    report(str(lake), **given)
    return read_page(lake / "report.html")


def rows_of(lake: Path) -> list[dict[str, Any]]:
    """Return the rows of a lake's manifest."""
    rows: list[dict[str, Any]] = read_manifest(lake / MANIFEST).to_pylist()
    return rows


def with_rows(lake: Path, *changes: dict[str, Any]) -> list[str]:
    """Change the synthetic rows of a lake, in order; return their work ids."""
    rows = rows_of(lake)
    synthetic = [row for row in rows if row["kind"] == "synthetic"]
    for row, change in zip(synthetic, changes, strict=False):
        row.update(change)
    write_manifest(rows, lake / MANIFEST)
    return [row["work_id"] for row in synthetic]


def record(work_id: str, **changes: Any) -> dict[str, Any]:
    """Return the record of an item that was given up."""
    return {
        "item_id": work_id,
        "case_id": "c7",
        "stage": "generate",
        "error_class": "CaseError",
        "message": "case c7: torn",
        "attempts": 3,
        **changes,
    }


def evaluation_folder(
    folder: Path, place: str, table: str = "| a | b |\n| --- | --- |\n| c | 7 |\n"
) -> Path:
    """Write what an evaluation of a set leaves: a table, a picture and its record."""
    (folder / "tables").mkdir(parents=True)
    (folder / "tables" / "table2.md").write_text(f"# Table II\n\n{table}", encoding="utf-8")
    (folder / "mds.png").write_bytes(PNG)
    sets = {"ours": {"place": place}}
    (folder / "evaluation.json").write_text(json.dumps({"sets": sets}))
    return folder
