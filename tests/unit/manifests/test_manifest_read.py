"""A manifest that is not one is refused, and its volumes are found wherever it lies."""

import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from manifest_rows import real

from manifests.errors import ManifestError
from manifests.read import MixCounts, mix_of, read_manifest, rebase_uris, resolve_uri
from manifests.schema import PLAN_SCHEMA
from manifests.write import manifest_table, write_manifest, write_table


def test_a_missing_manifest_is_named(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"none\.parquet: there is no such file.*Check the"):
        read_manifest(tmp_path / "none.parquet")


def test_a_file_that_is_not_parquet_is_named(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("not a manifest")
    with pytest.raises(ManifestError, match=r"notes\.txt: could not be read as Parquet.*run the"):
        read_manifest(path)
    with pytest.raises(ManifestError, match=r"could not be read as Parquet.*gopher"):
        read_manifest("gopher://x/manifest.parquet")


def test_a_flipped_bit_is_found(tmp_path: Path) -> None:
    path = tmp_path / "manifest.parquet"
    write_manifest([real("A"), real("B")], path)
    group = pq.read_metadata(path).row_group(0)
    columns = [group.column(i) for i in range(group.num_columns)]
    case_ids = next(column for column in columns if column.path_in_schema == "case_id")
    last_byte = case_ids.dictionary_page_offset + case_ids.total_compressed_size - 1
    content = bytearray(path.read_bytes())
    content[last_byte] ^= 1
    path.write_bytes(content)
    with pytest.raises(ManifestError, match="could not be read as Parquet"):
        read_manifest(path)


def test_another_schema_version_is_refused_with_both_versions(tmp_path: Path) -> None:
    table = manifest_table([real("A")])
    for version, found in ((b"7", "7"), (None, "none")):
        metadata = {b"ct_factory.schema_version": version} if version else None
        path = tmp_path / f"{found}.parquet"
        pq.write_table(table.replace_schema_metadata(metadata), path)
        with pytest.raises(
            ManifestError, match=f"{found}.parquet: schema version is {found}, expected 3. Write"
        ):
            read_manifest(path)


def test_a_plan_is_not_a_manifest(tmp_path: Path) -> None:
    path = tmp_path / "plan.parquet"
    write_table(PLAN_SCHEMA.empty_table(), path)
    with pytest.raises(ManifestError, match=r"plan\.parquet: columns are missing: kind, split.*"):
        read_manifest(path)


def test_folders_named_like_columns_do_not_become_columns(tmp_path: Path) -> None:
    path = tmp_path / "site=Laval" / "manifest.parquet"
    write_manifest([real("A")], path)
    assert "site" not in read_manifest(path).column_names


def test_mix_counts_only_the_training_split() -> None:
    held_out = [real("B", split="val"), real("C", split="test")]
    counts = mix_of(manifest_table([real("A"), *held_out]))
    assert counts == MixCounts(num_real=1, num_synthetic=0)
    assert (counts.synthetic_fraction, counts.synthetic_per_real) == (0.0, 0.0)
    paper = MixCounts(num_real=800, num_synthetic=400)
    assert (paper.synthetic_fraction, paper.synthetic_per_real) == (1 / 3, 0.5)


@pytest.mark.parametrize(
    ("manifest", "uri", "expected"),
    [
        ("/lake/manifest.parquet", "volumes/a.ome.zarr", "/lake/volumes/a.ome.zarr"),
        ("/lake/mixes/m.parquet", "../volumes/a.ome.zarr", "/lake/volumes/a.ome.zarr"),
        ("/lake/manifest.parquet", "/else/a.ome.zarr", "/else/a.ome.zarr"),
        ("/lake/manifest.parquet", "s3://b/a.ome.zarr", "s3://b/a.ome.zarr"),
        ("s3://b/lake/m.parquet", "volumes/a.ome.zarr", "s3://b/lake/volumes/a.ome.zarr"),
        ("s3://b/lake/mixes/m.parquet", "../volumes/a", "s3://b/lake/volumes/a"),
        ("s3://b/m.parquet", "volumes/a.ome.zarr", "s3://b/volumes/a.ome.zarr"),
        ("file:///lake/m.parquet", "volumes/a.ome.zarr", "/lake/volumes/a.ome.zarr"),
    ],
)
def test_a_relative_uri_starts_at_the_folder_of_its_manifest(
    manifest: str, uri: str, expected: str
) -> None:
    assert resolve_uri(manifest, uri) == expected


def test_a_volume_is_found_from_any_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = resolve_uri("lake/manifest.parquet", "volumes/a.ome.zarr")
    assert found == os.path.join(tmp_path, "lake", "volumes", "a.ome.zarr")


@pytest.mark.parametrize(
    ("old", "new", "uri", "expected"),
    [
        ("/lake/m.parquet", "/lake/m2.parquet", "volumes/a", "volumes/a"),
        ("/data/lake/m.parquet", "/data/mix.parquet", "volumes/a", "lake/volumes/a"),
        ("/data/lake/m.parquet", "/mixes/mix.parquet", "volumes/a", "/data/lake/volumes/a"),
        ("/data/lake/m.parquet", "/data/lake2/mix.parquet", "volumes/a", "/data/lake/volumes/a"),
        ("/data/lake/m.parquet", "/data/la/mix.parquet", "volumes/a", "/data/lake/volumes/a"),
        ("/data/m.parquet", "/data/lake/mix.parquet", "/data/lake/volumes/a", "volumes/a"),
        ("s3://b/lake/m.parquet", "s3://b/mix.parquet", "volumes/a", "lake/volumes/a"),
        ("s3://b/lake/m.parquet", "/data/mix.parquet", "volumes/a", "s3://b/lake/volumes/a"),
        ("/data/lake/m.parquet", "s3://b/mix.parquet", "volumes/a", "/data/lake/volumes/a"),
    ],
)
def test_a_moved_manifest_still_names_its_volumes(
    old: str, new: str, uri: str, expected: str
) -> None:
    rows = [real("A", image_uri=uri, layout_uri=f"{uri}/labels"), real("B", image_uri=uri)]
    moved = rebase_uris(manifest_table(rows), old, new)
    assert moved["image_uri"].to_pylist() == [expected] * 2
    assert moved["layout_uri"].to_pylist() == [f"{expected}/labels", None]
    assert resolve_uri(new, expected) == resolve_uri(old, uri)


def test_a_moved_manifest_keeps_its_schema(tmp_path: Path) -> None:
    moved = rebase_uris(manifest_table([real("A")]), "/a/m.parquet", "/b/m.parquet")
    assert isinstance(moved, pa.Table)
    write_manifest(moved, tmp_path / "m.parquet")
    assert read_manifest(tmp_path / "m.parquet")["image_uri"][0].as_py() == "/a/volumes/A.ome.zarr"
