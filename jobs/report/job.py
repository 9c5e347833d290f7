"""One page on a lake, without Ray.

lake --gather--> rows, quarantine --choose, show--> slices, histograms --document--> report.html
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from factory.errors import UsageError
from factory.storage import Storage
from jobs.aside import written_aside
from jobs.console import progress
from jobs.report.attached import Attached, downstream_in, evaluation_in, find_evaluation
from jobs.report.choose import RULE, Chosen, choose, named, synthetic_rows
from jobs.report.content import Content
from jobs.report.document import document
from jobs.report.gather import gather
from jobs.report.voxels import Histograms, Shown, histograms, sampled, show
from manifests.read import is_url, open_filesystem

REPORT = "report.html"


@dataclass(frozen=True, kw_only=True, slots=True)
class ReportResult:
    """What was written."""

    path: str
    num_bytes: int
    num_real: int
    num_synthetic: int
    num_shown: int
    """Volumes whose slices are in the page."""
    problems: Sequence[str]
    """What could not be read, and is told in the page too."""


def report(
    place: str,
    out: str | None = None,
    *,
    count: int = 6,
    ids: Sequence[str] = (),
    evaluation: Path | None = None,
    downstream: Path | None = None,
) -> ReportResult:
    """Write the page on a lake, finished or not; what cannot be read is told in it.

    Args:
        place: Path or URL of the lake.
        out: Path or URL of the file; None for `report.html` in the lake.
        count: Volumes whose slices are shown.
        ids: Show these instead: work ids, their beginnings, or case ids.
        evaluation: Folder of `factory evaluate`; None takes the one in the lake or beside it, if it is of
            this lake.
        downstream: Folder of `factory downstream` or its sweep.

    Raises:
        StoreError: There is no lake.
        UsageError: A volume that is named is not there, a folder has no tables, or `out` is a folder.
    """
    if out:
        _check_target(out)
    lake = gather(place)
    target = out or f"{lake.url}/{REPORT}"
    synthetic = synthetic_rows(lake.table)
    chosen = named(synthetic, ids) if ids else choose(synthetic, count)
    attached = _evaluation(evaluation, lake.url), downstream_in(downstream) if downstream else None
    shown, lungs = _volumes(lake.table, synthetic, chosen)
    content = Content(
        lake=lake,
        synthetic=synthetic,
        shown=shown,
        rule="These were named." if ids else RULE,
        histograms=lungs,
        evaluation=attached[0],
        downstream=attached[1],
        made_by=version("ct-factory"),
        made_at=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
    )
    page = document(content).encode("utf-8")
    _write(target, page)
    unread = [f"volume {one.chosen.row['work_id']}: {one.remark}" for one in shown if one.remark]
    return ReportResult(
        path=target,
        num_bytes=len(page),
        num_real=lake.table.num_rows - synthetic.num_rows,
        num_synthetic=synthetic.num_rows,
        num_shown=sum(one.packed is not None for one in shown),
        problems=[*lake.problems, *unread, *_not_told(lungs.problems, shown)],
    )


def _not_told(problems: Sequence[str], shown: Sequence[Shown]) -> list[str]:
    """Leave out what is told of a volume that is shown without its slices."""
    told = tuple(f"volume {one.chosen.row['work_id']}:" for one in shown if not one.packed)
    return [problem for problem in problems if not problem.startswith(told)]


def _evaluation(given: Path | None, lake: str) -> Attached | None:
    folder = given or find_evaluation(lake)
    if folder is None:
        return None
    try:
        return evaluation_in(folder, lake)
    except UsageError:
        # Nobody asked for the one that was found.
        if given:
            raise
        return None


def _volumes(
    rows: pa.Table, synthetic: pa.Table, chosen: Sequence[Chosen]
) -> tuple[list[Shown], Histograms]:
    counted = sampled(synthetic)
    cases = {row["case_id"] for row in (*counted, *(one.row for one in chosen))}
    donors = _donors(rows, cases)
    num_counted = len(counted) + len({row["case_id"] for row in counted} & donors.keys())
    shown = list[Shown]()
    with progress("report: slices", len(chosen)) as tracker:
        for one in chosen:
            shown.append(show(one, donors))
            tracker.update(len(shown))
    with progress("report: lungs", num_counted) as tracker:
        return shown, histograms(counted, donors, tracker)


def _donors(rows: pa.Table, cases: set[str]) -> Mapping[str, Mapping[str, Any]]:
    wanted = pc.is_in(rows["case_id"], value_set=pa.array(sorted(cases), pa.string()))
    found = rows.filter(pc.and_(pc.equal(rows["kind"], "real"), wanted)).to_pylist()
    return {row["case_id"]: row for row in found}


def _check_target(target: str) -> None:
    if is_url(target):
        # Refuses what must not stand in a log.
        Storage(target)
    if not target.lower().endswith((".html", ".htm")):
        # Nothing of a lake has such a name, so none of it is written over.
        raise UsageError(
            f"--out {target}: found another ending; expected .html. Name the file so, as {REPORT}."
        )
    if not is_url(target) and os.path.isdir(target):
        raise UsageError(
            f"--out {target}: found a folder; expected a file, or none. Give a name, as {target.rstrip('/')}"
            f"/{REPORT}."
        )


def _write(target: str, page: bytes) -> None:
    if is_url(target):
        # An object store shows an object only once it is whole, so it needs no rename.
        filesystem, place = open_filesystem(target)
        with filesystem.open_output_stream(place) as stream:
            stream.write(page)
        return
    with written_aside(Path(target)) as aside:
        aside.write_bytes(page)
