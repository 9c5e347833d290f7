"""A work id says everything that changes a voxel, and nothing else."""

import random
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from factory.nodules.place import PlacementConfig
from jobs.generate.config import GenerateConfig
from jobs.generate.plan import PlanSettings, WorkItem, layout_seed, plan_id, plan_items, plan_table
from manifests.schema import PLAN_SCHEMA

GOLDEN = Path(__file__).parents[2] / "golden" / "plan_ids.txt"

SHARED = PlanSettings(
    model_digest="a" * 64,
    steps=250,
    config=GenerateConfig(),
    bank_digest="b" * 64,
    seed=0,
)


def donor(case_id: str, *, num_nodules: int = 1, **changes: Any) -> dict[str, Any]:
    row = {
        "case_id": case_id,
        "patient_id": f"patient of {case_id}",
        "layout_id": f"layout of {case_id}",
        "nodules": [{"diameter_mm": 9.0}] * num_nodules,
        "image_sha256": f"image of {case_id}",
        "layout_sha256": f"labels of {case_id}",
        "affine": [2.0, 0, 0, -90, 0, 2.0, 0, -80, 0, 0, 2.5, -300, 0, 0, 0, 1.0],
    }
    return row | changes


ROWS = [donor("a"), donor("b"), donor("c", num_nodules=0), donor("d", num_nodules=0)]


def ids(rows: list[dict[str, Any]], shared: PlanSettings, count: int = 12) -> dict[Any, str]:
    return {(i.case_id, i.seed_index): i.work_id for i in plan_items(rows, shared, count)}


def changed_cases(rows: list[dict[str, Any]], shared: PlanSettings) -> set[str]:
    """Cases whose ids are not what they are for `ROWS` and `SHARED`; all of a case's, or none."""
    before, after = ids(ROWS, SHARED), ids(rows, shared)
    assert before.keys() == after.keys()
    changed = {case for case, _ in before if before[case, 0] != after[case, 0]}
    for (case, index), work_id in after.items():
        assert (work_id != before[case, index]) == (case in changed)
    return changed


def test_the_order_of_the_rows_does_not_matter() -> None:
    plan = plan_items(ROWS, SHARED, 10)
    for seed in range(5):
        shuffled = random.Random(seed).sample(ROWS, len(ROWS))
        assert plan_items(shuffled, SHARED, 10) == plan


def test_a_smaller_plan_is_the_beginning_of_a_larger_one() -> None:
    large = plan_items(ROWS, SHARED, 17)
    for count in range(18):
        assert plan_items(ROWS, SHARED, count) == large[:count]


