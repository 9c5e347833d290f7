"""What `factory demo` draws with, and what it leaves behind for the verbs."""

import sys
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support import draw_in_process, ingest_in_process, random_checkpoint

from factory.errors import RecipeError
from jobs.demo import job
from jobs.demo.job import DemoConfig, demo
from jobs.generate.model import find_model
from jobs.recipe import load_recipe
from jobs.train.config import TrainConfig
from manifests.read import read_manifest
from models.card import read_model_card

RECIPE = """
[ingest]
grid = 16
[train]
steps = 99
[train.graft]
probability = 0.5
[generate]
steps = 2
[demo]
num_patients = 2
scan_size = [24, 40, 48]
ratio = 0.5
"""


@pytest.fixture
def trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[Path, TrainConfig]]:
    """Run the demo in this process, in an empty folder; lists what it would have trained."""
    asked: list[tuple[Path, TrainConfig]] = []

    @contextmanager
    def connect(address: str | None = None) -> Any:
        yield None

    def train(cases: Path, run: Path, config: TrainConfig, *, recipe: str) -> SimpleNamespace:
        asked.append((run, config))
        random_checkpoint(run / "model", seed=1)
        return SimpleNamespace(step=config.steps, loss=0.5)

    draw_in_process(monkeypatch)
    monkeypatch.setattr(job, "connect", connect)
    monkeypatch.setattr(job, "ingest", ingest_in_process)
    monkeypatch.setattr(job, "train", train)
    monkeypatch.chdir(tmp_path)
    return asked


def run_demo(text: str) -> dict[str, str]:
    Path("own.toml").write_text(text)
    return dict(line.split(" ", 1) for line in demo(Path("demo"), "own.toml"))


def drawn_with(made: dict[str, str]) -> set[str]:
    rows = read_manifest(Path(made["manifest"])).to_pylist()
    return {row["model_digest"] for row in rows if row["kind"] == "synthetic"}


def test_volumes_are_drawn_by_the_model_that_ships_while_the_run_is_kept_apart(
    trained: list[tuple[Path, TrainConfig]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    ships = random_checkpoint(tmp_path / "ships", seed=2)
    monkeypatch.setattr(job, "shipped", {"demo": ships}.__getitem__)
    made = run_demo(f"{RECIPE}model = 'demo'\ntrain_steps = 7\n")

    assert (made["trained"], made["model"]) == ("demo/practice/model", str(ships))
    assert drawn_with(made) == {read_model_card(ships).digest}
    ((run, config),) = trained
    assert (run, config.steps) == (Path("demo/practice"), 7)
    told = capsys.readouterr().err
    assert "trained 7 steps, last loss 0.5000\n" in told
    assert "demo/practice is kept, not drawn with: taking the model that ships, demo\n" in told
    # So that `factory generate` there takes the model that ships, too.
    monkeypatch.chdir("demo")
    assert find_model(None) != "run"


def test_a_recipe_that_names_no_model_draws_with_the_one_it_trains(
    trained: list[tuple[Path, TrainConfig]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("PATH", "/none")
    made = run_demo(RECIPE)

    # Typed as it stands, in a shell that has activated nothing.
    assert f"cd demo && {Path(sys.executable).parent}/factory mix" in capsys.readouterr().err
    assert made["trained"] == made["model"] == "demo/run/model"
    assert drawn_with(made) == {read_model_card(Path("demo/run/model")).digest}
    # Nobody who tries the demo has nodules to graft.
    assert [(config.steps, config.graft.is_on) for _, config in trained] == [(99, False)]
    monkeypatch.chdir("demo")
    assert find_model(None) == "run"


def test_the_demo_recipe_trains_for_seconds_and_draws_with_the_model_that_ships() -> None:
    config = load_recipe("demo").table("demo", DemoConfig)
    assert (config.model, config.num_patients, config.ratio) == ("demo", 12, 0.25)
    assert 0 < config.train_steps <= 100


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("model = 'big'", r"\[demo\]: model is 'big'; known are demo, or none"),
        ("train_steps = -1", r"\[demo\]: train_steps is -1; it must be at least 1, or 0 for all"),
        ("num_patients = 0", r"\[demo\]: num_patients is 0; it must be at least 1"),
    ],
)
def test_a_setting_of_the_demo_outside_its_range_is_named(
    line: str, message: str, tmp_path: Path
) -> None:
    (tmp_path / "own.toml").write_text(f"[demo]\n{line}\n")
    with pytest.raises(RecipeError, match=message):
        load_recipe(str(tmp_path / "own.toml")).table("demo", DemoConfig)
