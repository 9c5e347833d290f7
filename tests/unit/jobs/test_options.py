"""Flags that several verbs share."""

from pathlib import Path

import pytest

from factory.errors import UsageError
from jobs import options
from jobs.amount import Amount
from manifests.split import SplitFractions


def test_three_flags_become_one_amount() -> None:
    assert options.amount(None, 0.5, None) == Amount(extra=0.5)
    with pytest.raises(UsageError, match="found ratio and extra, expected exactly one"):
        options.amount(0.1, 0.5, None)


def test_a_split_is_read_and_its_absence_is_left_to_the_store() -> None:
    assert options.parse_split("70/20/10") == SplitFractions(train=70, val=20, test=10)
    assert options.parse_split(None) is None


def test_a_wrong_split_is_a_wrong_flag() -> None:
    with pytest.raises(UsageError, match=r"^--split: split 80/10/20 sums to 110, expected three"):
        options.parse_split("80/10/20")
    with pytest.raises(UsageError, match=r"^--split: split is '80', expected three whole percent"):
        options.parse_split("80")


def test_the_recipe_is_that_of_the_model_that_ships_unless_a_file_or_a_flag_says_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert options.recipe_name(None) == "demo"
    Path("factory.toml").write_text('recipe = "tiny"\n')
    assert options.recipe_name(None) == "tiny"
    assert options.recipe_name("paper") == "paper"


def test_a_folder_named_like_a_model_that_ships_is_typed_so_that_it_is_meant() -> None:
    assert options.model_value(Path("demo")) == "./demo"
    assert options.model_value(Path("runs/demo")) == "runs/demo"
