"""Which volumes a page shows slices of, and which it takes voxels from."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from factory.errors import UsageError

RULE = (
    "Up to half are those with the worst verdicts: rejected before to be reviewed, more reasons before "
    "fewer. The others lie evenly through the rest of the plan."
)
"""What `choose` goes by, for readers of the page."""

MOST = 200
"""Volumes of a page; each takes up to 2 MB of it."""

_WORST = ("reject", "review")


@dataclass(frozen=True, slots=True)
class Chosen:
    """A synthetic volume that is shown."""

    row: dict[str, Any]
    """Of the manifest."""
    why: str


def synthetic_rows(table: pa.Table) -> pa.Table:
    """Return the synthetic rows in the order of the plan."""
    rows = table.filter(pc.equal(table["kind"], "synthetic"))
    return rows.sort_by([("plan_index", "ascending"), ("work_id", "ascending")])


def choose(synthetic: pa.Table, count: int) -> list[Chosen]:
    """Choose the volumes to show, by `RULE`; all where there are no more than `count`.

    Args:
        synthetic: Of `synthetic_rows`.
        count: How many.
    """
    verdicts = synthetic["qc_verdict"].to_pylist()
    num_reasons = pc.fill_null(pc.list_value_length(synthetic["qc_reasons"]), 0).to_pylist()
    bad = [place for place, verdict in enumerate(verdicts) if verdict in _WORST]
    bad.sort(key=lambda place: (_WORST.index(verdicts[place]), -num_reasons[place], place))
    worst = bad[: (count + 1) // 2]
    rest = sorted(set(range(len(verdicts))) - set(worst))
    even = [rest[place] for place in evenly(len(rest), count - len(worst))]
    return [
        *_chosen(synthetic, worst, "one of the worst verdicts"),
        *_chosen(synthetic, even, "evenly through the plan"),
    ]


def named(synthetic: pa.Table, names: Sequence[str]) -> list[Chosen]:
    """Return the volumes that are named by their cases, their work ids, or the beginnings of these.

    Raises:
        UsageError: There is none of a name, or there are more than `MOST`.
    """
    work_ids, case_ids = (synthetic[name].to_pylist() for name in ("work_id", "case_id"))
    found: dict[int, None] = {}
    for name in names:
        of_case = [place for place, case_id in enumerate(case_ids) if case_id == name]
        places = of_case or [
            place for place, work_id in enumerate(work_ids) if name and work_id.startswith(name)
        ]
        if not places:
            known = f", as {work_ids[0][:12]} or {case_ids[0]}" if work_ids else "; there are none"
            raise UsageError(
                f"--ids {name}: found no synthetic volume of this name; expected a work id, its beginning "
                f"or a case id{known}. Correct it; the manifest names them all."
            )
        found.update(dict.fromkeys(places))
    if len(found) > MOST:
        raise UsageError(
            f"--ids: found {len(found)} volumes of these names; expected at most {MOST} in one page. Name fewer."
        )
    return list(_chosen(synthetic, list(found), "named by --ids"))


def evenly(num: int, count: int) -> list[int]:
    """Return `count` of the numbers below `num`, evenly; all where there are no more."""
    count = min(num, count)
    return [(2 * place + 1) * num // (2 * count) for place in range(count)]


def _chosen(synthetic: pa.Table, places: Sequence[int], why: str) -> Iterator[Chosen]:
    rows = synthetic.take(pa.array(places, pa.int64())).to_pylist()
    return (Chosen(row, why) for row in rows)
