"""`factory verify`: read everything back, and hold it against the plan.

plan ⟕ commits ⟕ quarantine --> each item exactly once
manifest ⟕ volumes          --> each sha256, and the reference in what was to be kept
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from factory.counted import counted
from jobs import options

if TYPE_CHECKING:
    from factory.lake import Lake
    from factory.volumes import Volume


_OF_THE_REFERENCE = "its donor"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with a lake."""

    text: str
    broken_item: str = ""
    """The work id, where the item's own volume is gone, torn or another."""
    is_of_a_scan: bool = False
    """Whether the volume of a real case is: `generate` does not make it again."""


def command(
    lake: options.LakeArgument = None,
    drop_broken: Annotated[
        bool,
        typer.Option("--drop-broken", help="Take broken volumes out, for generate to draw again."),
    ] = False,
    regenerate: Annotated[
        int, typer.Option(metavar="K", min=0, help="Draw K volumes again, and compare them.")
    ] = 0,
) -> None:
    """Check that a lake holds what was planned, whole.

    Every plan item is committed once or quarantined, every volume has the
    voxels that the manifest says, and every synthetic volume equals its
    reference outside the layout, unless what drew it keeps nothing. Prints
    each problem; exits 1 if there is one.

    \b
    Example:
        factory verify lake --regenerate 2
    """
    from jobs.console import give, say
    from jobs.lakes import open_lake
    from jobs.workspace import place_of

    found = open_lake(place_of("lake", lake))
    wrong = [*find_problems(found), *map(Problem, _redrawn_problems(found, regenerate))]
    for problem in wrong:
        say(f"problem: {problem.text}")
    broken = sorted({problem.broken_item for problem in wrong} - {""})
    if drop_broken:
        for work_id in broken:
            found.drop(work_id)
    by_ingest = any(problem.is_of_a_scan for problem in wrong)
    _conclude(found, len(wrong), len(broken), is_dropped=drop_broken, by_ingest=by_ingest)
    if wrong:
        raise typer.Exit(1)
    give(f"ok {found.url}")


def _conclude(
    lake: "Lake", num_wrong: int, num_broken: int, *, is_dropped: bool, by_ingest: bool
) -> None:
    """Say how many problems there are, and what mends them; of a whole lake, what it is good for."""
    from jobs.console import command_line, conclude
    from jobs.generate.again import generate_line
    from jobs.workspace import from_here

    place, told = from_here(lake.url), counted(num_wrong, "problem")
    if is_dropped:
        told += f", {counted(num_broken, 'volume')} dropped"
    if not num_wrong:
        conclude("no problem: every volume is as planned", command_line("factory report", place))
    elif num_broken and not is_dropped:
        told += f" with {counted(num_broken, 'volume')} to draw again"
        conclude(told, command_line("factory verify", place, flags={"--drop-broken": True}))
    elif by_ingest:
        conclude(
            told,
            f"the same factory ingest again, which mends its cases; then {generate_line(lake)}",
        )
    else:
        conclude(told, generate_line(lake))


def _redrawn_problems(lake: "Lake", count: int) -> Iterator[str]:
    """Yield what is wrong with volumes that were drawn again; say how each came out."""
    if not count:
        return
    from factory.errors import FactoryError
    from jobs.console import progress, say
    from jobs.generate.regenerate import regenerate
    from models.errors import CheckpointError

    try:
        with progress("draw again", count) as tracker:
            for done, redrawn in enumerate(regenerate(lake, count), start=1):
                say(f"drawn again: {redrawn}")
                tracker.update(done)
                if redrawn.problem:
                    yield redrawn.problem
    except (FactoryError, CheckpointError) as error:
        # What was found before is still to be told, and to be mended.
        yield f"nothing could be drawn again: {error}"


def problems(lake: "Lake") -> list[str]:
    """Return all that is wrong with a lake; an empty list means nothing is.

    Raises:
        StoreError: The lake has no manifest yet.
    """
    return [problem.text for problem in find_problems(lake)]


def find_problems(lake: "Lake") -> list[Problem]:
    """As `problems`, with the items whose volumes are broken."""
    return [*map(Problem, _item_problems(lake)), *_manifest_problems(lake)]


def _item_problems(lake: "Lake") -> Iterator[str]:
    """Yield what is wrong between the plan, the commits and the quarantine of a lake."""
    from jobs.lakes import planned_items

    items = planned_items(lake)
    committed, quarantined = lake.committed_ids(), lake.quarantined_ids()
    for item in items:
        work_id, case_id = item["work_id"], item["case_id"]
        if work_id in committed and work_id in quarantined:
            yield f"case {case_id}, item {work_id}: committed and quarantined; expected one of them"
        elif work_id not in committed | quarantined:
            yield f"case {case_id}, item {work_id}: neither committed nor quarantined"
    for work_id in sorted(committed - {item["work_id"] for item in items}):
        yield f"item {work_id}: committed, but not in the plan"


