"""What `factory export` says when it ends."""

from collections.abc import Iterator

from jobs.export.folder import ASIDE
from jobs.export.job import ExportResult


def lines_of(result: ExportResult) -> Iterator[str]:
    """Yield the lines for people: what came out, what did not, and what to run next."""
    if result.num_of_verdict:
        yield f"left out: {result.num_of_verdict} synthetic volumes, for the verdict of quality control"
    if result.left_out:
        yield f"left out: {len(result.left_out)} volumes; {result.out / ASIDE} has the reasons"
    total = result.num_real + result.num_synthetic
    yield (
        f"{total} volumes exported ({result.num_real} real, {result.num_synthetic} synthetic; "
        f"{result.num_written} written now, {result.num_kept} kept)"
    )
    yield f"not anonymised. Next: {result.next_step}"
