"""What `factory export` runs.

manifest --find_items, place--> works --export_volume, as Ray tasks--> files, records
records --publish--> what stands beside the files: lists, tables, a card
"""

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from factory.errors import StoreError, UsageError
from factory.storage import Storage
from jobs.cluster import Cluster, connect, run_tasks
from jobs.console import progress, say
from jobs.export.folder import ASIDE, alone, claim, discard, remove_others
from jobs.export.formats import FORMATS
from jobs.export.formats.format import About, Exported, Format
from jobs.export.given import Given, Item, find_items
from jobs.export.task import KEPT, LEFT_OUT, WRITTEN, Outcome, Work, export_volume, finished
from jobs.ingest.stream import BYTES_OF_A_WORKER, BYTES_PER_VOXEL

_LICENSE = re.compile(r"[A-Za-z0-9.+-]{1,60}")


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportResult:
    """What an export left in its folder."""

    out: Path
    """The folder itself: of nnU-Net the one of the dataset."""
    begin: Path
    """The file to begin with."""
    next_step: str
    num_written: int
    num_kept: int
    """Volumes whose files were there already."""
    num_real: int
    num_synthetic: int
    left_out: dict[str, str]
    """Reason of each volume that has no files."""
    num_of_verdict: int
    """Volumes that quality control thinks less of than was asked for."""
    num_removed: int = 0
    """Volumes of an earlier export into the folder that this one was not asked for."""
    caveat: str = ""
    """What whoever goes on with them must know; empty where there is nothing."""


def export(
    place: str,
    out: Path,
    kind: str,
    *,
    native: bool = False,
    splits: Sequence[str] = (),
    min_verdict: str = "review",
    license: str = "unknown",
    private: Path | None = None,
    ray_address: str | None = None,
) -> ExportResult:
    """Write the volumes of a manifest as files of another format; run again, it does what is missing.

    Args:
        place: Lake, case store or manifest.
        out: Folder to make, or to go on with.
        kind: A name of `FORMATS`.
        native: Put each volume back into the grid of its scan, which must still be there.
        splits: train, val, test; none is all.
        min_verdict: `accept` or `review`: the least that a synthetic volume needs.
        license: SPDX id of the data's licence, for the formats that state one.
        private: Private folder of the case store, which leads to DICOM folders.
        ray_address: Cluster to join; None starts one.

    Raises:
        FactoryError: Nothing is to be exported or none of it could be, or the folder is another export's.
        ManifestError: There is no manifest, or it is torn.
    """
    _refuse_license(license)

    def find() -> Given:
        return find_items(
            place, splits=splits, min_verdict=min_verdict, native=native, private=private
        )

    given = find()
    chosen = FORMATS[kind]
    out = chosen.folder(out.absolute())
    claim(out, {"format": kind, "native": native, "manifest": given.manifest})
    with alone(out) as has_waited:
        return _filled(out, chosen, find() if has_waited else given, native, license, ray_address)


def _filled(
    out: Path, chosen: Format, given: Given, native: bool, license: str, ray_address: str | None
) -> ExportResult:
    """Write what is missing, and remove what is not to be there."""
    works, left_out = _works(given, chosen, native)
    for name, reason in left_out.items():
        say(f"left out: {name}: {reason}")
    num_removed = remove_others(out, works)
    outcomes = _run(works, given.manifest, out, ray_address)
    failed = {name: one.problem for name, one in outcomes.items() if one.state == LEFT_OUT}
    for work in works:
        if work.name in failed:
            discard(out, work)
    left_out |= failed
    Storage(out).write_json(ASIDE, left_out)
    exported = list(_exported(works, given.items, out))
    if not exported:
        raise StoreError(
            f"{given.manifest}: found no volume that could be exported, of {len(given.items)}; expected some. "
            "The lines above say why; factory verify checks the volumes."
        )
    states = [one.state for one in outcomes.values()]
    num_synthetic = sum(one.item.is_synthetic for one in exported)
    return ExportResult(
        out=out,
        begin=chosen.publish(out, exported, _about(given, out, native, license)),
        next_step=chosen.next_step(out),
        num_written=states.count(WRITTEN),
        num_kept=states.count(KEPT),
        num_real=len(exported) - num_synthetic,
        num_synthetic=num_synthetic,
        left_out=left_out,
        num_of_verdict=given.num_of_verdict,
        num_removed=num_removed,
        caveat=chosen.caveat(exported),
    )


