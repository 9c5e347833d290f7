"""In which order synthetic volumes enter a mix.

Of the plan: by (plan_index, work_id). Lakes are used evenly, the first volume of each plan before
the second of any, and within a lake the donors are, because a plan goes round them.

By diameter: a round takes the next volume of each bin, in the order of the plan. So a mix of any
size has equally many volumes of each bin, as far as there are, and one more of some.
"""

from collections import Counter

import pyarrow as pa
import pyarrow.compute as pc

DIAMETER_EDGES_MM = (6.0, 10.0, 20.0)
"""Between the bins of a volume's largest nodule; a diameter on an edge is in the bin above."""

DIAMETER_BINS = ("none", "<6 mm", "6-10 mm", "10-20 mm", ">=20 mm")
"""Names of the bins; none is a volume without nodules, or without a table of them."""

_IN_PLAN = [("plan_index", "ascending"), ("work_id", "ascending")]


def in_mix_order(synthetic: pa.Table, *, by_diameter: bool) -> pa.Table:
    """Return synthetic rows in the order in which they enter a mix."""
    planned = synthetic.sort_by(_IN_PLAN)
    if not by_diameter:
        return planned
    # A column that no manifest has.
    numbered = planned.append_column("round", pa.array(_rounds(planned), pa.int64()))
    return numbered.sort_by([("round", "ascending"), *_IN_PLAN]).drop_columns("round")


def count_by_diameter(table: pa.Table) -> dict[str, int]:
    """Return how many synthetic volumes are in each of `DIAMETER_BINS`, by their largest nodule."""
    counts = Counter(_bins(table.filter(pc.equal(table["kind"], "synthetic"))))
    return {name: counts[place] for place, name in enumerate(DIAMETER_BINS)}


def _rounds(planned: pa.Table) -> list[int]:
    seen: Counter[int] = Counter()
    rounds = []
    for place in _bins(planned):
        rounds.append(seen[place])
        seen[place] += 1
    return rounds


def _bins(table: pa.Table) -> list[int]:
    """Return the place of each row's bin in `DIAMETER_BINS`."""
    nodules = table["nodules"].combine_chunks()
    largest = [0] * table.num_rows
    rows = pc.list_parent_indices(nodules).to_pylist()
    diameters = pc.struct_field(pc.list_flatten(nodules), "diameter_mm").to_pylist()
    for row, diameter in zip(rows, diameters, strict=True):
        place = 1 + sum(diameter >= edge for edge in DIAMETER_EDGES_MM)
        largest[row] = max(largest[row], place)
    return largest
