"""Real scans in.

find_inputs --> Ray Data, a task a case: prepare_case -> volume, commit --> manifest.parquet
                                         CaseError -> quarantine        --> quarantine.parquet
            --> what is no case                                         --> left_out.parquet
"""

import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from factory.counted import counted
from factory.errors import FactoryError, StoreError
from factory.ingest.dicom_cases import NO_CASE
from factory.ingest.drawn import THRESHOLD
from factory.ingest.lung_models import find_program
from factory.ingest.prepare import IngestConfig
from factory.lake import MANIFEST, QUARANTINE, Lake
from jobs.claims import differences
from jobs.cluster import connect
from jobs.console import progress, say
from jobs.ingest.aside import LEFT_OUT, keep_aside
from jobs.ingest.dry_run import describe
from jobs.ingest.inputs import DEFAULT_RULE, Asked, Input, Inputs, gather
from jobs.ingest.no_case import Aside
from jobs.ingest.private import Private, claim_key, refuse_other_key, refuse_unwritable
from jobs.ingest.publish import publish
from jobs.ingest.stream import How, stream
from jobs.ingest.summary import Summary
from jobs.ingest.task import KEPT, MADE, REMADE
from jobs.ingest.telling import shown
from manifests.read import read_manifest
from manifests.schema import SPLITS
from manifests.split import SplitFractions

FORMAT = 1

_NAMED = 5
"""Inputs left out for one reason that are named at the terminal; the rest stand in the table."""


@dataclass(frozen=True, slots=True)
class IngestResult:
    """What an ingest left in the case store."""

    num_cases: int
    num_quarantined: int
    """Of this source."""
    manifest: str
    num_by_split: dict[str, int]
    num_with_nodules: int
    num_with_notes: int
    summary: Summary
    """Of this source."""


def ingest(
    source: Path,
    out: str | Path,
    config: IngestConfig,
    *,
    patients: Path | None = None,
    points: Path | None = None,
    series: str = DEFAULT_RULE,
    lungs: str = THRESHOLD,
    split: SplitFractions | None = None,
    private: Path | None = None,
    ray_address: str | None = None,
) -> IngestResult:
    """Bring the scans of a folder into a case store; run again, it does what is missing.

    A case stays in the store until a whole one of the same scan replaces it.

    Args:
        source: Folder of DICOM series, and of NIfTI files in a layout that `find_cases` knows.
        out: Case store, a path or a URL, made or extended.
        config: Grid and field of view; one store has one.
        patients: CSV of the patient of each case.
        points: CSV of nodules, in the form of LUNA16's annotations.csv.
        series: Which DICOM series of a study become cases; see `choose_series`.
        lungs: How lungs that nobody drew are segmented; see `segment_lungs`.
        split: Shares of train, val and test; those of the store, or 80/10/10.
        private: Folder of the key of patients' hashes; beside a local store by default.
        ray_address: Cluster to join; None starts one.

    Raises:
        FactoryError: Nothing can be read, or nothing was left.
    """
    if lungs != THRESHOLD and ray_address is None:
        find_program(lungs)
    refuse_unwritable(out)
    lake, beside = Lake(out), Private.of(out, private)
    # Before anything is read: headers of a large tree take minutes.
    _refuse_other(lake, lake.identity(), config, split)
    asked = Asked.read(series, patients, points)
    say(f"reading headers below {source}")
    # Workers of a joined cluster stand in folders of their own.
    source = source.absolute()
    inputs, tags = gather(source, asked, beside.tags)
    split = _claim(lake, config, split)
    if tags:
        claim_key(lake, tags.key)
    run_id = uuid.uuid4().hex
    keep_aside(lake, source, tags or beside.existing_tags(), inputs, run_id)
    beside.note(inputs.paths)
    summary = _told(inputs)
    _ingest_all(inputs.cases, lake, (config, run_id, lungs), ray_address, summary)
    num_cases = publish(lake, split)
    wanted = {given.source.case_id for given in inputs.cases}
    num_quarantined = len(wanted & lake.quarantined_ids()) + len(inputs.refused)
    for line in (*summary.lines(), *_unused(inputs)):
        say(line)
    if not num_cases:
        raise FactoryError(
            f"source {source}: {_nothing(num_quarantined, len(inputs.left_out))}; expected at least one "
            f"that is whole. The reasons are above and in {lake.storage.child(QUARANTINE)}."
        )
    return _result(lake, num_quarantined, summary)


