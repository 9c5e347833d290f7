"""Volumes as `factory view` answers with them: on the grid of the patient, whole, and from nowhere else."""

import json
import os
import re
import shutil
from http import HTTPStatus
from pathlib import Path

import numpy as np
import pytest
from manifest_rows import real
from mix_sources import AFFINE, SHAPE, case, make_source, volume_of
from view_sites import grid_of, hu_of, lake_of, make_site, problem_of

from factory.axes import to_orientation
from factory.lake import MANIFEST, Lake
from factory.volumes import Volume, write_volume
from jobs.view.catalog import open_catalog
from jobs.view.site import Site
from jobs.view.voxels import first_voxel
from manifests.read import read_manifest
from manifests.write import write_manifest


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return make_site(tmp_path / "lake")


def test_a_volume_has_the_grid_of_its_affine(site: Site) -> None:
    grid = grid_of(site.answer("volumes/0", ""))
    assert (grid["shape"], grid["spacing"]) == (list(SHAPE), [2.5, 2.0, 1.5])
    assert np.array_equal(np.reshape(grid["affine"], (4, 4)), AFFINE)
    np.testing.assert_allclose(np.reshape(grid["inverse"], (4, 4)) @ AFFINE, np.eye(4), atol=1e-9)


def test_a_volume_that_lies_otherwise_is_turned_to_the_patient(tmp_path: Path) -> None:
    """Stored with x to the left, y to posterior, and the axes in another order."""
    from factory.axes import affine_from_orientation

    site = lake_of(tmp_path / "lake", case("A"))
    volume = volume_of("A")
    codes = "RIP"
    turned = Volume(
        ct=to_orientation(volume.ct, codes),
        layout=to_orientation(volume.layout, codes),
        affine=_affine_of(codes),
    )
    np.testing.assert_allclose(
        affine_from_orientation(turned.affine, turned.ct.shape, codes), AFFINE, atol=1e-9
    )
    shutil.rmtree(tmp_path / "lake" / "volumes" / "A.ome.zarr")
    write_volume(Lake(tmp_path / "lake").storage, "volumes/A.ome.zarr", turned)
    rows = read_manifest(tmp_path / "lake" / MANIFEST).to_pylist()
    rows[0]["shape"] = list(turned.ct.shape)
    write_manifest(rows, tmp_path / "lake" / MANIFEST)
    site = Site(open_catalog(str(tmp_path / "lake")))
    answer = site.answer("volumes/0", "")
    assert np.array_equal(hu_of(answer), volume.ct)
    np.testing.assert_allclose(np.reshape(grid_of(answer)["affine"], (4, 4)), AFFINE, atol=1e-9)


def _affine_of(codes: str) -> np.ndarray:
    """Return where the voxels of `AFFINE` lie once they are turned to R, I, P."""
    assert codes == "RIP"
    nz, ny, _ = SHAPE
    affine = np.zeros((4, 4))
    # Index i is the last axis, to posterior; j to inferior; k, the first, to the right.
    affine[:3, 0], affine[:3, 1], affine[:3, 2] = -AFFINE[:3, 1], -AFFINE[:3, 2], AFFINE[:3, 0]
    affine[:, 3] = AFFINE @ [0, ny - 1, nz - 1, 1]
    return affine


def test_the_first_voxel_lies_in_the_largest_nodule() -> None:
    layout = np.zeros((6, 20, 20), np.uint8)
    layout[:, 2:18, 2:18] = 1
    layout[1, 3, 3] = 2
    layout[3:5, 8:13, 12] = 2
    layout[4, 12, 12:17] = 2
    z, y, x = first_voxel(layout)
    assert z == 4
    assert layout[z, y, x] == 2
    assert x >= 12


def test_without_nodules_the_first_voxel_is_in_the_middle_of_the_lungs() -> None:
    layout = np.zeros((6, 20, 20), np.uint8)
    layout[2:5, 4:11, 6:17] = 1
    assert first_voxel(layout) == [3, 7, 11]
    assert first_voxel(np.zeros((6, 20, 30), np.uint8)) == [3, 10, 15]


def test_a_torn_volume_is_told_and_the_others_are_there(site: Site, tmp_path: Path) -> None:
    shard = tmp_path / "lake" / "volumes" / "A.ome.zarr" / "0" / "c" / "0" / "0" / "0"
    content = bytearray(shard.read_bytes())
    content[len(content) // 3] ^= 1
    shard.write_bytes(content)
    assert "A.ome.zarr" in problem_of(site.answer("volumes/0", ""))
    shutil.rmtree(tmp_path / "lake" / "volumes" / "B.ome.zarr")
    assert "B.ome.zarr" in problem_of(site.answer("volumes/1", ""))
    assert site.answer("volumes/2", "").status == HTTPStatus.OK


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"\xff", b"[" * 100_000, b'{"shape": 3}'])
def test_records_of_a_volume_may_be_anything(site: Site, tmp_path: Path, content: bytes) -> None:
    record = tmp_path / "lake" / "volumes" / "A.ome.zarr" / "0" / "zarr.json"
    record.write_bytes(content)
    problem = problem_of(site.answer("volumes/0", ""))
    assert re.search(
        r"A.ome.zarr: found no record of 0 \(\w+\); expected a whole OME-Zarr", problem
    )


