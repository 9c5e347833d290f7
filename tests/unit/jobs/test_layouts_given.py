"""Layouts come back from a radiologist's editor, and volumes are drawn after them."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from layout_folders import draw_nodule, edit, rows_of, volume_of

from factory.digests import sha256_of_voxels
from factory.errors import CaseError, StoreError
from factory.ingest.nifti import read_labels
from factory.nodules.layout_file import write_nifti
from jobs.cases import CaseStore
from jobs.generate.config import GenerateConfig
from jobs.generate.plan import PlanSettings, WorkItem, plan_items
from jobs.layouts.given import GivenLayout, find_layouts, read_given

SHARED = PlanSettings(
    model_digest="a" * 64, steps=2, config=GenerateConfig(), bank_digest="b" * 64, seed=0
)


def found(folder: Path, store: CaseStore) -> Any:
    return find_layouts(folder, store.training_rows(), store)


def test_a_layout_that_nobody_touched_is_known_by_its_bytes(
    layout_folder: Path, store_32: CaseStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So a thousand cases are planned without reading a voxel."""
    monkeypatch.setattr("jobs.layouts.given.read_volume", None)
    monkeypatch.setattr("jobs.layouts.given.read_layout", None)
    given = found(layout_folder, store_32)
    for case_id in ("c0", "c1", "c2"):
        rows = rows_of(layout_folder, case_id)
        assert [layout.layout_id for layout in given.by_case[case_id]] == [
            row["layout_id"] for row in rows
        ]
        assert [layout.sha256 for layout in given.by_case[case_id]] == [
            row["layout_sha256"] for row in rows
        ]
        assert {layout.origin for layout in given.by_case[case_id]} == {"rule"}
    assert (dict(given.refused), list(given.unknown)) == ({}, [])


def test_an_edited_layout_is_another_layout(layout_folder: Path, store_32: CaseStore) -> None:
    before = found(layout_folder, store_32)
    row = rows_of(layout_folder, "c0")[1]
    written = edit(layout_folder, store_32, row)
    given = found(layout_folder, store_32)
    first, second = given.by_case["c0"]
    assert first == before.by_case["c0"][0]
    assert (second.origin, second.made_id) == ("edited", row["layout_id"])
    assert second.sha256 == sha256_of_voxels(written)
    assert second.layout_id == f"{row['layout_id']}-edited-{second.sha256[:16]}"
    assert given.digest != before.digest
    assert given.by_case["c1"] == before.by_case["c1"]


def test_a_layout_that_was_saved_and_not_edited_is_still_the_rules(
    layout_folder: Path, store_32: CaseStore
) -> None:
    row = rows_of(layout_folder, "c1")[0]
    labels, affine = read_labels("c1", str(layout_folder / row["file"]), None)
    write_nifti(layout_folder / row["file"], labels.astype(np.int16), affine)
    assert found(layout_folder, store_32).by_case["c1"][0].origin == "rule"
    assert found(layout_folder, store_32).digest == found(layout_folder, store_32).digest


def test_what_cannot_be_drawn_after_is_refused_and_the_rest_stays(
    layout_folder: Path, store_32: CaseStore
) -> None:
    first, second = rows_of(layout_folder, "c0")
    layout = draw_nodule(store_32, "c0")
    layout[0, 0, 0] = 1
    edit(layout_folder, store_32, first, layout)
    (layout_folder / rows_of(layout_folder, "c1")[0]["file"]).write_bytes(b"torn")
    given = found(layout_folder, store_32)
    assert [one.layout_id for one in given.by_case["c0"]] == [second["layout_id"]]
    assert len(given.by_case["c1"]) == 1
    reason = given.refused[f"c0.{first['layout_id']}"]
    assert isinstance(reason, CaseError)
    assert "has 1 voxel of lung (label 1) where the case has none" in str(reason)
    assert len(given.refused) == 2


