"""Layouts come back from a radiologist's editor, and volumes are drawn after them."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from layout_folders import GRID, draw_nodule, edit, make_layouts, rows_of, volume_of
from support import make_case_store

from factory.digests import sha256_of_voxels
from factory.errors import CaseError, StoreError
from factory.ingest.nifti import read_labels
from factory.nodules.layout_file import write_nifti
from jobs.cases import CaseStore, open_case_store
from jobs.generate.config import GenerateConfig
from jobs.generate.plan import PlanSettings, WorkItem, plan_items
from jobs.layouts.given import GivenLayout, find_layouts, read_given

SHARED = PlanSettings(
    model_digest="a" * 64, steps=2, config=GenerateConfig(), bank_digest="b" * 64, seed=0
)


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three phantoms; c0 and c1 have a nodule, c2 has none."""
    return make_case_store(tmp_path_factory.mktemp("store") / "cases", 3, grid=GRID, bare=1)


@pytest.fixture(scope="module")
def store(cases: Path) -> CaseStore:
    return open_case_store(cases)


@pytest.fixture(scope="module")
def made(cases: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two layouts of each case; only to be copied."""
    out = tmp_path_factory.mktemp("made") / "layouts"
    make_layouts(cases, out)
    return out


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "layouts"))


def found(folder: Path, store: CaseStore) -> Any:
    return find_layouts(folder, store.training_rows(), store)


def test_a_layout_that_nobody_touched_is_known_by_its_bytes(
    folder: Path, store: CaseStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So a thousand cases are planned without reading a voxel."""
    monkeypatch.setattr("jobs.layouts.given.read_volume", None)
    monkeypatch.setattr("jobs.layouts.given.read_layout", None)
    given = found(folder, store)
    for case_id in ("c0", "c1", "c2"):
        rows = rows_of(folder, case_id)
        assert [layout.layout_id for layout in given.by_case[case_id]] == [
            row["layout_id"] for row in rows
        ]
        assert [layout.sha256 for layout in given.by_case[case_id]] == [
            row["layout_sha256"] for row in rows
        ]
        assert {layout.origin for layout in given.by_case[case_id]} == {"rule"}
    assert (dict(given.refused), list(given.unknown)) == ({}, [])


def test_an_edited_layout_is_another_layout(folder: Path, store: CaseStore) -> None:
    before = found(folder, store)
    row = rows_of(folder, "c0")[1]
    written = edit(folder, store, row)
    given = found(folder, store)
    first, second = given.by_case["c0"]
    assert first == before.by_case["c0"][0]
    assert (second.origin, second.made_id) == ("edited", row["layout_id"])
    assert second.sha256 == sha256_of_voxels(written)
    assert second.layout_id == f"{row['layout_id']}-edited-{second.sha256[:16]}"
    assert given.digest != before.digest
    assert given.by_case["c1"] == before.by_case["c1"]


def test_a_layout_that_was_saved_and_not_edited_is_still_the_rules(
    folder: Path, store: CaseStore
) -> None:
    row = rows_of(folder, "c1")[0]
    labels, affine = read_labels("c1", str(folder / row["file"]), None)
    write_nifti(folder / row["file"], labels.astype(np.int16), affine)
    assert found(folder, store).by_case["c1"][0].origin == "rule"
    assert found(folder, store).digest == found(folder, store).digest


def test_what_cannot_be_drawn_after_is_refused_and_the_rest_stays(
    folder: Path, store: CaseStore
) -> None:
    first, second = rows_of(folder, "c0")
    layout = draw_nodule(store, "c0")
    layout[0, 0, 0] = 1
    edit(folder, store, first, layout)
    (folder / rows_of(folder, "c1")[0]["file"]).write_bytes(b"torn")
    given = found(folder, store)
    assert [one.layout_id for one in given.by_case["c0"]] == [second["layout_id"]]
    assert len(given.by_case["c1"]) == 1
    reason = given.refused[f"c0.{first['layout_id']}"]
    assert isinstance(reason, CaseError)
    assert "has 1 voxels of lung (label 1) where the case has none" in str(reason)
    assert len(given.refused) == 2


def test_layouts_of_other_voxels_are_refused(folder: Path, store: CaseStore) -> None:
    changed = [row | {"image_sha256": "f" * 64} for row in store.training_rows()]
    with pytest.raises(
        StoreError, match=r"found none for the 3 training cases .* was made for other voxels than"
    ):
        find_layouts(folder, changed, store)


def test_a_file_beside_the_layouts_is_told_of(folder: Path, store: CaseStore) -> None:
    row = rows_of(folder, "c0")[0]
    for name in ("mine.nii.gz", "rule.seg.nrrd"):
        shutil.copy(folder / row["file"], folder / "c0" / name)
    assert [Path(file).name for file in found(folder, store).unknown] == [
        "mine.nii.gz",
        "rule.seg.nrrd",
    ]


def test_a_layout_id_that_leads_out_of_the_folder_is_refused(
    folder: Path, store: CaseStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = rows_of(folder, "c0")[0]
    rows = [row | {"layout_id": f"../../c1/rule-00-{row['layout_sha256'][:16]}"}]
    monkeypatch.setattr("jobs.layouts.given.open_layouts", lambda _: rows)
    with pytest.raises(
        StoreError, match=r"found layout_id '\.\./\.\./c1/.*'; expected rule-NUMBER"
    ):
        found(folder, store)


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


def test_each_round_takes_the_next_layout_of_every_case(store: CaseStore) -> None:
    items = planned(store, given_for(c0="12", c1="345"))
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


def test_a_smaller_plan_is_the_beginning_of_a_larger_one(store: CaseStore) -> None:
    layouts = given_for(c0="12", c1="345", c2="6")
    for count in range(10):
        assert planned(store, layouts, count) == planned(store, layouts)[:count]


def test_a_work_id_holds_the_voxels_of_its_layout_and_not_its_name(store: CaseStore) -> None:
    layouts = given_for(c0="1", c1="2")
    renamed = {
        case: [replace(one, layout_id="other", origin="edited") for one in all_]
        for case, all_ in layouts.items()
    }
    ids = [item.work_id for item in planned(store, layouts)]
    assert [item.work_id for item in planned(store, renamed)] == ids
    edited = planned(store, given_for(c0="9", c1="2"))
    differ = {
        item.case_id for item, work_id in zip(edited, ids, strict=True) if item.work_id != work_id
    }
    assert differ == {"c0"}


def test_a_layout_that_changes_after_the_plan_is_not_drawn_after(
    folder: Path, store: CaseStore
) -> None:
    row = rows_of(folder, "c0")[0]
    volume = volume_of(store, "c0")
    own = (str(folder), "c0")
    assert (
        sha256_of_voxels(read_given(*own, row["layout_id"], volume.layout, volume.affine))
        == (row["layout_sha256"])
    )
    edit(folder, store, row)
    with pytest.raises(
        CaseError, match=r"case c0: .* was planned; expected the same\. It was edited"
    ):
        read_given(*own, row["layout_id"], volume.layout, volume.affine)
