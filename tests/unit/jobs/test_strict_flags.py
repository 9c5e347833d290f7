"""A flag that takes one value is given once, and has one: the first of two would be lost, and an empty one is a slip."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from jobs.app import app


@pytest.mark.parametrize(
    ("words", "flag"),
    [
        ("mix lake --ratio 0.1 --out a --ratio=0.5", "--ratio"),
        ("generate --compiled --no-compiled --count 1", "--compiled"),
        ("downstream --steps 1 --steps 2", "--steps"),
        ("downstream sweep --ratios 0 --ratios 0.5", "--ratios"),
        ("export lake --format nifti --format hf --out a", "--format"),
    ],
)
def test_a_second_value_is_refused_and_nothing_begins(words: str, flag: str) -> None:
    ended = CliRunner().invoke(app, words.split())
    assert ended.exit_code == 2
    assert ended.stderr == (
        f"error: {flag}: found 2 times; expected once, for it takes one value. Leave the others away.\n"
    )


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (["export", "lake", "--format", "nifti", "--out", ""], "--out"),
        (["export", "", "--format", "nifti", "--out", "a"], "LAKE|MIX"),
        (["export", "lake", "--format", "nifti", "--out", "a", "--split", ""], "--split"),
        (["generate", "--count", "1", "--retry-class="], "--retry-class"),
        (["mix", "lake", "", "--ratio", "0.1", "--out", "a"], "LAKE|CASES"),
    ],
)
def test_an_empty_value_is_refused_and_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    ended = CliRunner().invoke(app, words)
    assert ended.exit_code == 2
    assert f"{name}: found an empty value; expected one." in ended.stderr
    assert not list(tmp_path.iterdir())


def test_flags_that_take_several_values_and_those_without_one_may_come_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for words in (
        "export lake --format hf --out a --split train --split val",
        "view --no-browser --no-browser",
    ):
        ended = CliRunner().invoke(app, words.split())
        assert "times" not in ended.stderr
        assert "found neither a lake" in ended.stderr or "found none" in ended.stderr