def test_layouts_of_other_voxels_are_refused(layout_folder: Path, store_32: CaseStore) -> None:
    changed = [row | {"image_sha256": "f" * 64} for row in store_32.training_rows()]
    with pytest.raises(
        StoreError, match=r"found none for 3 training cases .* was made for other voxels than"
    ):
        find_layouts(layout_folder, changed, store_32)


def test_a_file_beside_the_layouts_is_told_of(layout_folder: Path, store_32: CaseStore) -> None:
    row = rows_of(layout_folder, "c0")[0]
    for name in ("mine.nii.gz", "rule.seg.nrrd"):
        shutil.copy(layout_folder / row["file"], layout_folder / "c0" / name)
    assert [Path(file).name for file in found(layout_folder, store_32).unknown] == [
        "mine.nii.gz",
        "rule.seg.nrrd",
    ]


def test_a_layout_id_that_leads_out_of_the_folder_is_refused(
    layout_folder: Path, store_32: CaseStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = rows_of(layout_folder, "c0")[0]
    rows = [row | {"layout_id": f"../../c1/rule-00-{row['layout_sha256'][:16]}"}]
    monkeypatch.setattr("jobs.layouts.given.open_layouts", lambda _: rows)
    with pytest.raises(
        StoreError, match=r"found layout_id '\.\./\.\./c1/.*'; expected rule-NUMBER"
    ):
        found(layout_folder, store_32)


def given_for(**sha256: str) -> dict[str, list[GivenLayout]]:
    return {
        case: [
            GivenLayout(layout_id=f"{case}-{digit}", origin="rule", sha256=digit * 64)
            for digit in digits
        ]
        for case, digits in sha256.items()
    }


def planned(store: CaseStore, layouts: Any, count: int = 10) -> list[WorkItem]:
    return plan_items(store.training_rows(), SHARED, count, layouts)


def test_each_round_takes_the_next_layout_of_every_case(store_32: CaseStore) -> None:
    items = planned(store_32, given_for(c0="12", c1="345"))
    assert {item.case_id for item in items} == {"c0", "c1"}
    assert [i.layout_id for i in items if i.case_id == "c0"] == ["c0-1", "c0-2"] * 2 + ["c0-1"]
    assert [i.layout_id for i in items if i.case_id == "c1"] == [
        "c1-3",
        "c1-4",
        "c1-5",
        "c1-3",
        "c1-4",
    ]
    assert len({item.work_id for item in items}) == len({item.seed for item in items}) == 10


def test_a_smaller_plan_is_the_beginning_of_a_larger_one(store_32: CaseStore) -> None:
    layouts = given_for(c0="12", c1="345", c2="6")
    for count in range(10):
        assert planned(store_32, layouts, count) == planned(store_32, layouts)[:count]


def test_a_work_id_holds_the_voxels_of_its_layout_and_not_its_name(store_32: CaseStore) -> None:
    layouts = given_for(c0="1", c1="2")
    renamed = {
        case: [replace(one, layout_id="other", origin="edited") for one in all_]
        for case, all_ in layouts.items()
    }
    ids = [item.work_id for item in planned(store_32, layouts)]
    assert [item.work_id for item in planned(store_32, renamed)] == ids
    edited = planned(store_32, given_for(c0="9", c1="2"))
    differ = {
        item.case_id for item, work_id in zip(edited, ids, strict=True) if item.work_id != work_id
    }
    assert differ == {"c0"}


def test_a_layout_that_changes_after_the_plan_is_not_drawn_after(
    layout_folder: Path, store_32: CaseStore
) -> None:
    row = rows_of(layout_folder, "c0")[0]
    volume = volume_of(store_32, "c0")
    own = (str(layout_folder), "c0")
    assert (
        sha256_of_voxels(read_given(*own, row["layout_id"], volume.layout, volume.affine))
        == (row["layout_sha256"])
    )
    edit(layout_folder, store_32, row)
    with pytest.raises(
        CaseError, match=r"case c0: .* was planned; expected the same\. It was edited"
    ):
        read_given(*own, row["layout_id"], volume.layout, volume.affine)
