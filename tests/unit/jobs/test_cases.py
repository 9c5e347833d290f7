"""A case store as training and generating see it."""

from pathlib import Path

import pytest

from factory.errors import StoreError
from factory.lake import MANIFEST, Lake
from jobs.cases import CaseStore, digest_of, open_case_store
from manifests.write import write_manifest


def test_a_store_says_its_grid_and_its_training_cases(cases_16: Path) -> None:
    store = open_case_store(cases_16)
    assert store.grid == 16
    assert store.url == str(cases_16)
    assert [row["case_id"] for row in store.training_rows()] == ["c0", "c1", "c2"]
    assert [len(row["nodules"]) for row in store.rows] == [1, 1, 0]


def test_held_out_cases_are_no_training_cases() -> None:
    splits = ("train", "val", "test", "train")
    store = CaseStore(
        "here", {}, [{"case_id": i, "split": split} for i, split in enumerate(splits)]
    )
    assert [row["case_id"] for row in store.training_rows()] == [0, 3]


def test_a_store_without_training_cases_is_of_no_use() -> None:
    store = CaseStore("here", {}, [{"case_id": 0, "split": "test"}])
    with pytest.raises(StoreError, match=r"case store here: no case is in the training split"):
        store.training_rows()


def test_a_case_is_its_ct_its_layout_and_where_it_lies(cases_16: Path) -> None:
    row = open_case_store(cases_16).rows[0]
    digest = digest_of(row)
    assert digest_of({**row, "patient_id": "x", "image_uri": "x", "notes": ["x"]}) == digest
    for changes in ({"image_sha256": "x"}, {"layout_sha256": "x"}, {"affine": [0.0] * 16}):
        assert digest_of({**row, **changes}) != digest


def test_a_folder_that_is_no_store_is_named_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(
        StoreError, match=r"^case store .*: found none; expected .*factory ingest.* with --cases\."
    ):
        open_case_store(tmp_path)


def test_a_lake_is_no_case_store(tmp_path: Path) -> None:
    Lake(tmp_path).claim({"kind": "lake"})
    with pytest.raises(StoreError, match=r"found none; expected a folder that `factory ingest`"):
        open_case_store(tmp_path)


def test_an_ingest_that_did_not_end_is_told_from_no_store(tmp_path: Path) -> None:
    Lake(tmp_path).claim({"kind": "cases"})
    with pytest.raises(StoreError, match=rf"found no {MANIFEST}; expected a finished ingest\. Run"):
        open_case_store(tmp_path)


def test_an_ingest_that_kept_no_case_is_told_when_the_store_is_opened(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    lake.claim({"kind": "cases", "ingest": {}})
    write_manifest([], lake.storage.child(MANIFEST))
    with pytest.raises(
        StoreError, match=r"no case is in the training split; expected at least one"
    ):
        open_case_store(tmp_path)
