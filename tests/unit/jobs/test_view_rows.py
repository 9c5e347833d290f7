"""What `factory view` lists, filters and tells of rows, and which volumes it reads."""

import json
import os
import re
import shutil
import time
from datetime import UTC, datetime
from http import HTTPStatus
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from manifest_rows import real
from mix_sources import AFFINE, SHAPE, case, drawn, make_source, nodules, volume_of

from factory.axes import to_orientation
from factory.errors import StoreError
from factory.lake import MANIFEST, Lake
from factory.volumes import Volume, write_volume
from jobs.amount import Amount
from jobs.mix import write_mix
from jobs.view.catalog import Catalog, open_catalog
from jobs.view.site import GRID, MOST_ROWS, Answer, Site
from jobs.view.voxels import first_voxel
from manifests.errors import ManifestError
from manifests.read import read_manifest
from manifests.write import manifest_table, write_manifest

HOSTILE = "<script>alert(1)</script>\u202etxt.exe\x00"


def get(site: Site, path: str, **query: object) -> Any:
    """Return the JSON of an answer that is well."""
    answer = site.answer(path, "&".join(f"{name}={value}" for name, value in query.items()))
    assert answer.status == HTTPStatus.OK, answer.content
    return json.loads(answer.content)


def listed(site: Site, **query: object) -> list[int]:
    return [row["index"] for row in get(site, "rows", **query)["rows"]]


def lake_of(folder: Path, *rows: dict[str, object]) -> Site:
    return Site(open_catalog(make_source(folder, "lake", rows)))


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """Rows 0 and 1 are real, 2 to 4 synthetic."""
    return lake_of(
        tmp_path / "lake",
        case("A", nodules=nodules(7.0, 12.5)),
        case("B"),
        drawn("A", 0, qc_verdict="accept", qc_reasons=[], seed_index=0, nodules=nodules(6.0)),
        drawn("A", 1, qc_verdict="review", qc_reasons=["the seam shows"], seed_index=1),
        drawn("B", 2, qc_verdict="accept", qc_reasons=[], seed_index=0, nodules=[]),
    )


def test_rows_are_filtered_by_kind_verdict_and_text(site: Site) -> None:
    assert listed(site) == [0, 1, 2, 3, 4]
    assert listed(site, kind="real") == [0, 1]
    assert listed(site, kind="synthetic") == [2, 3, 4]
    assert listed(site, verdict="accept") == [2, 4]
    assert listed(site, verdict="none") == [0, 1]
    assert listed(site, kind="synthetic", verdict="review") == [3]
    assert listed(site, text="SEAM+shows") == [3]
    assert listed(site, text="patient+of+b") == [1, 4]
    assert listed(site, text=str(drawn("B", 2)["work_id"])[4:20]) == [4]
    assert listed(site, text=".*") == []
    assert listed(site, kind="other") == []


def test_the_counts_of_a_filter_are_those_of_its_rows(site: Site) -> None:
    about = get(site, "about")
    assert about["kinds"] == {"real": 2, "synthetic": 3}
    assert about["verdicts"] == {"none": 2, "accept": 2, "review": 1}
    for column, counts in (("kind", about["kinds"]), ("verdict", about["verdicts"])):
        for word, count in counts.items():
            assert get(site, "rows", **{column: word})["matched"] == count


def test_a_row_in_the_list_says_its_verdict_and_its_largest_nodule(site: Site) -> None:
    rows = get(site, "rows")["rows"]
    assert (rows[0]["title"], rows[0]["more"]) == ("A", "train, 2 nodules, to 12.5 mm")
    assert (rows[1]["more"], rows[4]["more"]) == ("train", "train, 0 nodules")
    assert (rows[3]["title"], rows[3]["verdict"]) == ("A, draw 1", "review")


