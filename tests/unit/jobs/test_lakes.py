"""A lake as the verbs after `generate` read it."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from factory.digests import sha256_of_voxels
from factory.errors import StoreError
from factory.lake import MANIFEST, PLAN, Lake
from jobs.lakes import open_lake, planned_items, read_row
from manifests.read import read_manifest


def test_a_folder_that_is_no_lake_is_named_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(
        StoreError,
        match=r"^lake .*: found none; expected a folder that `factory generate` made\. Generate",
    ):
        open_lake(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_case_store_is_no_lake_even_with_a_plan_beside_it(tmp_path: Path) -> None:
    Lake(tmp_path).claim({"kind": "cases"})
    (tmp_path / PLAN).touch()
    with pytest.raises(StoreError, match=r"found none; expected a folder that `factory generate`"):
        open_lake(tmp_path)


def test_a_lake_without_its_plan_is_not_begun(lake: Path) -> None:
    (lake / PLAN).unlink()
    with pytest.raises(StoreError, match="found none"):
        open_lake(lake)


def test_an_identity_that_is_torn_is_named(lake: Path) -> None:
    (lake / "dataset.json").write_text('{"kind": "la')
    with pytest.raises(
        StoreError, match=r"dataset\.json: found .*; expected a JSON object\. Remove"
    ):
        open_lake(lake)


def test_items_come_in_the_order_of_the_plan(lake: Path) -> None:
    items = planned_items(open_lake(lake))
    assert [item["plan_index"] for item in items] == [0, 1, 2, 3]
    assert {item["work_id"] for item in items} == Lake(lake).committed_ids()


def test_a_row_leads_to_its_volume_wherever_the_lake_lies(lake: Path, tmp_path: Path) -> None:
    moved = Path(shutil.move(lake, tmp_path / "elsewhere"))
    rows = read_manifest(moved / MANIFEST).to_pylist()
    assert [row["kind"] for row in rows] == ["real"] * 3 + ["synthetic"] * 4
    for row in rows:
        volume = read_row(moved / MANIFEST, row)
        assert sha256_of_voxels(volume.ct) == row["image_sha256"]
        assert sha256_of_voxels(volume.layout) == row["layout_sha256"]
        np.testing.assert_array_equal(volume.affine.ravel(), row["affine"])


def test_a_volume_that_is_gone_is_named(lake: Path) -> None:
    row = read_manifest(lake / MANIFEST).to_pylist()[-1]
    shutil.rmtree(lake / row["image_uri"])
    with pytest.raises(StoreError, match=rf"^volume .*{row['work_id']}.*Make the volume again"):
        read_row(lake / MANIFEST, row)
