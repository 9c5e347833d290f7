"""Which synthetic volumes may train, and how many each rule bars."""

from collections.abc import Callable, Collection, Iterator
from fractions import Fraction
from math import floor

import pyarrow as pa
import pyarrow.compute as pc

from manifests.errors import ManifestError

DEFAULT_VERDICT = "review"

_ENOUGH = {"accept": ("accept",), "review": ("accept", "review")}
"""Least verdict to the verdicts that are at least that good."""

_REJECT = "reject"

COPIES = "found to be a copy"
"""Words of the rule that bars them."""


def usable_rows(
    table: pa.Table, min_verdict: str, copies: Collection[str] = ()
) -> tuple[pa.Table, dict[str, int]]:
    """Return the synthetic rows that a training mix may take.

    Args:
        table: Manifest of real and synthetic rows.
        min_verdict: accept or review.
        copies: Work ids of volumes that were found to copy a real one.

    Returns:
        The rows, and how many others each rule bars; a row counts for the first rule only.

    Raises:
        ManifestError: `min_verdict` is another word.
    """
    if min_verdict not in _ENOUGH:
        raise ManifestError(
            f"min_verdict is {min_verdict!r}, expected one of {', '.join(_ENOUGH)}: a rejected "
            "volume is never used. Give one of them."
        )
    left = table.filter(pc.equal(table["kind"], "synthetic"))
    barred = {}
    for rule, breaks in _rules(table, min_verdict, copies):
        broken = breaks(left)
        barred[rule] = int(pc.sum(broken).as_py() or 0)
        left = left.filter(pc.invert(broken))
    return left, barred


def not_enough(
    wanted: int, num_real: int, num_usable: int, barred: dict[str, int]
) -> ManifestError:
    """Return the error of a mix that asks for more than there is."""
    largest = f"count {num_usable}"
    if num_real:
        # Rounded down, so that the ratio named here can be asked for.
        ratio = floor(Fraction(num_usable, num_real + num_usable) * 10_000) / 10_000
        largest = f"ratio {ratio:g} or {largest}"
    found = [f"{number} {rule}" for rule, number in barred.items() if number]
    more = f" ({sum(barred.values())} more may not: {', '.join(found)})" if found else ""
    return ManifestError(
        f"the mix needs {wanted} synthetic volumes for {num_real} real training volumes, but there "
        f"are {num_usable} that may be used{more}. Ask for at most {largest}, or generate more."
    )


def _rules(
    table: pa.Table, min_verdict: str, copies: Collection[str]
) -> Iterator[tuple[str, Callable[[pa.Table], pa.ChunkedArray]]]:
    """Yield each rule's words and what tells the rows that break it, strictest first."""
    held_out = table.filter(pc.not_equal(table["split"], "train"))
    scans = held_out.filter(pc.equal(held_out["kind"], "real"))
    yield "in val or test", lambda rows: pc.not_equal(rows["split"], "train")
    yield (
        "of a donor in val or test",
        lambda rows: _any(
            _among(rows["patient_id"], held_out["patient_id"]),
            _among(rows["case_id"], scans["case_id"]),
            # The same scan under another name.
            _among(rows["reference_sha256"], scans["image_sha256"]),
        ),
    )
    yield "rejected by quality control", lambda rows: _is(rows["qc_verdict"], _REJECT)
    yield (
        f"not judged {min_verdict} or better",
        lambda rows: pc.invert(
            _among(pc.fill_null(rows["qc_verdict"], "review"), pa.array(_ENOUGH[min_verdict]))
        ),
    )
    ids = pa.array(sorted(copies), pa.string())
    yield COPIES, lambda rows: _among(rows["work_id"], ids)


def _is(column: pa.ChunkedArray, word: str) -> pa.ChunkedArray:
    return pc.fill_null(pc.equal(column, word), False)


def _among(column: pa.ChunkedArray, values: pa.Array | pa.ChunkedArray) -> pa.ChunkedArray:
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks()
    # A null is nobody: without this one null would be among the others.
    return pc.is_in(column, value_set=values.drop_null())


def _any(first: pa.ChunkedArray, *others: pa.ChunkedArray) -> pa.ChunkedArray:
    for other in others:
        first = pc.or_(first, other)
    return first
