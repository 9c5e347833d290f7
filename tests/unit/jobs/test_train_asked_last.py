"""A run that was interrupted tells how to go on; cases of another grid are told of."""

import shlex
from pathlib import Path

import pytest

from factory.errors import ModelError
from factory.ingest.prepare import IngestConfig
from jobs.cases import open_case_store
from jobs.generate.model import find_model, open_model
from jobs.recipe import load_recipe
from jobs.train import job
from jobs.train.config import TrainConfig
from jobs.train.run_folder import keep_last_asked, last_asked

CONFIG = load_recipe("tiny").table("train", TrainConfig)


@pytest.fixture
def begun(tmp_path: Path) -> Path:
    """A run that was interrupted after its checkpoint of step 40."""
    run = tmp_path / "my run"
    (run / "checkpoints" / "step_00000040").mkdir(parents=True)
    (run / "run.json").write_text("{}")
    keep_last_asked(run, 1_000, "factory train --out 'my run' --steps 1000")
    return run


def test_to_generate_with_a_run_that_was_interrupted_says_how_far_it_is_and_how_to_go_on(
    begun: Path, cases_16: Path
) -> None:
    with pytest.raises(ModelError) as caught:
        open_model(begun, open_case_store(cases_16))
    assert str(caught.value) == (
        f"run {begun}: found no model in it yet, and 40 of 1,000 steps done by its newest checkpoint; "
        "expected its last step. Go on with it: `factory train --out 'my run' --steps 1000`."
    )


def test_the_run_of_the_workspace_says_the_same(
    begun: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun.rename(begun.with_name("run"))
    monkeypatch.chdir(begun.parent)
    with pytest.raises(ModelError, match=r"^run run: .* 40 of 1,000 steps done .*--model demo\.$"):
        find_model(None)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"steps": "many", "command": 1}'])
def test_a_torn_note_of_what_was_asked_last_is_passed_over(
    begun: Path, cases_16: Path, content: str
) -> None:
    (begun / "last.json").write_text(content)
    assert last_asked(begun) is None
    with pytest.raises(ModelError, match=r"and 40 steps done .*the same factory train again"):
        open_model(begun, open_case_store(cases_16))


def test_the_command_that_goes_on_holds_from_any_folder(cases_16: Path, tmp_path: Path) -> None:
    store = open_case_store(cases_16)
    crops = tmp_path / "crops.npz"
    line = job._again(store, tmp_path / "a run", CONFIG, "tiny", crops)
    assert shlex.split(line) == [
        *("factory", "train", "--cases", str(cases_16), "--out", str(tmp_path / "a run")),
        *("--recipe", "tiny", "--steps", "20", "--nodules", str(crops)),
    ]
    own = job._again(store, tmp_path / "a run", CONFIG, "own.toml", None)
    assert f"--recipe {Path('own.toml').resolve()} " in own


def warned(cases: Path, run: Path, ingest: IngestConfig | None) -> None:
    job.dry_run(cases, run, CONFIG, recipe="tiny", ingest=ingest)


def test_cases_of_another_grid_than_the_recipes_are_told_of_once(
    cases_16: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("jobs.train.dry_run.describe", lambda *_, **__: "")
    warned(cases_16, tmp_path / "run", IngestConfig(grid=32, spacing_mm=1.5))
    told = capsys.readouterr().err
    assert told == (
        f"warning: case store {cases_16} was ingested with other settings than [ingest] of recipe tiny "
        "(grid of the recipe is 32, of the store 16; spacing_mm of the recipe is 1.5, of the store 0.0); "
        "expected the same. The model is trained on the store's grid, and draws from such cases alone. "
        "For the recipe's: factory ingest SCANS --recipe tiny --out CASES\n"
    )


def test_cases_of_the_recipes_grid_and_recipes_that_say_nothing_of_cases_are_not_warned_of(
    cases_16: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("jobs.train.dry_run.describe", lambda *_, **__: "")
    for ingest in (IngestConfig(grid=16), None):
        warned(cases_16, tmp_path / "run", ingest)
    assert capsys.readouterr().err == ""
