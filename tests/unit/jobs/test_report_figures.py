"""What a page counts, and which volumes it chooses, from rows alone."""

from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from manifest_rows import real, sha

from factory.errors import UsageError
from jobs.report.choose import choose, evenly, named, synthetic_rows
from jobs.report.figures import (
    binned,
    counts,
    diameters,
    num_patients,
    num_redrawn,
    reasons,
    span,
    spreads,
    tally,
)
from jobs.report.voxels import MOST_SAMPLED, sampled
from manifests.write import manifest_table

LOW = "lung median is -300 HU, expected -1088.6 to -366.95 HU"
SEAM = "seam score is {}, expected 0.5 to 2"


def nodule(diameter_mm: float) -> dict[str, Any]:
    return {
        "label": 1,
        "center_ras_mm": [0.0, 0.0, 0.0],
        "diameter_mm": diameter_mm,
        "volume_mm3": 1.0,
        "num_voxels": 1,
    }


def drawn(index: int, verdict: str | None = "accept", *why: str, **changes: Any) -> dict[str, Any]:
    row = real(f"c{index % 3}")
    return row | {
        "kind": "synthetic",
        "work_id": sha(f"draw {index}")[:32],
        "plan_index": index,
        "seed_index": index // 3,
        "seed": index,
        "qc_verdict": verdict,
        "qc_reasons": list(why),
        **changes,
    }


def of(*rows: dict[str, Any]) -> pa.Table:
    return manifest_table(rows)


def indices(chosen: list[Any]) -> list[int]:
    return [one.row["plan_index"] for one in chosen]


def test_volumes_are_counted_by_kind_and_split_and_patients_once() -> None:
    rows = [real("c0"), real("c1", split="test"), drawn(0), drawn(3), drawn(1)]
    table = of(*rows)
    found = counts(table)
    assert (found["real", "train"], found["real", "test"], found["real", "val"]) == (1, 1, 0)
    assert found["synthetic", "train"] == 3
    assert (num_patients(table, "real"), num_patients(table, "synthetic")) == (2, 2)


def test_reasons_are_told_by_figure_with_what_they_led_to() -> None:
    rows = of(
        drawn(0, "review", SEAM.format(2.5)),
        drawn(1, "review", SEAM.format(0.25)),
        drawn(2, "reject", LOW, SEAM.format(3)),
        drawn(3, "reject", "background has 1 voxel unlike the reference, expected none"),
        drawn(4, "accept"),
        drawn(5, None),
    )
    found = [(one.name, one.num_rejected, one.num_reviewed) for one in reasons(rows)]
    assert found == [("seam score", 1, 2), ("background", 1, 0), ("lung median", 1, 0)]
    assert reasons(rows)[2].example == LOW


def test_a_figure_twice_against_one_volume_counts_once() -> None:
    (one,) = reasons(of(drawn(0, "review", SEAM.format(3), SEAM.format(4))))
    assert one.num_reviewed == 1


def test_spreads_are_percentiles_of_what_was_measured() -> None:
    rows = of(
        *(drawn(index, qc_seam_score=value) for index, value in enumerate((1.0, 2.0, 3.0))),
        drawn(3, qc_seam_score=float("nan")),
        drawn(4, qc_changed_fraction=0.5),
    )
    seam, share = sorted(spreads(rows), key=lambda one: one.is_share)
    assert (seam.name, seam.n, seam.median) == ("seam score", 3, 2.0)
    assert (seam.low, seam.high) == pytest.approx((1.1, 2.9))
    assert (share.n, share.median, share.is_share) == (1, 0.5, True)


def test_diameters_are_of_one_kind_and_tell_bare_volumes_from_unmeasured_ones() -> None:
    rows = of(
        real("c0", nodules=[nodule(4.0), nodule(9.0)]),
        real("c1", nodules=[]),
        real("c2", nodules=None),
        drawn(0, nodules=[nodule(30.0)]),
    )
    found = diameters(rows, "real")
    assert sorted(found.mm) == [4.0, 9.0]
    assert (found.num_volumes, found.num_bare) == (2, 1)
    assert list(diameters(rows, "synthetic").mm) == [30.0]
    assert diameters(of(real("c2", nodules=None)), "real").num_volumes == 0


