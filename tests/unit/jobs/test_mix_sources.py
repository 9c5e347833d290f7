"""One mix out of lakes and case stores, wherever they lie."""

import json
import os
import shutil
import uuid
from collections.abc import Iterator
from itertools import pairwise, product
from pathlib import Path

import fsspec
import pyarrow.parquet as pq
import pytest
from mix_sources import case, drawn, make_source, nodules
from typer.testing import CliRunner

from factory.digests import sha256_of_voxels
from factory.errors import StoreError, UsageError
from factory.lake import MANIFEST, Lake
from jobs.amount import Amount
from jobs.app import app
from jobs.lakes import manifest_of, read_row
from jobs.mix import write_mix
from manifests.errors import ManifestError
from manifests.read import read_manifest
from manifests.write import write_manifest

SIZES = [8, 8, 3, 25]
URIS = ("image_uri", "layout_uri")


@pytest.fixture(scope="module")
def whole_sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A case store, two lakes that were drawn from it, and another store of one patient."""
    folder = tmp_path_factory.mktemp("sources")
    rows = [case("A"), case("B"), case("V", split="val")]
    make_source(folder / "cases", "cases", rows)
    absolute = [row | {key: f"{folder}/cases/{row[key]}" for key in URIS} for row in rows]
    for name in ("one", "two"):
        made = [
            drawn("AB"[i % 2], i, lake=name, nodules=nodules(size), qc_verdict=verdict)
            for i, (size, verdict) in enumerate(
                zip(SIZES, ["accept", "review", "accept", "reject"], strict=True)
            )
        ]
        make_source(folder / name, "lake", [*absolute, *made])
    make_source(folder / "more", "cases", [case("C")])
    return folder


@pytest.fixture
def sources(whole_sources: Path, tmp_path: Path) -> list[Path]:
    """The same, to be changed: lakes name the volumes of the copied case store."""
    shutil.copytree(whole_sources, tmp_path, dirs_exist_ok=True)
    for name in ("one", "two"):
        manifest = tmp_path / name / MANIFEST
        rows = read_manifest(manifest).to_pylist()
        for row, key in product(rows, URIS):
            row[key] = row[key].replace(str(whole_sources), str(tmp_path))
        write_manifest(rows, manifest)
    return [tmp_path / name for name in ("one", "two", "cases", "more")]


def synthetic(manifest: str) -> list[str]:
    rows = read_manifest(manifest).to_pylist()
    return [row["work_id"] for row in rows if row["kind"] == "synthetic"]


def test_every_volume_of_a_mix_of_several_sources_opens(
    sources: list[Path], tmp_path: Path
) -> None:
    target = write_mix(sources, tmp_path / "mix.parquet", Amount(count=6))
    rows = read_manifest(target).to_pylist()
    assert [row["case_id"] for row in rows[:4]] == ["A", "B", "C", "V"]
    assert [row["plan_index"] for row in rows[4:]] == [0, 0, 1, 1, 2, 2]
    for row in rows:
        assert sha256_of_voxels(read_row(target, row).ct) == row["image_sha256"]
        assert not os.path.isabs(row["image_uri"])


def test_absolute_uris_open_after_the_manifest_has_moved(
    sources: list[Path], tmp_path: Path
) -> None:
    target = write_mix(sources, tmp_path / "mix.parquet", Amount(count=2), absolute=True)
    moved = Path(target).rename(tmp_path / "more" / "mix.parquet")
    rows = read_manifest(moved).to_pylist()
    assert all(row["image_uri"].startswith(f"{tmp_path}/") for row in rows)
    assert all(row["layout_uri"].startswith(f"{tmp_path}/") for row in rows)
    assert sha256_of_voxels(read_row(moved, rows[-1]).ct) == rows[-1]["image_sha256"]


def test_a_smaller_mix_of_the_same_sources_is_a_subset_in_any_order(
    sources: list[Path], tmp_path: Path
) -> None:
    ids = [
        set(synthetic(write_mix(order, tmp_path / "mix.parquet", Amount(count=count))))
        for count, order in zip((1, 3, 5), (sources, sources[::-1], sources), strict=True)
    ]
    assert [len(found) for found in ids] == [1, 3, 5]
    assert all(small < large for small, large in pairwise(ids))


def test_a_source_that_is_named_twice_counts_once(sources: list[Path], tmp_path: Path) -> None:
    once, twice = (
        read_manifest(write_mix(named, tmp_path / "mix.parquet", Amount(count=3)))
        for named in (sources[:1], [sources[0], f"{sources[0]}/"])
    )
    assert once.equals(twice)


def test_a_folder_that_is_no_source_and_one_that_is_unfinished_are_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"^/.*: found neither a lake nor a case store; expected"):
        manifest_of(tmp_path)
    Lake(tmp_path).claim({"kind": "cases"})
    with pytest.raises(StoreError, match=r"found no manifest\.parquet.*Run `factory ingest` again"):
        manifest_of(tmp_path)


@pytest.fixture
def bucket() -> Iterator[str]:
    url = f"memory://mix-{uuid.uuid4().hex}"
    yield url
    fsspec.filesystem("memory").rm(url, recursive=True)


def test_sources_and_the_mix_may_lie_behind_a_url(
    sources: list[Path], bucket: str, tmp_path: Path
) -> None:
    remote = make_source(f"{bucket}/lake", "lake", [case("D"), drawn("D", 0), drawn("D", 1)])
    target = write_mix([*sources, remote], f"{bucket}/lake/mix.parquet", Amount(count=4))
    assert target == Lake(f"{bucket}/lake").storage.child("mix.parquet")
    rows = {row["case_id"]: row for row in read_manifest(target).to_pylist()}
    assert rows["A"]["image_uri"].startswith(f"{tmp_path}/")
    assert rows["D"]["image_uri"].startswith("volumes/")
    for row in rows.values():
        assert sha256_of_voxels(read_row(target, row).ct) == row["image_sha256"]


@pytest.mark.parametrize("name", [MANIFEST, "volumes/mix.parquet"])
def test_what_a_lake_behind_a_url_needs_is_never_overwritten(
    sources: list[Path], bucket: str, name: str
) -> None:
    Lake(f"{bucket}/lake").claim({"kind": "lake"})
    with pytest.raises(UsageError, match=r"--out memory://.*found what belongs to a lake or case"):
        write_mix(sources, f"{bucket}/lake/{name}", Amount(count=1))


def run(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["mix", *map(str, arguments)])
    return result.exit_code, result.stdout, result.stderr


def test_the_command_unites_sources_and_says_what_it_took(
    sources: list[Path], tmp_path: Path
) -> None:
    out = tmp_path / "mix.parquet"
    status, stdout, stderr = run(*sources, "--count", 4, "--by-diameter", "--out", out)
    assert (status, stdout) == (0, f"{out}\n")
    assert stderr == (
        "largest nodule: none: 0, <6 mm: 2, 6-10 mm: 2, 10-20 mm: 0, >=20 mm: 0\n"
        "3 real + 4 synthetic training volumes (57.14% synthetic). "
        f"Next: factory export {out} --format nifti --out nifti\n"
    )


def test_the_command_takes_the_workspaces_lake_where_none_is_named(
    sources: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "factory.toml").write_text('[paths]\nlake = "two"\n')
    monkeypatch.chdir(tmp_path)
    assert run("--count", 1, "--out", "mix.parquet")[0] == 0
    assert synthetic(str(tmp_path / "mix.parquet")) == [drawn("A", 0, lake="two")["work_id"]]


def test_the_least_verdict_is_kept_and_what_it_bars_is_counted(
    sources: list[Path], tmp_path: Path
) -> None:
    out = tmp_path / "mix.parquet"
    accepted = (*sources, "--min-verdict", "accept", "--out", out)
    assert run(*accepted, "--count", 4)[0] == 0
    verdicts = read_manifest(out)["qc_verdict"].to_pylist()
    assert verdicts[4:] == ["accept"] * 4
    status, _, stderr = run(*accepted, "--count", 5)
    assert status == 1
    assert "(4 more may not: 2 rejected by quality control, 2 not judged accept" in stderr
    assert run(*sources, "--count", 1, "--min-verdict", "reject", "--out", out)[0] == 2


def test_a_patient_who_trains_here_and_tests_there_stops_the_mix(
    sources: list[Path], tmp_path: Path
) -> None:
    make_source(
        tmp_path / "later", "cases", [case("other", patient_id="patient of A", split="test")]
    )
    with pytest.raises(
        ManifestError, match=r"^patient patient of A: found in train of /.*in test of"
    ):
        write_mix([*sources, tmp_path / "later"], tmp_path / "mix.parquet", Amount(count=1))
    assert not (tmp_path / "mix.parquet").exists()


def test_a_mix_says_what_it_was_made_from(sources: list[Path], tmp_path: Path) -> None:
    target = write_mix(sources, tmp_path / "mix.parquet", Amount(count=2), by_diameter=True)
    told = json.loads(pq.read_schema(target).metadata[b"ct_factory.made_from"])
    assert {key: told[key] for key in ("count", "min_verdict", "by_diameter")} == {
        "count": 2,
        "min_verdict": "review",
        "by_diameter": True,
    }
    assert told["sources"] == {
        str(source / MANIFEST): pq.read_schema(source / MANIFEST)
        .metadata[b"ct_factory.content_digest"]
        .decode()
        for source in sources
    }
