"""What the rows of a manifest come to: counts, verdicts, reasons, sizes. No voxel is read.

All of it is of columns: a lake may have a hundred thousand rows.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from manifests.schema import KINDS, SPLITS

NOT_JUDGED = "not judged"

_BAD = ("reject", "review")
_CLAUSE = re.compile(r" is | has | are |, expected ")
"""What ends the name of a figure in a reason; figures themselves differ from volume to volume."""

_QC_COLUMNS = {
    "qc_changed_fraction": "drawn voxels unlike the donor's",
    "qc_saturated_fraction": "drawn voxels at the scale's ends",
    "qc_lung_median_hu": "median of the lungs, HU",
    "qc_reference_lung_median_hu": "median of the donor's lungs, HU",
    "qc_lung_iqr_hu": "interquartile range of the lungs, HU",
    "qc_reference_lung_iqr_hu": "interquartile range of the donor's lungs, HU",
    "qc_nodule_contrast_hu": "nodules beyond the lung around, HU",
    "qc_reference_nodule_contrast_hu": "the same voxels in the donor, if its nodules, HU",
    "qc_seam_score": "seam score",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Reason:
    """Why volumes were not accepted."""

    name: str
    """Of the figure that is beyond its limit."""
    num_rejected: int
    num_reviewed: int
    example: str
    """One of the sentences."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Spread:
    """One figure of quality control, over volumes."""

    name: str
    is_share: bool
    n: int
    low: float
    """5th percentile."""
    median: float
    high: float
    """95th percentile."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Diameters:
    """Sizes of the nodules of one kind of volume."""

    mm: NDArray[np.float64]
    """(N,) diameters."""
    num_volumes: int
    """Volumes whose nodules were measured, with or without some."""
    num_bare: int
    """Of these, volumes without a nodule."""


def counts(table: pa.Table) -> dict[tuple[str, str], int]:
    """Return how many volumes there are by (kind, split); a 0 where there are none."""
    grouped = table.group_by(["kind", "split"]).aggregate([([], "count_all")]).to_pylist()
    found = {(row["kind"], row["split"]): row["count_all"] for row in grouped}
    return {(kind, split): found.get((kind, split), 0) for kind in KINDS for split in SPLITS}


def num_patients(table: pa.Table, kind: str) -> int:
    """Return how many patients the volumes of a kind are of."""
    of_kind = table.filter(pc.equal(table["kind"], kind))
    found: int = pc.count_distinct(of_kind["patient_id"]).as_py()
    return found


def tally(column: pa.ChunkedArray, *, absent: str = "not told") -> list[tuple[str, int]]:
    """Return the values of a column with how often each is there, the most frequent first."""
    pairs = ((one["values"], one["counts"]) for one in column.value_counts().to_pylist())
    named = ((absent if value is None else str(value), num) for value, num in pairs)
    return sorted(named, key=lambda pair: (-pair[1], pair[0]))


def reasons(synthetic: pa.Table) -> list[Reason]:
    """Return what led to review or rejection, the most frequent first; a volume may have several."""
    found: dict[str, Counter[str]] = {verdict: Counter() for verdict in _BAD}
    examples: dict[str, str] = {}
    for verdict in _BAD:
        rows = synthetic.filter(pc.fill_null(pc.equal(synthetic["qc_verdict"], verdict), False))
        for texts in rows["qc_reasons"].to_pylist():
            names = {_CLAUSE.split(text, maxsplit=1)[0].strip(): text for text in texts or ()}
            found[verdict].update(names.keys())
            examples = names | examples
    rejected, reviewed = (found[verdict] for verdict in _BAD)
    order = sorted(examples, key=lambda name: (-(rejected + reviewed)[name], name))
    return [
        Reason(
            name=name,
            num_rejected=rejected[name],
            num_reviewed=reviewed[name],
            example=examples[name],
        )
        for name in order
    ]


def spreads(synthetic: pa.Table) -> Iterator[Spread]:
    """Yield the figures of quality control, those that were measured at all."""
    for column, name in _QC_COLUMNS.items():
        values = _finite(synthetic[column])
        if len(values):
            low, median, high = np.percentile(values, (5, 50, 95)).tolist()
            is_share = column.endswith("_fraction")
            yield Spread(
                name=name, is_share=is_share, n=len(values), low=low, median=median, high=high
            )


def num_redrawn(synthetic: pa.Table) -> int:
    """Return how many volumes took more than one draw."""
    lengths = pc.fill_null(pc.list_value_length(synthetic["redraws"]), 0)
    found: int = pc.sum(pc.greater(lengths, 0)).as_py() or 0
    return found


def diameters(table: pa.Table, kind: str) -> Diameters:
    """Return the sizes of all nodules that the layouts of a kind have."""
    of_kind = table.filter(pc.equal(table["kind"], kind))
    nodules = of_kind["nodules"]
    flat = pc.list_flatten(nodules)
    lengths = pc.list_value_length(nodules).drop_null()
    return Diameters(
        mm=_finite(pc.struct_field(flat, "diameter_mm")),
        num_volumes=len(lengths),
        num_bare=pc.sum(pc.equal(lengths, 0)).as_py() or 0,
    )


def span(column: pa.ChunkedArray) -> tuple[Any, Any] | None:
    """Return the least and the greatest of a column, or None where it is empty."""
    ends = pc.min_max(column).as_py()
    return None if ends["min"] is None else (ends["min"], ends["max"])


def binned(values: NDArray[np.float64], edges: Sequence[float]) -> NDArray[np.int64]:
    """Return how many values lie in each bin; what lies outside counts in the first and the last."""
    inside = np.clip(values, edges[0], np.nextafter(edges[-1], edges[0]))
    return np.histogram(inside, edges)[0].astype(np.int64)


def _finite(column: pa.ChunkedArray) -> NDArray[np.float64]:
    values = np.asarray(column.drop_null().to_numpy(), np.float64)
    return values[np.isfinite(values)]
