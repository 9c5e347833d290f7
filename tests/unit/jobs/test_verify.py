"""Each way in which a lake can be wrong is found, and named."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from broken_lakes import Rows, drawn, found, only_problem, rewrite, rows_of

from factory.digests import sha256_of_voxels
from factory.errors import StoreError
from factory.lake import MANIFEST, Lake
from factory.layouts import BACKGROUND
from factory.volumes import Volume, read_volume, write_volume


def test_nothing_is_wrong_with_a_whole_lake(lake: Path) -> None:
    assert found(lake) == []


def test_a_flipped_byte_is_found(lake: Path) -> None:
    row = drawn(lake, 1)
    shard = max((lake / row["image_uri"]).rglob("c/*/*/*"), key=lambda path: path.stat().st_size)
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    assert re.match(
        rf"case {row['case_id']}, {row['work_id']}: volume .*{row['work_id']}.*: found .*; expected a "
        "whole OME-Zarr group",
        only_problem(lake),
        re.DOTALL,
    )


def test_a_volume_that_is_gone_is_found(lake: Path) -> None:
    row = drawn(lake)
    shutil.rmtree(lake / row["image_uri"])
    assert only_problem(lake).startswith(f"case {row['case_id']}, {row['work_id']}: volume ")


def test_a_lost_shard_is_found_and_not_read_as_empty(lake: Path) -> None:
    row = drawn(lake)
    shutil.rmtree(lake / row["image_uri"] / "0" / "c")
    assert re.search(r"4,096 voxels .*never written \(a chunk is missing\)", only_problem(lake))


def test_a_lost_commit_is_found(lake: Path) -> None:
    row = drawn(lake, 2)
    (lake / "commits" / f"{row['work_id']}.json").unlink()
    assert found(lake) == [
        f"case {row['case_id']}, item {row['work_id']}: neither committed nor quarantined",
        f"item {row['work_id']}: in the manifest or committed, but not both",
    ]


def test_a_commit_that_was_not_planned_is_found(lake: Path) -> None:
    Lake(lake).commit("0" * 32, {})
    assert f"item {'0' * 32}: committed, but not in the plan" in found(lake)


def test_an_item_that_is_both_committed_and_quarantined_is_found(lake: Path) -> None:
    row = drawn(lake)
    Lake(lake).quarantine(row["work_id"], {})
    assert only_problem(lake) == (
        f"case {row['case_id']}, item {row['work_id']}: committed and quarantined; expected one of them"
    )


def test_an_item_that_was_given_up_is_no_problem(lake: Path) -> None:
    row = drawn(lake)
    (lake / "commits" / f"{row['work_id']}.json").unlink()
    Lake(lake).quarantine(row["work_id"], {})
    rewrite(lake, lambda rows: [r for r in rows if r["work_id"] != row["work_id"]])
    assert found(lake) == []


def test_a_row_that_the_manifest_lacks_is_found(lake: Path) -> None:
    row = drawn(lake)
    rewrite(lake, lambda rows: [r for r in rows if r["work_id"] != row["work_id"]])
    assert only_problem(lake) == (
        f"item {row['work_id']}: in the manifest or committed, but not both"
    )


@pytest.mark.parametrize("kind", ["image", "layout"])
def test_a_row_that_says_another_sha_is_found(lake: Path, kind: str) -> None:
    row, said = drawn(lake), "0" * 64

    def change(rows: Rows) -> Rows:
        return [r | {f"{kind}_sha256": said} if r["work_id"] == row["work_id"] else r for r in rows]

    rewrite(lake, change)
    name = f"case {row['case_id']}, {row['work_id']}"
    is_said = f"{row[f'{kind}_sha256']}, the manifest says {said}"
    assert found(lake) == [
        f"{name}: the commit has {kind}_sha256 {is_said}",
        f"{name}: {kind} has sha256 {is_said}",
    ]


@pytest.mark.parametrize("marker", ["{}", "[]", "null", '{"a":', ""])
def test_a_commit_that_is_not_one_is_found(lake: Path, marker: str) -> None:
    row = drawn(lake)
    (lake / "commits" / f"{row['work_id']}.json").write_text(marker)
    assert only_problem(lake).startswith(f"case {row['case_id']}, {row['work_id']}: ")


def test_a_volume_that_lies_elsewhere_in_the_patient_is_found(lake: Path) -> None:
    row = drawn(lake)
    group = lake / row["image_uri"] / "zarr.json"
    content = json.loads(group.read_text())
    content["attributes"]["ct_factory"]["affine_ras"][0][3] += 1.0
    group.write_text(json.dumps(content))
    assert f"{row['work_id']}: affine is [" in only_problem(lake)


def replace_volume(lake: Path, row: dict[str, Any], volume: Volume) -> None:
    """Put another volume in a row's place, and have commit and manifest agree with it."""
    path = row["image_uri"]
    shutil.rmtree(lake / path)
    write_volume(Lake(lake).storage, path, volume)
    sha = {"image_sha256": sha256_of_voxels(volume.ct)}
    commit = lake / "commits" / f"{row['work_id']}.json"
    commit.write_text(json.dumps(json.loads(commit.read_text()) | sha))
    rewrite(lake, lambda rows: [r | sha if r["work_id"] == row["work_id"] else r for r in rows])


