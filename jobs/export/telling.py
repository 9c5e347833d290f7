"""What `factory export` says when it ends."""

from collections.abc import Iterator

from factory.counted import counted
from jobs.export.folder import ASIDE
from jobs.export.job import ExportResult


def lines_of(result: ExportResult) -> Iterator[str]:
    """Yield what did not come out, and what to know of the rest, for people."""
    if result.num_of_verdict:
        rejected = counted(result.num_of_verdict, "synthetic volume")
        yield f"left out: {rejected}, for the verdict of quality control"
    if result.left_out:
        num = counted(len(result.left_out), "volume")
        yield f"left out: {num}; {result.out / ASIDE} has the reasons"
    if result.num_removed:
        num = counted(result.num_removed, "volume")
        yield f"removed: the files of {num} of an earlier export, not asked for now"
    if result.caveat:
        yield f"warning: {result.caveat}"


def came_out(result: ExportResult) -> str:
    """Return how many volumes have files now."""
    total = counted(result.num_real + result.num_synthetic, "volume")
    return (
        f"{total} exported, not anonymised ({result.num_real} real, {result.num_synthetic} synthetic; "
        f"{result.num_written} written now, {result.num_kept} kept)"
    )