def _manifest_problems(lake: "Lake") -> Iterator[Problem]:
    """Yield what is wrong with the manifest of a lake and the volumes that it names."""
    from concurrent.futures import ThreadPoolExecutor

    from factory.errors import StoreError
    from factory.lake import MANIFEST
    from jobs.console import progress
    from manifests.read import read_manifest
    from manifests.validate import validate

    path = lake.storage.child(MANIFEST)
    if not lake.storage.exists(MANIFEST):
        raise StoreError(
            f"lake {lake.url}: found no {MANIFEST}; expected a finished run. Run the same `factory "
            "generate` again."
        )
    table = read_manifest(path)
    yield from map(Problem, validate(table))
    rows = table.to_pylist()
    listed = {row["work_id"] for row in rows if row["kind"] == "synthetic"}
    for work_id in sorted(listed ^ lake.committed_ids()):
        yield Problem(f"item {work_id}: in the manifest or committed, but not both")
    yield from map(Problem, _marker_problems(lake, rows, lake.committed_ids()))
    donors = {row["case_id"]: row for row in rows if row["kind"] == "real"}
    kept = _kept_labels(lake)
    with ThreadPoolExecutor() as pool, progress("verify", len(rows)) as tracker:
        checks = pool.map(lambda row: _volume_problem(path, row, donors, kept), rows)
        for done, problem in enumerate(checks, start=1):
            tracker.update(done)
            if problem:
                yield problem


def _marker_problems(
    lake: "Lake", rows: list[dict[str, Any]], committed: set[str]
) -> Iterator[str]:
    from factory.errors import StoreError

    keys = ("image_uri", "image_sha256", "layout_sha256", "case_id")
    for row in rows:
        if row["kind"] == "synthetic" and row["work_id"] in committed:
            try:
                marker = lake.committed_row(row["work_id"])
            except StoreError as error:
                yield f"case {row['case_id']}, {row['work_id']}: {error}"
                continue
            for key in keys:
                if marker.get(key) != row[key]:
                    yield (
                        f"case {row['case_id']}, {row['work_id']}: the commit has {key} "
                        f"{marker.get(key)}, the manifest says {row[key]}"
                    )


def _volume_problem(
    manifest: str, row: dict[str, Any], donors: dict[str, dict[str, Any]], kept: tuple[int, ...]
) -> Problem | None:
    name, reference_problem = f"case {row['case_id']}, {row['work_id'] or 'real'}", ""
    volume, problem = _readable(manifest, row)
    if volume is not None:
        problem = _row_problem(volume, row)
        if not problem and row["kind"] == "synthetic":
            problem = _reference_problem(manifest, volume, donors.get(row["case_id"]), kept)
            reference_problem = problem
    if not problem:
        return None
    text = f"{name}: {problem}"
    if row["kind"] == "real":
        return Problem(text, is_of_a_scan=True)
    is_own = not reference_problem.startswith(_OF_THE_REFERENCE)
    return Problem(text, row["work_id"] if is_own else "")


def _readable(manifest: str, row: dict[str, Any]) -> tuple["Volume | None", str]:
    from factory.errors import StoreError
    from jobs.lakes import read_row

    try:
        return read_row(manifest, row), ""
    except StoreError as error:
        return None, str(error)


def _row_problem(volume: "Volume", row: dict[str, Any]) -> str:
    from factory.digests import sha256_of_voxels

    for kind, voxels in (("image", volume.ct), ("layout", volume.layout)):
        found, said = sha256_of_voxels(voxels), row[f"{kind}_sha256"]
        if found != said:
            return f"{kind} has sha256 {found}, the manifest says {said}"
    if volume.affine.ravel().tolist() != row["affine"]:
        return f"affine is {volume.affine.ravel().tolist()}, the manifest says {row['affine']}"
    return ""


def _kept_labels(lake: "Lake") -> tuple[int, ...]:
    """Return the labels whose voxels the volumes of a lake have from their references."""
    from factory.layouts import BACKGROUND, LABELS
    from jobs.generate.synthesizers.traits import KNOWN, synthesizer_of

    traits = KNOWN[synthesizer_of(lake.identity() or {}, where=f"lake {lake.url}")]
    if not traits.promises.background:
        return ()
    undrawn = (label for name, label in LABELS.items() if name not in traits.drawn)
    return (BACKGROUND, *undrawn) if traits.drawn else (BACKGROUND,)


def _reference_problem(
    manifest: str, volume: "Volume", donor: dict[str, Any] | None, kept: tuple[int, ...]
) -> str:
    import numpy as np

    from factory.layouts import LUNG

    if donor is None:
        return f"{_OF_THE_REFERENCE} has no row in the manifest; expected one to compare with"
    reference, problem = _readable(manifest, donor)
    if reference is None:
        return f"{_OF_THE_REFERENCE} cannot be read: {problem}"
    if reference.ct.shape != volume.ct.shape:
        return f"has shape {volume.ct.shape}, but its reference {reference.ct.shape}"
    outside = np.isin(volume.layout, kept)
    changed = int((volume.ct[outside] != reference.ct[outside]).sum())
    what = "nodules" if LUNG in kept else "layout"
    verb = "differs" if changed == 1 else "differ"
    told = f"{counted(changed, 'voxel')} outside the {what} {verb} from the reference"
    return told if changed else ""