def dry_run(
    source: Path,
    out: str | Path,
    config: IngestConfig,
    *,
    patients: Path | None = None,
    points: Path | None = None,
    series: str = DEFAULT_RULE,
    lungs: str = THRESHOLD,
    split: SplitFractions | None = None,
    private: Path | None = None,
) -> str:
    """Return what `ingest` would do with each input, as a table; nothing is written, no key made.

    Raises:
        FactoryError: As `ingest` does before it begins.
    """
    if lungs != THRESHOLD:
        find_program(lungs)
    lake, beside = Lake(out), Private.of(out, private)
    _refuse_other(lake, lake.identity(), config, split)
    if tags := beside.existing_tags():
        refuse_other_key(lake, tags.key)
    say(f"reading headers below {source}")
    return describe(source, lake, Asked.read(series, patients, points), beside, lungs)


def _nothing(num_quarantined: int, num_left_out: int) -> str:
    if num_quarantined:
        return f"nothing left of {counted(num_quarantined, 'case')}, all quarantined"
    return f"no case was found; left out: {counted(num_left_out, 'input')}"


def _result(lake: Lake, num_quarantined: int, summary: Summary) -> IngestResult:
    manifest = lake.storage.child(MANIFEST)
    rows = read_manifest(manifest).to_pylist()
    return IngestResult(
        num_cases=len(rows),
        num_quarantined=num_quarantined,
        manifest=manifest,
        num_by_split={split: sum(row["split"] == split for row in rows) for split in SPLITS},
        num_with_nodules=sum(bool(row["nodules"]) for row in rows),
        num_with_notes=sum(bool(row["notes"]) for row in rows),
        summary=summary,
    )


def _told(inputs: Inputs) -> Summary:
    """Tell people what is no case and why, and begin the count."""
    summary = Summary()
    for one in inputs.refused:
        say(f"quarantined: {_named(one)}: {shown(one.told)}")
        summary.quarantined[one.reason] += 1
    for one in inputs.left_out:
        summary.left_out[one.reason] += 1
        if summary.left_out[one.reason] <= _NAMED:
            say(f"left out: {_named(one)}: {shown(one.told)}")
    if more := sum(max(0, count - _NAMED) for count in summary.left_out.values()):
        say(f"left out: {more} more for the same reasons; {LEFT_OUT} in the store has them all")
    if inputs.unmatched_points:
        say(
            f"warning: of no case here: {counted(inputs.unmatched_points, 'name')} in the table of points; "
            "expected a SeriesInstanceUID, a case id or the name of a file"
        )
    return summary


def _named(one: Aside) -> str:
    """Return how people at the terminal know an input: by its case, and a DICOM file by its path."""
    return shown(f"case {one.case_id}" if one.place == one.case_id else one.place)


def _unused(inputs: Inputs) -> Iterator[str]:
    """Say of the work of readers that the choice of series threw away."""
    if num := sum(one.reason.endswith(NO_CASE) for one in inputs.left_out):
        yield (
            f"warning: of series that are no case: {counted(num, 'file')} that readers drew; expected each on a "
            "chosen one. Take every series with --series all, or theirs by its SeriesInstanceUID."
        )


def _claim(lake: Lake, config: IngestConfig, split: SplitFractions | None) -> SplitFractions:
    """Make the store this config's, or refuse; return the split that holds."""
    found = lake.claim(_settings(config, split))
    _refuse_other(lake, found, config, split)
    return SplitFractions.parse(found["split"])


def _settings(config: IngestConfig, split: SplitFractions | None) -> dict[str, Any]:
    return {
        "kind": "cases",
        "format": FORMAT,
        "ingest": asdict(config),
        "split": str(split or SplitFractions()),
    }


def _refuse_other(
    lake: Lake, found: dict[str, Any] | None, config: IngestConfig, split: SplitFractions | None
) -> None:
    """Refuse a store that has another grid, or another split than the one that was asked for."""
    if found is None:
        return
    wanted = _settings(config, split) | ({} if split else {"split": found.get("split")})
    if changed := differences(found, wanted):
        raise StoreError(
            f"case store {lake.url}: made with other settings ({'; '.join(changed)}); expected the "
            "same: one store has one grid and one split. Choose another --out, or the store's settings."
        )


def _ingest_all(
    cases: list[Input],
    lake: Lake,
    how: How,
    ray_address: str | None,
    summary: Summary,
) -> None:
    if not cases:
        return
    quarantined = 0
    with connect(ray_address) as cluster, progress("ingest", len(cases)) as tracker:
        ended = stream(cases, lake, how, cluster)
        for done, (given, outcome) in enumerate(ended, start=1):
            summary.num_new += outcome.state == MADE
            summary.num_remade += outcome.state == REMADE
            summary.num_kept += outcome.state == KEPT
            if outcome.problem:
                quarantined += 1
                summary.quarantine(given.source.case_id, outcome.problem)
                of = f" ({shown(given.place)})" if given.source.series else ""
                say(f"quarantined: {outcome.problem}{of}")
            tracker.update(done, f"{quarantined} quarantined")
