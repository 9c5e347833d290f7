"""Another mixing ratio out of the same lake, in a file of its own."""

import os
from itertools import pairwise
from pathlib import Path

import pytest
from mix_sources import case, drawn, make_source
from typer.testing import CliRunner

from factory.digests import sha256_of_voxels
from factory.errors import UsageError
from factory.lake import MANIFEST, PLAN, QUARANTINE
from jobs.amount import Amount
from jobs.app import app
from jobs.lakes import read_row
from jobs.mix import write, write_mix
from manifests.errors import ManifestError
from manifests.read import mix_of, read_manifest


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    """Four volumes of three cases that lie elsewhere."""
    rows = [case(name) for name in "ABC"]
    store = make_source(tmp_path / "cases", "cases", rows)
    uris = ("image_uri", "layout_uri")
    real = [row | {key: f"{store}/{row[key]}" for key in uris} for row in rows]
    make_source(tmp_path / "lake", "lake", [*real, *(drawn("ABC"[i % 3], i) for i in range(4))])
    for name in (PLAN, QUARANTINE):
        (tmp_path / "lake" / name).write_bytes(b"a table")
    return tmp_path / "lake"


def synthetic_ids(manifest: Path | str) -> list[str]:
    rows = read_manifest(manifest).to_pylist()
    return [row["work_id"] for row in rows if row["kind"] == "synthetic"]


