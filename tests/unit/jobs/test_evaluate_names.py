"""What `--synthetic` means, given once or several times."""

import re
from pathlib import Path

import pytest

from factory.errors import UsageError
from jobs.evaluate.names import check_names, default_name, parse_sets


def test_a_set_is_named_or_has_the_name_of_its_folder() -> None:
    found = parse_sets(["runs/ours", "med ddpm=runs/other/", "s3://bucket/a=b/lake"])
    expected = {"ours": "runs/ours", "med ddpm": "runs/other/", "lake": "s3://bucket/a=b/lake"}
    assert found == expected
    assert list(found) == list(expected)


def test_a_slash_tells_a_folder_with_an_equals_sign_from_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lr=3").mkdir()
    monkeypatch.chdir(tmp_path)
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


@pytest.mark.parametrize("name", ["real", "REAL", "real ", " Real  "])
def test_no_set_takes_the_name_of_the_real_one(name: str) -> None:
    found = name.strip()
    with pytest.raises(UsageError, match=rf"found the name '{found}'; .* is the other set's"):
        parse_sets([f"{name}=lake"])


def test_spaces_around_a_name_are_none_of_it() -> None:
    assert parse_sets([" med ddpm =lake"]) == {"med ddpm": "lake"}
    with pytest.raises(UsageError, match=r"found two sets named ours"):
        parse_sets(["ours=a", "ours =b"])


@pytest.mark.parametrize(
    ("given", "place"),
    [
        ("a|b=ev/syn", "a|b=ev/syn"),
        ("../x=ev/syn", "../x=ev/syn"),
        ("x" * 70 + "=ev/syn", "x" * 70 + "=ev/syn"),
        ("lr=3=ev/syn", "3=ev/syn"),
        ("=ev/syn", "=ev/syn"),
    ],
)
def test_what_may_be_meant_as_a_name_and_is_none_is_told_with_the_names_that_are(
    given: str, place: str
) -> None:
    told = re.escape(f"found nothing at '{place}'")
    with pytest.raises(UsageError, match=rf"{told}.*with a name of up to 64 letters, digits"):
        parse_sets([given])


def test_a_folder_that_is_there_needs_no_name_whatever_it_is_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a|b=c").mkdir()
    (tmp_path / "3=x").mkdir()
    monkeypatch.chdir(tmp_path)
    assert parse_sets(["a|b=c", "lr=3=x"]) == {"a-b-c": "a|b=c", "lr": "3=x"}


def test_a_name_is_as_long_as_a_file_can_be_called() -> None:
    fits, longer = "\N{CJK UNIFIED IDEOGRAPH-80BA}" * 64, "\N{MATHEMATICAL BOLD SMALL X}" * 64
    assert parse_sets([f"{fits}=lake"]) == {fits: "lake"}
    with pytest.raises(UsageError, match=r"of 200 bytes at most"):
        parse_sets([f"{longer}=lake"])
    # Of a folder of that name, as much as there is room for.
    (name,) = parse_sets([f"runs/{longer}"])
    assert name == longer[:50]


def test_a_name_without_a_place_is_refused() -> None:
    with pytest.raises(UsageError, match=r"'ours=': found no place; expected PLACE or NAME=PLACE"):
        parse_sets(["ours="])
    with pytest.raises(UsageError, match=r"found no set; expected one or more"):
        check_names({})


@pytest.mark.parametrize("name", ["a/b", "../up", "a|b", "", ".hidden", "x" * 65, "a\nb", "a "])
def test_names_that_leave_the_folder_or_break_a_table_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match=r"expected up to 64 letters"):
        check_names({name: "lake"})