def test_a_row_names_its_donor_its_reasons_and_its_figures(tmp_path: Path) -> None:
    row = drawn(
        "B",
        0,
        qc_verdict="review",
        qc_reasons=["the seam shows"],
        notes=["drawn twice"],
        qc_seam_score=2.34567,
        qc_background_equal=True,
        seed=7,
        created_at=datetime(2026, 1, 2, 3, 4, tzinfo=UTC),
        nodules=[nodules(6.25)[0] | {"num_readers": 3, "malignancy": 4.0}],
    )
    told = get(lake_of(tmp_path / "lake", case("A"), case("B"), row), "rows/2")
    assert told["donor"] == 1
    assert (told["reasons"], told["notes"]) == (["the seam shows"], ["drawn twice"])
    facts = dict(told["facts"])
    assert facts["made"] == "2026-01-02 03:04 UTC"
    assert facts["grid"] == "4 \u00d7 6 \u00d7 8 voxels of 2.5 \u00d7 2 \u00d7 1.5 mm (z, y, x)"
    assert (facts["seed"], facts["work id"]) == ("7", row["work_id"])
    figures = {name: value for name, value, _ in told["figures"]}
    assert figures == {"qc_background_equal": "yes", "qc_seam_score": "2.346"}
    (nodule,) = told["nodules"]
    assert (nodule["size"], nodule["center"]) == ("6.2 mm", [0.0, 0.0, 0.0])
    assert nodule["read"] == "readers 3, malignancy 4"


def test_a_real_row_and_one_without_its_donor_have_none(tmp_path: Path) -> None:
    site = lake_of(tmp_path / "lake", case("A"), drawn("A", 0))
    assert get(site, "rows/0")["donor"] is None
    (tmp_path / "alone").mkdir()
    write_manifest([drawn("A", 0)], tmp_path / "alone" / "m.parquet")
    assert get(Site(open_catalog(str(tmp_path / "alone" / "m.parquet"))), "rows/0")["donor"] is None


def test_what_is_not_finite_is_told_all_the_same(tmp_path: Path) -> None:
    wrong = nodules(5.0)[0] | {"center_ras_mm": [float("nan"), 0.0, 0.0]}
    site = lake_of(tmp_path / "lake", case("A", nodules=[wrong], qc_seam_score=float("inf")))
    told = get(site, "rows/0")
    assert told["nodules"][0]["center"] is None
    assert told["figures"][0][1] == "inf"


def test_hostile_texts_lose_what_turns_them_round(tmp_path: Path) -> None:
    site = lake_of(tmp_path / "lake", case("A", notes=[HOSTILE]))
    answer = site.answer("rows/0", "")
    assert answer.content.isascii()
    assert json.loads(answer.content)["notes"] == ["<script>alert(1)</script>\ufffdtxt.exe\ufffd"]


def test_a_list_is_told_in_pieces(site: Site) -> None:
    found = get(site, "rows", start=1, count=2)
    assert (found["start"], found["matched"]) == (1, 5)
    assert [row["index"] for row in found["rows"]] == [1, 2]
    assert listed(site, start=99) == []


def test_a_row_is_found_in_the_piece_that_holds_it(site: Site) -> None:
    assert get(site, "rows", at=4, count=2)["start"] == 4
    assert get(site, "rows", at=3, count=2, kind="synthetic")["start"] == 0
    assert listed(site, at=4, count=2, kind="synthetic") == [4]
    assert get(site, "rows", at=0, count=2, kind="synthetic")["start"] == 0


@pytest.mark.parametrize(
    "query",
    [
        "count=0",
        f"count={MOST_ROWS + 1}",
        "count=-1",
        "start=x",
        "at=",
        "order=kind",
        "kind=real&kind=real",
        f"text={'a' * 201}",
        "&".join(f"k{n}=1" for n in range(20)),
    ],
)
def test_a_query_that_cannot_be_meant_is_refused(site: Site, query: str) -> None:
    assert site.answer("rows", query).status == HTTPStatus.BAD_REQUEST