@pytest.mark.parametrize(("label", "is_wrong"), [(BACKGROUND, True), (1, False)])
def test_a_voxel_outside_the_layout_that_is_not_the_references_is_found(
    lake: Path, label: int, is_wrong: bool
) -> None:
    """Although every sha agrees: the volume was drawn wrong, not torn."""
    row = drawn(lake)
    volume = read_volume(Lake(lake).storage, row["image_uri"])
    ct = volume.ct.copy()
    for z, y, x in np.argwhere(volume.layout == label)[:2]:
        ct[z, y, x] += 1
    replace_volume(lake, row, Volume(ct=ct, layout=volume.layout, affine=volume.affine))
    expected = [
        f"case {row['case_id']}, {row['work_id']}: 2 voxels outside the layout differ from the "
        "reference"
    ]
    assert found(lake) == (expected if is_wrong else [])


def test_a_volume_of_another_size_than_its_reference_is_found(lake: Path) -> None:
    row = drawn(lake)
    volume = read_volume(Lake(lake).storage, row["image_uri"])
    half = Volume(
        ct=np.ascontiguousarray(volume.ct[:8]), layout=volume.layout[:8], affine=volume.affine
    )
    replace_volume(lake, row, half)
    assert any("layout has sha256" in problem for problem in found(lake))
    sha = {"layout_sha256": sha256_of_voxels(half.layout)}
    rewrite(lake, lambda rows: [r | sha if r["work_id"] == row["work_id"] else r for r in rows])
    assert found(lake)[-1].endswith("has shape (8, 16, 16), but its reference (16, 16, 16)")


def test_a_volume_whose_donor_has_no_row_is_found(lake: Path) -> None:
    case_id = drawn(lake)["case_id"]
    rewrite(lake, lambda rows: [r for r in rows if r["kind"] != "real" or r["case_id"] != case_id])
    children = [row for row in rows_of(lake) if row["case_id"] == case_id]
    assert found(lake) == [
        f"case {case_id}, {row['work_id']}: its donor has no row in the manifest; expected one to "
        "compare with"
        for row in children
    ]


def test_a_damaged_reference_is_found_under_its_own_name(lake: Path, tmp_path: Path) -> None:
    real = next(row for row in rows_of(lake) if row["kind"] == "real")
    copy = shutil.copytree(real["image_uri"], tmp_path / "copy.ome.zarr")
    shutil.rmtree(copy / "0" / "c")
    rewrite(
        lake,
        lambda rows: [
            r | {"image_uri": str(copy)}
            if r["kind"] == "real" and r["case_id"] == real["case_id"]
            else r
            for r in rows
        ],
    )
    assert found(lake)[0].startswith(f"case {real['case_id']}, real: volume {copy}")


def test_a_lake_that_was_never_published_cannot_be_verified(lake: Path) -> None:
    (lake / MANIFEST).unlink()
    with pytest.raises(
        StoreError,
        match=r"found no manifest\.parquet; expected a finished run\. Run the same `factory generate`",
    ):
        found(lake)
