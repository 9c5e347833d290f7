"""What `--synthetic` means, given once or several times."""

from pathlib import Path

import pytest

from factory.errors import UsageError
from jobs.evaluate.names import check_names, default_name, parse_sets


def test_a_set_is_named_or_has_the_name_of_its_folder() -> None:
    found = parse_sets(["runs/ours", "med ddpm=runs/other/", "s3://bucket/a=b/lake"])
    expected = {"ours": "runs/ours", "med ddpm": "runs/other/", "lake": "s3://bucket/a=b/lake"}
    assert found == expected
    assert list(found) == list(expected)


def test_a_slash_tells_a_folder_with_an_equals_sign_from_a_name() -> None:
    assert parse_sets(["./lr=3"]) == {"lr-3": "./lr=3"}
    assert parse_sets(["lr=3"]) == {"lr": "3"}


def test_a_manifest_is_named_after_its_lake_or_its_own_file() -> None:
    assert default_name("runs/a/manifest.parquet") == "a"
    assert default_name("s3://bucket/b/manifest.parquet") == "b"
    assert default_name("mixes/mix-25.parquet") == "mix-25"


def test_a_folder_of_any_name_gives_a_name_that_tables_and_files_can_bear(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert default_name("runs/a|b\n*c") == "a-b-c"
    assert default_name("runs/_..hidden") == "hidden"
    assert default_name("runs/" + "x" * 99) == "x" * 64
    assert default_name("runs/Real") == "synthetic"
    assert default_name("/") == "synthetic"
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    assert default_name(".") == "here"
    for place in ("a|b", "_..hidden", "x" * 99, "Real", "/"):
        check_names({default_name(place): place})


def test_two_sets_of_one_name_are_refused_whatever_its_case() -> None:
    with pytest.raises(
        UsageError, match=r"b/lake: found two sets named lake \(a/lake is the other"
    ):
        parse_sets(["a/lake", "b/lake"])
    with pytest.raises(UsageError, match=r"two sets named OURS .*Give NAME=PLACE"):
        parse_sets(["ours=a", "OURS=b"])


@pytest.mark.parametrize("name", ["real", "REAL"])
def test_no_set_takes_the_name_of_the_real_one(name: str) -> None:
    with pytest.raises(UsageError, match=rf"found the name '{name}'; .* is the other set's"):
        parse_sets([f"{name}=lake"])


def test_a_name_without_a_place_is_refused() -> None:
    with pytest.raises(UsageError, match=r"'ours=': found no place; expected PLACE or NAME=PLACE"):
        parse_sets(["ours="])
    with pytest.raises(UsageError, match=r"found no set; expected one or more"):
        check_names({})


@pytest.mark.parametrize("name", ["a/b", "../up", "a|b", "", ".hidden", "x" * 65, "a\nb"])
def test_names_that_leave_the_folder_or_break_a_table_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match=r"expected up to 64 letters"):
        check_names({name: "lake"})