@pytest.mark.parametrize("place", ["lake", "beside", "deep/below"])
def test_a_mix_opens_from_wherever_it_is_written(
    lake: Path, tmp_path: Path, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    target = write(Path("lake"), Path(place, "mix.parquet"), Amount(count=2))
    assert target == str(tmp_path / place / "mix.parquet")

    monkeypatch.chdir("/")
    rows = read_manifest(target).to_pylist()
    assert [row["kind"] for row in rows] == ["real"] * 3 + ["synthetic"] * 2
    for row in rows:
        assert sha256_of_voxels(read_row(target, row).ct) == row["image_sha256"]
    relative = [row["image_uri"] for row in rows if not os.path.isabs(row["image_uri"])]
    assert len(relative) == (2 if place == "lake" else 0)


def test_a_smaller_mix_is_a_subset_of_a_larger_one(lake: Path, tmp_path: Path) -> None:
    ids = [
        synthetic_ids(write(lake, tmp_path / f"{count}.parquet", Amount(count=count)))
        for count in range(5)
    ]
    assert [len(found) for found in ids] == [0, 1, 2, 3, 4]
    assert all(small == large[: len(small)] for small, large in pairwise(ids))


def test_the_mix_has_the_share_that_was_asked_for_and_keeps_all_real_rows(
    lake: Path, tmp_path: Path
) -> None:
    counts = mix_of(write(lake, tmp_path / "mix.parquet", Amount(ratio=0.25)))
    assert (counts.num_real, counts.num_synthetic) == (3, 1)
    assert counts.synthetic_fraction == 0.25


def test_a_folder_is_no_file_to_write(lake: Path, tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match=r"^--out .*: found a folder; expected another Parquet file to write"
    ):
        write(lake, tmp_path, Amount(count=1))


@pytest.mark.parametrize(
    ("out", "told"),
    [
        ("s3:/bucket/mix.parquet", r"^--out s3:/bucket/mix\.parquet: found a URL with one slash"),
        ("s3:/AKID:hush@bucket/mix.parquet", r"^--out: found a URL with one slash"),
        ("s3://AKID:hush@bucket/mix.parquet", r"^a URL of s3: found a user, a password"),
        ("s3://bucket/mix.parquet?hush", r"^a URL of s3: found a user, a password"),
    ],
)
def test_a_url_to_write_to_that_is_not_whole_or_holds_a_secret_is_refused(
    lake: Path, out: str, told: str
) -> None:
    with pytest.raises(UsageError, match=told) as refused:
        write_mix([lake], out, Amount(count=1))
    assert "hush" not in str(refused.value)


def test_a_mix_beside_its_volumes_names_them_relative_also_through_a_link(
    lake: Path, tmp_path: Path
) -> None:
    (tmp_path / "link").symlink_to(lake)
    target = write(tmp_path / "link", tmp_path / "link" / "mix.parquet", Amount(count=1))
    assert target == f"{tmp_path}/link/mix.parquet"
    assert read_manifest(target)["image_uri"].to_pylist()[-1].startswith("volumes/")


def test_a_link_to_what_a_lake_needs_is_never_written_through(lake: Path, tmp_path: Path) -> None:
    (lake / "volumes").mkdir(exist_ok=True)
    (tmp_path / "link").symlink_to(lake / "volumes")
    (tmp_path / "mix.parquet").symlink_to(lake / MANIFEST)
    for out in (tmp_path / "link" / "mix.parquet", tmp_path / "mix.parquet"):
        with pytest.raises(UsageError, match=r"found what belongs to a lake or case store"):
            write(lake, out, Amount(count=1))


@pytest.mark.parametrize("name", [MANIFEST, PLAN, QUARANTINE])
@pytest.mark.parametrize("through", ["lake", "link"])
def test_the_tables_of_the_lake_itself_are_never_overwritten(
    lake: Path, tmp_path: Path, name: str, through: str
) -> None:
    (tmp_path / "link").symlink_to(lake)
    before = (lake / name).read_bytes()
    for source in (lake, tmp_path / "link"):
        with pytest.raises(
            UsageError, match=r"found what belongs to a lake or case store; expected another"
        ):
            write(source, tmp_path / through / name, Amount(count=1))
    assert (lake / name).read_bytes() == before


def test_more_than_the_lake_holds_is_refused_and_nothing_is_written(
    lake: Path, tmp_path: Path
) -> None:
    with pytest.raises(ManifestError, match=r"needs 5 synthetic volumes.*that may be used"):
        write(lake, tmp_path / "mix.parquet", Amount(count=5))
    assert not (tmp_path / "mix.parquet").exists()


def test_the_command_gives_the_path_on_stdout_and_the_counts_on_stderr(
    lake: Path, tmp_path: Path
) -> None:
    out = tmp_path / "mix.parquet"
    result = CliRunner().invoke(app, ["mix", str(lake), "--ratio", "0.4", "--out", str(out)])
    assert result.exit_code == 0, result.output
    assert result.stdout == f"{out}\n"
    assert result.stderr == (
        "3 real + 2 synthetic training volumes (40.00% synthetic). "
        f"Next: factory export {out} --format nifti --out nifti\n"
    )


def test_the_command_refuses_two_amounts_and_too_large_ones(lake: Path, tmp_path: Path) -> None:
    out = ["--out", str(tmp_path / "mix.parquet")]
    both = CliRunner().invoke(app, ["mix", str(lake), "--ratio", "0.4", "--count", "1", *out])
    assert both.exit_code == 2
    assert both.stderr.startswith("error: found ratio and count, expected exactly one of")
    many = CliRunner().invoke(app, ["mix", str(lake), "--count", "99", *out])
    assert many.exit_code == 1
    assert many.stderr.startswith("error: the mix needs 99 synthetic volumes")
    assert len(many.stderr.splitlines()) == 1


def test_a_share_that_rounds_to_nothing_is_announced(lake: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(
        app, ["mix", str(lake), "--ratio", "0.1", "--out", str(tmp_path / "mix.parquet")]
    )
    assert result.exit_code == 0
    assert "this share of 3 real volumes rounds to no synthetic one; --count 1" in result.stderr
    none = CliRunner().invoke(
        app, ["mix", str(lake), "--count", "0", "--out", str(tmp_path / "none.parquet")]
    )
    assert "rounds to no" not in none.stderr