def test_what_lies_beyond_the_scale_counts_in_its_ends() -> None:
    assert list(binned(np.array([-5.0, 0.0, 1.9, 2.0, 4.0, 99.0]), (0, 2, 4))) == [3, 3]


def test_redraws_and_absent_values_are_counted() -> None:
    redraw = {"seed": 1, "verdict": "reject", "reasons": [LOW]}
    rows = of(drawn(0, redraws=[redraw]), drawn(1, redraws=[]), drawn(2, redraws=None))
    assert num_redrawn(rows) == 1
    assert tally(rows["device"]) == [("not told", 3)]
    assert tally(
        of(drawn(0, device="b"), drawn(1, device="a"), drawn(2, device="b"))["device"]
    ) == [
        ("b", 2),
        ("a", 1),
    ]
    assert span(rows["seed"]) == (0, 2)
    assert span(rows["created_at"]) is None


def test_of_no_rows_there_is_nothing_to_tell_and_no_error() -> None:
    rows = of()
    assert (reasons(rows), list(spreads(rows)), num_redrawn(rows)) == ([], [], 0)
    assert len(diameters(rows, "real").mm) == 0
    assert choose(synthetic_rows(rows), 6) == []


def test_half_are_the_worst_and_the_rest_lie_evenly_through_the_plan() -> None:
    rows = [drawn(index) for index in range(20)]
    for index, verdict, why in (
        (3, "review", [LOW]),
        (7, "reject", [LOW]),
        (9, "reject", [LOW, SEAM]),
        (11, "review", [LOW, SEAM]),
    ):
        rows[index] = drawn(index, verdict, *why)
    chosen = choose(synthetic_rows(of(real("c0"), *reversed(rows))), 6)
    assert indices(chosen) == [9, 7, 11, 2, 10, 17]
    assert [one.why for one in chosen[2:4]] == [
        "one of the worst verdicts",
        "evenly through the plan",
    ]


def test_no_more_are_chosen_than_there_are_and_none_twice() -> None:
    rows = synthetic_rows(of(drawn(0, "reject", LOW), drawn(1), drawn(2)))
    assert sorted(indices(choose(rows, 6))) == [0, 1, 2]
    assert choose(rows, 0) == []
    assert indices(choose(rows, 1)) == [0]


def test_many_bad_volumes_leave_half_of_the_places_to_the_others() -> None:
    rows = synthetic_rows(of(*(drawn(index, "reject", LOW) for index in range(10))))
    assert indices(choose(rows, 4)) == [0, 1, 4, 8]


@pytest.mark.parametrize(
    ("num", "count", "expected"), [(10, 3, [1, 5, 8]), (2, 5, [0, 1]), (0, 3, [])]
)
def test_places_lie_evenly_and_differ(num: int, count: int, expected: list[int]) -> None:
    assert evenly(num, count) == expected


def test_lungs_are_sampled_evenly_from_what_was_not_rejected() -> None:
    rows = [drawn(index, "reject" if index % 2 else None, LOW) for index in range(200)]
    places = [row["plan_index"] for row in sampled(synthetic_rows(of(*rows)))]
    assert len(places) == MOST_SAMPLED
    assert not any(place % 2 for place in places)
    assert {later - earlier for earlier, later in pairwise(places)} <= {6, 8}
    assert sampled(synthetic_rows(of(drawn(0, "reject", LOW)))) == []


def test_volumes_are_named_by_work_id_its_beginning_or_their_case() -> None:
    rows = synthetic_rows(of(*(drawn(index) for index in range(6))))
    whole, short = sha("draw 4")[:32], sha("draw 2")[:8]
    assert indices(named(rows, [whole, short, "c0", whole])) == [4, 2, 0, 3]


@pytest.mark.parametrize("name", ["c9", "", "zz", "c"])
def test_a_name_that_no_volume_has_is_refused_with_names_that_some_have(name: str) -> None:
    rows = synthetic_rows(of(drawn(0)))
    first = sha("draw 0")[:12]
    with pytest.raises(UsageError, match=f"--ids {name}: found no .* as {first} or c0"):
        named(rows, [name])
    many = synthetic_rows(of(*(drawn(index) for index in range(603))))
    with pytest.raises(UsageError, match="found 201 volumes of these names; expected at most 200"):
        named(many, ["c0"])
    with pytest.raises(UsageError, match="there are none"):
        named(synthetic_rows(of()), [name])