def _refuse_license(name: str) -> None:
    if not _LICENSE.fullmatch(name):
        raise UsageError(
            f"--license {name!r}: found no id of a licence; expected one of https://spdx.org/licenses, as "
            "CC-BY-4.0. Correct it."
        )


def _works(given: Given, chosen: Format, native: bool) -> tuple[list[Work], dict[str, str]]:
    """Return what is to be written, and why the rest has no place in the format."""
    works, left_out = [], {}
    for item in given.items:
        place = chosen.place(item)
        if isinstance(place, str):
            left_out[item.name] = place
            continue
        works.append(
            Work(
                name=item.name,
                row=item.row,
                donor=item.donor if native else {},
                image=place.image,
                layout=place.layout,
                source=given.source_of(item) if native else "",
                native=native,
            )
        )
    return works, left_out


def _run(
    works: Sequence[Work], manifest: str, out: Path, ray_address: str | None
) -> dict[str, Outcome]:
    """Write what is missing, many volumes at once; tell each that could not be."""
    outcomes = {work.name: Outcome(KEPT) for work in works if finished(work, out)}
    todo = [work for work in works if work.name not in outcomes]
    if not todo:
        return outcomes
    num_left = 0
    with connect(ray_address) as cluster, progress("export", len(todo)) as tracker:
        for done, (work, outcome) in enumerate(_ended(todo, manifest, out, cluster), start=1):
            outcomes[work.name] = outcome
            if outcome.state == LEFT_OUT:
                num_left += 1
                say(f"left out: {work.name}: {outcome.problem}")
            tracker.update(done, f"{num_left} failed" if num_left else "")
    return outcomes


def _ended(
    todo: Sequence[Work], manifest: str, out: Path, cluster: Cluster
) -> Iterator[tuple[Work, Outcome]]:
    calls = ((work, manifest, str(out)) for work in todo)
    for (work, *_), ended in run_tasks(export_volume, calls, window=_window(todo, cluster)):
        if isinstance(ended, Outcome):
            yield work, ended
        else:
            yield (
                work,
                Outcome(
                    LEFT_OUT,
                    f"its worker process ended ({type(ended).__name__}); expected it to finish. A scan larger "
                    "than the memory does this: export it where there is more.",
                ),
            )


def _window(todo: Sequence[Work], cluster: Cluster) -> int:
    """Return how many volumes are under way at once: of whole scans as many as memory holds."""
    most = 2 * max(1, int(cluster.num_cpus))
    voxels = max(_num_voxels(work) for work in todo)
    if not voxels:
        return most
    import ray

    resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    # As in ingest, for voxels may be scaled and are doubles then; of int16 10 bytes each were measured.
    needed = BYTES_OF_A_WORKER + BYTES_PER_VOXEL * voxels
    return max(1, min(most, int(resources.get("memory", 0.0) // needed)))


def _num_voxels(work: Work) -> int:
    """Return the voxels of the scan that a volume is put back into; 0 where it is not."""
    shape = work.donor.get("source_shape")
    return math.prod(shape) if shape else 0


def _exported(works: Sequence[Work], items: Sequence[Item], out: Path) -> Iterator[Exported]:
    by_name = {item.name: item for item in items}
    for work in works:
        if record := finished(work, out):
            yield Exported(by_name[work.name], record)


def _about(given: Given, out: Path, native: bool, license: str) -> About:
    return About(
        name=out.name,
        license=license,
        manifest=given.manifest,
        manifest_sha256=given.manifest_sha256,
        native=native,
        version=version("ct-factory"),
    )
