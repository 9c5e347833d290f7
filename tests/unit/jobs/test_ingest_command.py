"""What `factory ingest` sends people to next: a command that works on the cases it made."""

from pathlib import Path

import pytest

from jobs.ingest.command import _next


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_cases_for_the_model_that_ships_can_be_drawn_from_at_once() -> None:
    assert _next(None, None, None) == "factory generate --ratio 0.25"
    assert _next("demo", None, Path("c")) == "factory generate --cases c --ratio 0.25"


def test_cases_of_another_recipe_or_grid_are_to_be_trained_on_first() -> None:
    assert _next(None, 128, None) == "factory train"
    assert _next("paper", None, Path("c")) == "factory train --cases c --recipe paper"
    Path("factory.toml").write_text('recipe = "paper"\n')
    assert _next(None, None, None) == "factory train"


def test_cases_of_whole_scans_are_for_imported_weights() -> None:
    assert _next("published", None, None).startswith("factory generate --model CKPT ")