@pytest.mark.parametrize("what", ["shape", "shard", "row"])
def test_a_size_is_refused_before_an_array_is_made_of_it(
    site: Site, tmp_path: Path, what: str
) -> None:
    lake = tmp_path / "lake"
    record = lake / "volumes" / "A.ome.zarr" / "0" / "zarr.json"
    content, huge = json.loads(record.read_text()), [10**5] * 3
    if what == "shape":
        content["shape"] = huge
    if what == "shard":
        content["chunk_grid"]["configuration"]["chunk_shape"] = huge
    record.write_text(json.dumps(content))
    if what == "row":
        rows = read_manifest(lake / MANIFEST).to_pylist()
        rows[0]["shape"] = huge
        write_manifest(rows, lake / MANIFEST)
        site = Site(open_catalog(str(lake)))
    assert "[100000, 100000, 100000]" in problem_of(site.answer("volumes/0", ""))


@pytest.mark.parametrize("linked", ["the volume", "a file of it", "a folder of it", "volumes"])
def test_a_link_out_of_the_lake_is_refused_with_the_way_out(
    site: Site, tmp_path: Path, linked: str
) -> None:
    inside = {
        "the volume": "A.ome.zarr",
        "a file of it": "A.ome.zarr/0/c/0/0/0",
        "a folder of it": "A.ome.zarr/0/c",
        "volumes": "",
    }[linked]
    source = tmp_path / "lake" / "volumes" / inside
    target = tmp_path / "outside"
    shutil.move(source, target)
    Path(str(source).rstrip("/")).symlink_to(target)
    problem = problem_of(site.answer("volumes/0", ""))
    assert "a link in it, or to it, that leads out of" in problem
    assert "Put the volume there in place of the link" in problem


def test_a_link_within_the_lake_is_followed(site: Site, tmp_path: Path) -> None:
    volumes = tmp_path / "lake" / "volumes"
    shutil.move(volumes / "A.ome.zarr", volumes / "moved")
    (volumes / "A.ome.zarr").symlink_to(volumes / "moved")
    assert np.array_equal(hu_of(site.answer("volumes/0", "")), volume_of("A").ct)


def test_a_lake_that_is_itself_behind_a_link_is_served(site: Site, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "lake")
    linked = Site(open_catalog(str(tmp_path / "link")))
    assert np.array_equal(hu_of(linked.answer("volumes/0", "")), volume_of("A").ct)


@pytest.mark.parametrize(
    ("uri", "told"),
    [
        ("/etc", "neither below"),
        ("/etc/volumes/passwd", "neither below"),
        ("../other/A.ome.zarr", "neither below"),
        ("{lake}/../other/A.ome.zarr", "neither below"),
        ("http://example.com/volumes/A.ome.zarr", "a URL of http: expected a path, or a bucket"),
        ("ftp://example.com/A", "a URL of ftp"),
        ("file:///etc/volumes/A", "neither below"),
    ],
)
def test_a_row_that_names_a_place_elsewhere_is_refused(tmp_path: Path, uri: str, told: str) -> None:
    lake = tmp_path / "lake"
    make_source(lake, "lake", [case("A")])
    shutil.copytree(lake / "volumes", tmp_path / "other")
    rows = read_manifest(lake / MANIFEST).to_pylist()
    rows[0]["image_uri"] = uri.format(lake=lake)
    write_manifest(rows, lake / MANIFEST)
    assert told in problem_of(Site(open_catalog(str(lake))).answer("volumes/0", ""))


@pytest.mark.timeout(30)
def test_a_file_that_never_ends_holds_nobody_up(site: Site, tmp_path: Path) -> None:
    shard = tmp_path / "lake" / "volumes" / "A.ome.zarr" / "0" / "c" / "0" / "0" / "0"
    shard.unlink()
    os.mkfifo(shard)
    assert "which is no file" in problem_of(site.answer("volumes/0", ""))


def test_a_volume_of_a_crowd_or_a_flood_is_refused(site: Site, tmp_path: Path) -> None:
    volume = tmp_path / "lake" / "volumes" / "A.ome.zarr"
    with (volume / "0" / "c" / "0" / "0" / "0").open("r+b") as shard:
        shard.truncate(2 << 30)
    assert "expected at most" in problem_of(site.answer("volumes/0", ""))
    for number in range(80):
        (tmp_path / "lake" / "volumes" / "B.ome.zarr" / f"{number}").touch()
    assert "expected at most" in problem_of(site.answer("volumes/1", ""))


def test_a_row_of_a_store_elsewhere_is_read_where_the_manifest_names_it(tmp_path: Path) -> None:
    """A volume in a folder that is no store of ours is not."""
    make_source(tmp_path / "cases", "cases", [case("A")])
    lake = tmp_path / "lake"
    named = real("A") | case("A") | {"image_uri": f"{tmp_path}/cases/volumes/A.ome.zarr"}
    make_source(lake, "lake", [named])
    site = Site(open_catalog(str(lake)))
    assert site.answer("volumes/0", "").status == HTTPStatus.OK
    (tmp_path / "cases" / "dataset.json").unlink()
    assert "neither below" in problem_of(site.answer("volumes/0", ""))