def test_a_hundred_thousand_rows_are_listed_while_somebody_waits(tmp_path: Path) -> None:
    one = manifest_table([drawn("A", 0, qc_verdict="accept", qc_reasons=["a", "b"])])
    table = pa.concat_tables([one] * 1000).combine_chunks()
    table = pa.concat_tables([table] * 100)
    site = Site(Catalog(url="many", folder=str(tmp_path), table=table))
    start = time.monotonic()
    found = get(site, "rows", start=99_990, text="a", kind="synthetic", verdict="accept")
    assert found["matched"] == 100_000
    assert len(found["rows"]) == 10
    assert len(site.answer("rows", f"count={MOST_ROWS}").content) < 100_000
    assert time.monotonic() - start < 3.0


def grid_of(answer: Answer) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(answer.headers[GRID])
    return found


def hu_of(answer: Answer) -> np.ndarray:
    shape = grid_of(answer)["shape"]
    return np.frombuffer(answer.content, "<i2", int(np.prod(shape))).reshape(shape)


def problem_of(answer: Answer) -> str:
    assert answer.status == HTTPStatus.UNPROCESSABLE_ENTITY
    return str(json.loads(answer.content)["problem"])


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


def test_a_case_store_and_a_mix_are_served_too(tmp_path: Path) -> None:
    store = make_source(tmp_path / "cases", "cases", [case("A"), case("B")])
    assert listed(Site(open_catalog(store))) == [0, 1]
    named = case("A") | {"image_uri": f"{store}/volumes/A.ome.zarr"}
    lake = make_source(tmp_path / "lake", "lake", [named, drawn("A", 0)])
    (tmp_path / "far").mkdir()
    mix = write_mix([lake], tmp_path / "far" / "mix.parquet", Amount(count=1))
    for place in (lake, mix):
        site = Site(open_catalog(place))
        assert np.array_equal(hu_of(site.answer("volumes/0", "")), volume_of("A").ct)
        drawn_hu = volume_of(str(drawn("A", 0)["work_id"])).ct
        assert np.array_equal(hu_of(site.answer("volumes/1", "")), drawn_hu)


def test_a_lake_in_a_bucket_is_served_and_so_is_a_mix_that_names_it(tmp_path: Path) -> None:
    lake = make_source("memory://viewed/lake", "lake", [case("A"), drawn("A", 0)])
    mix = write_mix([lake], tmp_path / "mix.parquet", Amount(count=1))
    for place in (lake, mix):
        answer = Site(open_catalog(place)).answer("volumes/0", "")
        assert np.array_equal(hu_of(answer), volume_of("A").ct)


def test_a_lake_half_way_has_what_was_committed_so_far(lake: Path) -> None:
    from report_pages import half_done

    left = half_done(lake, keep=3)
    catalog = open_catalog(str(lake))
    ids = [one for one in catalog.table["work_id"].to_pylist() if one]
    assert sorted(ids) == sorted(left)
    assert Site(catalog).answer(f"volumes/{catalog.table.num_rows - 1}", "").status == HTTPStatus.OK


def test_a_torn_manifest_is_told_and_the_commits_are_read(lake: Path) -> None:
    (lake / MANIFEST).write_bytes(b"PAR1 torn")
    site = Site(open_catalog(str(lake)))
    about = get(site, "about")
    assert about["kinds"]["synthetic"] == 4
    assert any("could not be read as Parquet" in problem for problem in about["problems"])


def test_what_is_no_lake_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="found neither a lake nor a case store"):
        open_catalog(str(tmp_path))
    with pytest.raises(ManifestError, match="there is no such file"):
        open_catalog(str(tmp_path / "mix.parquet"))


def test_the_parts_of_the_page_are_there_and_name_nothing_elsewhere(site: Site) -> None:
    page = site.answer("", "").content.decode()
    scripts = {path.name for path in files("jobs").joinpath("view", "page").iterdir()}
    assert "view.js" in scripts
    for name in {*scripts, "look.css", "slices.js"} - {"view.html"}:
        text = site.answer(name, "").content.decode()
        assert "http://" not in text + page
        assert "https://" not in text + page
        assert "innerHTML" not in text
    assert not re.search(r"<[^>]* on[a-z]+=", page)
    assert "<script>" not in page
    assert " style=" not in page


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