def test_every_case_is_drawn_from_once_before_any_is_again() -> None:
    plan = plan_items(ROWS, SHARED, 12)
    for start in (0, 4, 8):
        in_round = plan[start : start + 4]
        assert {item.case_id for item in in_round} == {"a", "b", "c", "d"}
        assert {item.seed_index for item in in_round} == {start // 4}
    assert [item.plan_index for item in plan] == list(range(12))


def test_the_donor_is_named_and_its_nodules_are_kept_or_placed() -> None:
    for item in plan_items(ROWS, SHARED, 8):
        assert item.patient_id == f"patient of {item.case_id}"
        if item.case_id in "ab":
            assert (item.layout_origin, item.layout_id) == (
                "annotated",
                f"layout of {item.case_id}",
            )
        else:
            assert item.layout_origin == "placed"
            assert len(item.layout_id) == 32


def test_each_draw_places_other_nodules_and_keeps_annotated_ones() -> None:
    layouts: dict[str, set[str]] = {}
    for item in plan_items(ROWS, SHARED, 12):
        layouts.setdefault(item.case_id, set()).add(item.layout_id)
    assert {case: len(found) for case, found in layouts.items()} == {"a": 1, "b": 1, "c": 3, "d": 3}


def test_work_ids_and_seeds_are_unique_and_of_their_width() -> None:
    plan = plan_items(ROWS, SHARED, 400)
    assert len({item.work_id for item in plan}) == 400
    assert len({item.seed for item in plan}) == 400
    assert all(len(item.work_id) == 32 and int(item.work_id, 16) >= 0 for item in plan)
    seeds = [item.seed for item in plan] + [layout_seed(0, "a", i) for i in range(400)]
    # Half of them have the highest of 63 bits; a column of int64 holds them all.
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert 300 < sum(seed >= 2**62 for seed in seeds) < 500


@pytest.mark.parametrize(
    "changes",
    [
        {"model_digest": "c" * 64},
        {"steps": 50},
        {"seed": 1},
        {"config": GenerateConfig(clip_x0=False)},
        {"config": GenerateConfig(sigma="beta")},
        {"config": GenerateConfig(sampler="ddim")},
        {"config": GenerateConfig(variant="authors")},
        {"config": GenerateConfig(blend="start")},
        {"config": GenerateConfig(precision="bfloat16")},
        {"config": GenerateConfig(compiled=True)},
    ],
    ids=lambda changes: " ".join(map(str, changes.items())),
)
def test_what_changes_every_voxel_changes_every_id(changes: dict[str, Any]) -> None:
    assert changed_cases(ROWS, replace(SHARED, **changes)) == {"a", "b", "c", "d"}


@pytest.mark.parametrize(
    "changes",
    [
        {"bank_digest": "c" * 64},
        {"config": GenerateConfig(placement=PlacementConfig(max_nodules=4))},
        {"config": GenerateConfig(placement=PlacementConfig(margin_mm=2.0))},
    ],
    ids=["bank", "number", "margin"],
)
def test_placement_changes_only_cases_whose_nodules_are_placed(changes: dict[str, Any]) -> None:
    assert changed_cases(ROWS, replace(SHARED, **changes)) == {"c", "d"}


@pytest.mark.parametrize(
    "config",
    [
        GenerateConfig(num_threads=8),
        GenerateConfig(max_attempts=9),
        GenerateConfig(blend="level"),
    ],
    ids=["threads", "tries", "default by its name"],
)
def test_how_the_work_is_done_changes_no_id(config: GenerateConfig) -> None:
    assert changed_cases(ROWS, replace(SHARED, config=config)) == set()


@pytest.mark.parametrize(
    ("case_id", "changes"),
    [
        ("a", {"image_sha256": "other voxels"}),
        ("a", {"layout_sha256": "other labels"}),
        ("c", {"layout_sha256": "other labels"}),
        ("a", {"affine": [3.0] + [0.0] * 15}),
    ],
    ids=["CT", "layout", "layout without nodules", "affine"],
)
def test_a_case_that_has_changed_changes_its_own_ids_only(
    case_id: str, changes: dict[str, Any]
) -> None:
    rows = [row | changes if row["case_id"] == case_id else row for row in ROWS]
    assert changed_cases(rows, SHARED) == {case_id}


def test_a_renamed_patient_or_another_donor_beside_it_changes_no_id() -> None:
    renamed = [row | {"patient_id": "anonymous"} for row in ROWS]
    assert changed_cases(renamed, SHARED) == set()
    before, after = ids(ROWS, SHARED), ids([*ROWS, donor("e")], SHARED, 15)
    assert before.items() <= after.items()


def test_the_plan_id_is_that_of_its_items_in_their_order() -> None:
    plan = plan_items(ROWS, SHARED, 4)
    assert plan_id(plan) == plan_id(plan_items(ROWS[::-1], SHARED, 4))
    assert plan_id(plan) != plan_id(plan[:3])
    assert plan_id(plan) != plan_id(plan_items(ROWS, replace(SHARED, seed=1), 4))


def test_a_row_has_the_columns_of_the_plan() -> None:
    table = plan_table(plan_items(ROWS, SHARED, 3))
    assert table.schema == PLAN_SCHEMA
    assert table.to_pylist() == [asdict(item) for item in plan_items(ROWS, SHARED, 3)]


def line(item: WorkItem) -> str:
    return f"{item.case_id} {item.seed_index} {item.work_id} {item.seed} {item.layout_id}\n"


def test_ids_are_what_they_were_in_earlier_releases() -> None:
    """A lake of an earlier release can be gone on with."""
    text = "".join(line(item) for item in plan_items(ROWS, SHARED, 6))
    assert text == GOLDEN.read_text(), "raise ALGORITHM if a voxel moved; else mend the plan"
