"""`factory.toml` says where things are; flags say it louder."""

from pathlib import Path

import pytest

from factory.errors import UsageError
from jobs.demo import job as demo_job
from jobs.workspace import is_named, path_of, place_of, recipe_of


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_without_a_file_each_thing_is_where_its_name_says() -> None:
    assert [path_of(name, None) for name in ("cases", "run", "lake")] == [
        Path("cases"),
        Path("run"),
        Path("lake"),
    ]
    assert recipe_of(None, "paper") == "paper"


def test_the_file_stands_above_the_name_and_the_flag_above_the_file() -> None:
    Path("factory.toml").write_text('recipe = "tiny"\n[paths]\nrun = "runs/a"\n')

    assert path_of("run", None) == Path("runs/a")
    assert path_of("lake", None) == Path("lake")
    assert (is_named("run"), is_named("lake")) == (True, False)
    assert path_of("run", Path("other")) == Path("other")
    assert recipe_of(None, "paper") == "tiny"
    assert recipe_of("demo", "paper") == "demo"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("recipe =", r"^factory\.toml: found .*; expected TOML\. Correct it\."),
        (
            "recipee = 'a'",
            r"found key recipee; expected recipe and paths\.cases, paths\.run, paths\.lake\. "
            r"Correct the name\.",
        ),
        ("[paths]\nmodel = 'a'", r"found key paths\.model; expected recipe and paths\.cases"),
        ("paths = 'lakes'", r"found paths = 'lakes'; expected a table"),
        ("recipe = 3", r"found recipe = 3; expected a text"),
        ("[paths]\nlake = 3", r"found paths\.lake = 3; expected a text"),
    ],
)
def test_a_slip_in_the_file_is_named(text: str, message: str) -> None:
    Path("factory.toml").write_text(text)
    with pytest.raises(UsageError, match=message):
        path_of("lake", None)


def test_a_file_of_another_encoding_is_named() -> None:
    Path("factory.toml").write_bytes("# größe\n".encode("latin-1"))
    with pytest.raises(UsageError, match=r"factory\.toml: found .*decode.*; expected TOML"):
        recipe_of(None, "paper")


def test_the_folder_of_a_demo_finds_its_own_recipe_again(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("own.toml").write_text("")
    demo_job._claim(Path("a"), "tiny")
    demo_job._claim(Path("b"), "own.toml")
    monkeypatch.chdir("a")
    assert recipe_of(None, "paper") == "tiny"
    monkeypatch.chdir("../b")
    assert Path(recipe_of(None, "paper")).samefile("../own.toml")


def test_a_lake_may_be_a_url_by_flag_and_by_file() -> None:
    assert place_of("lake", "s3://bucket/lake") == "s3://bucket/lake"
    Path("factory.toml").write_text('[paths]\nlake = "s3://bucket/other"\n')
    assert place_of("lake", None) == "s3://bucket/other"
    assert place_of("lake", "./here/") == "here"
    assert place_of("cases", None) == "cases"


def test_a_url_that_lost_a_slash_does_not_become_a_folder() -> None:
    with pytest.raises(UsageError, match=r"lake s3:/bucket/lake: found a URL with one slash"):
        place_of("lake", "s3:/bucket/lake")


@pytest.mark.parametrize("given", [Path("s3://bucket/run"), "s3://bucket/run"])
def test_where_only_a_folder_will_do_a_url_is_refused(given: str | Path) -> None:
    with pytest.raises(UsageError, match=rf"^run {given}: found a URL; expected a path .*Mount"):
        path_of("run", given)


@pytest.mark.parametrize("url", ["s3://AKID:hush@bucket/run", "s3://AKID:hu/sh@bucket/run"])
def test_credentials_are_not_repeated_where_no_url_will_do_or_one_lost_a_slash(url: str) -> None:
    for given in (url, Path(url)):
        with pytest.raises(UsageError, match=r"^run: found a URL; expected") as told:
            path_of("run", given)
        assert "AKID" not in str(told.value)
    with pytest.raises(UsageError, match=r"^lake: found a URL with one slash") as told:
        place_of("lake", str(Path(url)))
    assert "AKID" not in str(told.value)


def test_a_url_with_credentials_is_refused_without_repeating_them() -> None:
    with pytest.raises(UsageError, match=r"found a user, a password") as told:
        place_of("lake", "s3://AKID:hush@bucket/lake")
    assert "hush" not in str(told.value)


def test_a_demo_does_not_take_over_a_workspace() -> None:
    Path("factory.toml").write_text("recipe = 'paper'")
    with pytest.raises(UsageError, match=r"found a folder with other things in it"):
        demo_job._claim(Path("."), "demo")
    assert Path("factory.toml").read_text() == "recipe = 'paper'"


@pytest.mark.parametrize("given", ["", "  "])
def test_an_empty_place_is_not_the_working_directory(given: str) -> None:
    with pytest.raises(UsageError, match=r"^lake: found an empty name; expected a path or a URL"):
        place_of("lake", given)
