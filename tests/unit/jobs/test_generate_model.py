"""Which model draws: the one that was named, the one that was trained, or the one that ships."""

from dataclasses import asdict, replace
from pathlib import Path

import pytest
from support import random_checkpoint
from typer.testing import CliRunner

from factory.errors import ModelError
from factory.ingest.prepare import IngestConfig
from factory.preprocessing import Preprocessing, published
from jobs.app import app
from jobs.cases import open_case_store
from jobs.generate import job
from jobs.generate.model import check_fit, find_model, open_model
from jobs.recipe import DEFAULT_RECIPE, load_recipe
from jobs.train.config import TrainConfig
from models.card import read_model_card
from models.weights import shipped

TAKES_DEMO = "generate: no model in run/; taking the one that ships, demo\n"


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def make_model(path: Path) -> Path:
    return random_checkpoint(path, seed=0)


def test_where_nothing_was_trained_the_model_that_ships_draws_and_it_is_said(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert find_model(None) == str(shipped("demo"))
    assert capsys.readouterr() == ("", TAKES_DEMO)


def test_a_run_that_has_a_model_stands_above_the_one_that_ships(
    capsys: pytest.CaptureFixture[str],
) -> None:
    make_model(Path("run/model"))
    assert find_model(None) == "run"
    assert capsys.readouterr().err == (
        "generate: taking the model in run/, the run of this workspace\n"
    )
    Path("factory.toml").write_text('[paths]\nrun = "runs/a"\n')
    make_model(Path("runs/a/model"))
    assert find_model(None) == "runs/a"


def test_a_run_that_somebody_counts_on_is_not_passed_over_for_the_model_that_ships() -> None:
    """Begun, or named in the settings: its volumes would be another model's."""
    Path("run").mkdir()
    assert find_model(None) == str(shipped("demo"))
    Path("run/run.json").write_text("{}")
    message = (
        r"^{}: found no model in it{}; expected .* take the model that ships with --model demo\."
    )
    begun = message.format("run run", " yet, and 0 steps done by its newest checkpoint")
    with pytest.raises(ModelError, match=begun):
        find_model(None)
    Path("factory.toml").write_text('[paths]\nrun = "typo"\n')
    with pytest.raises(ModelError, match=message.format("typo", "")):
        find_model(None)
    assert find_model("demo") == str(shipped("demo"))


def test_a_name_that_ships_wins_over_a_folder_of_that_name_and_says_how_to_mean_the_folder(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert find_model("demo") == str(shipped("demo"))
    assert capsys.readouterr().err == ""
    make_model(Path("demo"))
    assert find_model("demo") == str(shipped("demo"))
    assert "demo is the model that ships; the folder is --model ./demo" in capsys.readouterr().err
    assert find_model("./demo") == "demo"
    assert find_model("demo/run") == "demo/run"


def test_the_command_draws_with_what_was_found(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def generate(cases: str, model: str, *_: object, **__: object) -> None:
        asked.append(model)
        raise ModelError("enough")

    monkeypatch.setattr(job, "generate", generate)
    for flag in ([], ["--model", "demo"], ["--model", "elsewhere"]):
        CliRunner().invoke(app, ["generate", "--count", "1", *flag])
    make_model(Path("run/model"))
    CliRunner().invoke(app, ["generate", "--count", "1"])
    assert asked == [str(shipped("demo")), str(shipped("demo")), "elsewhere", "run"]


def test_a_name_that_is_neither_a_model_nor_a_folder_is_answered_with_those_that_ship(
    cases_16: Path,
) -> None:
    with pytest.raises(
        ModelError,
        match=r"model demos: found no model\.json there or in demos/model; expected a run of `factory "
        r"train` that reached its last step, a checkpoint, or the name of a model that ships: demo\.",
    ):
        open_model(Path("demos"), open_case_store(cases_16))


def test_the_default_recipe_is_the_one_that_made_the_model_that_ships() -> None:
    recipe, card = load_recipe(DEFAULT_RECIPE), read_model_card(shipped("demo"))
    ingest, train = recipe.table("ingest", IngestConfig), recipe.table("train", TrainConfig)
    fed = Preprocessing.from_json(card.preprocessing)
    assert card.unet == replace(train.model, grid=ingest.grid)
    assert card.schedule == train.schedule
    assert fed.hu_window == train.hu_window
    assert fed.ingest == asdict(ingest)


def test_cases_of_another_grid_are_told_how_to_become_ones_for_the_model_that_ships(
    cases_16: Path,
) -> None:
    with pytest.raises(
        ModelError,
        match=r"^model demo: its grid is 64\^3, but case store .* has 16\^3; expected one grid\. Make "
        r"some: `factory ingest SCANS --recipe demo --out CASES`, or train on these\.$",
    ):
        open_model(shipped("demo"), open_case_store(cases_16))


@pytest.mark.parametrize(
    ("grid", "flags"),
    [(64, "--recipe demo"), (128, "--recipe paper"), (32, "--recipe demo --grid 32")],
)
def test_a_model_of_ones_own_is_sent_to_the_recipe_that_makes_its_cases(
    grid: int, flags: str, cases_16: Path, model_16: Path
) -> None:
    card = read_model_card(model_16)
    fed = Preprocessing(ingest=asdict(IngestConfig(grid=grid))).as_json()
    other = replace(card, unet=replace(card.unet, grid=grid), preprocessing=fed)
    with pytest.raises(ModelError, match=f"`factory ingest SCANS {flags} --out CASES`"):
        check_fit(Path("run"), other, open_case_store(cases_16))


def test_a_model_is_not_fed_cases_that_were_ingested_otherwise(
    cases_16: Path, model_16: Path
) -> None:
    store = open_case_store(cases_16)
    other = replace(store, ingest={**store.ingest, "field_of_view": "scan"})
    with pytest.raises(
        ModelError, match=r"\(field_of_view was lungs, is scan\); expected the same"
    ):
        open_model(model_16, other)


WHOLE_SCANS = r"Make some: `factory ingest SCANS --recipe published --grid 16 --out CASES`, or train on these\."


def test_published_weights_want_cases_of_whole_scans_and_say_how_to_get_them(
    cases_16: Path, tmp_path: Path
) -> None:
    fed = published(("lung", "nodule"), 16)
    model = random_checkpoint(tmp_path / "model", seed=0, preprocessing=fed)
    store = open_case_store(cases_16)
    with pytest.raises(
        ModelError,
        match=rf"\(field_of_view was scan, is lungs\); expected the same\. {WHOLE_SCANS}",
    ):
        open_model(model, store)
    coarser = replace(store, rows=[{**row, "shape": [8, 8, 8]} for row in store.rows])
    with pytest.raises(
        ModelError, match=rf"its grid is 16\^3, but case store .* has 8\^3; .* {WHOLE_SCANS}"
    ):
        open_model(model, coarser)
    # The margin is around the lungs' box; whole scans have none.
    whole = {**store.ingest, "field_of_view": "scan", "margin_mm": 3.0}
    assert open_model(model, replace(store, ingest=whole))[0] == str(model)


def test_a_model_of_whole_scans_at_a_spacing_is_not_sent_to_the_published_recipe(
    cases_16: Path, model_16: Path
) -> None:
    ingest = {"field_of_view": "scan", "spacing_mm": 2.0}
    card = replace(read_model_card(model_16), preprocessing=Preprocessing(ingest=ingest).as_json())
    with pytest.raises(ModelError, match=r"expected the same\. Ingest the cases anew\.$"):
        check_fit(model_16, card, open_case_store(cases_16))


def test_a_model_that_names_no_ingest_settings_takes_any_cases_of_its_grid(
    cases_16: Path, model_16: Path
) -> None:
    card = replace(read_model_card(model_16), preprocessing={"hu_window": [-1000.0, 400.0]})
    store = open_case_store(cases_16)
    check_fit(model_16, card, store)
    coarser = replace(store, rows=[{**row, "shape": [8, 8, 8]} for row in store.rows])
    with pytest.raises(ModelError, match=r"one grid\. Ingest with --grid 16, or train on these"):
        check_fit(model_16, card, coarser)


def test_a_network_of_other_channels_than_its_labels_is_refused(
    cases_16: Path, model_16: Path
) -> None:
    card = read_model_card(model_16)
    nodules = replace(card, preprocessing=Preprocessing(labels=("nodule",)).as_json())
    with pytest.raises(
        ModelError, match=r"its network takes 3 channels, but its card names nodule; expected 2, "
    ):
        check_fit(model_16, nodules, open_case_store(cases_16))


def test_a_model_of_a_later_release_is_refused_by_name(cases_16: Path, model_16: Path) -> None:
    card = read_model_card(model_16)
    later = replace(card, preprocessing={**card.preprocessing, "gamma": 2.0})
    with pytest.raises(ModelError, match=r"^model run: its preprocessing .*: found key 'gamma'; "):
        check_fit(Path("run"), later, open_case_store(cases_16))
