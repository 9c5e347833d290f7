"""What ships is what was trained, in half the bytes."""

import runpy
import sys
from pathlib import Path

import pytest
import torch
from support import random_checkpoint

from jobs import ship
from models.card import read_model_card
from models.checkpoint import load_checkpoint


@pytest.fixture
def run(tmp_path: Path) -> Path:
    random_checkpoint(tmp_path / "run" / "model", seed=3)
    return tmp_path / "run"


def weights(path: Path) -> dict[str, torch.Tensor]:
    return load_checkpoint(path).denoiser.state_dict()


def test_a_run_ships_in_half_the_bytes_with_all_that_its_card_says(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "demo"
    assert ship.main([str(run), str(out)]) == 0

    trained, shipped = weights(run / "model"), weights(out)
    assert all(torch.equal(shipped[name], trained[name].half().float()) for name in trained)
    sizes = [(p / "weights.safetensors").stat().st_size for p in (out, run / "model")]
    assert sizes[0] / sizes[1] == pytest.approx(0.5, abs=0.02)
    was, now = read_model_card(run / "model"), read_model_card(out)
    assert (now.unet, now.schedule, now.preprocessing, now.training) == (
        was.unet,
        was.schedule,
        was.preprocessing,
        was.training,
    )
    told = capsys.readouterr()
    assert told.out == f"{out}\n"
    assert f"MB of weights, model {now.digest[:12]}" in told.err
    assert {path.stat().st_mode & 0o777 for path in out.iterdir()} == {0o644}


def test_the_page_about_an_earlier_model_stays_and_nothing_else_is_left(
    run: Path, tmp_path: Path
) -> None:
    out = random_checkpoint(tmp_path / "demo", seed=4)
    (out / "README.md").write_text("what it was trained on")
    digest = ship.ship(run, out)

    assert load_checkpoint(out).card.digest == digest
    assert (out / "README.md").read_text() == "what it was trained on"
    assert sorted(path.name for path in out.iterdir()) == [
        "README.md",
        "model.json",
        "weights.safetensors",
    ]


def test_a_checkpoint_ships_as_a_run_does(run: Path, tmp_path: Path) -> None:
    assert ship.ship(run / "model", tmp_path / "a") == ship.ship(run, tmp_path / "b")


def test_a_model_too_large_for_a_wheel_does_not_replace_the_one_that_ships(
    run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = random_checkpoint(tmp_path / "demo", seed=4)
    before = read_model_card(out)
    monkeypatch.setattr(ship, "MAX_BYTES", 100_000)

    assert ship.main([str(run), str(out)]) == 1
    assert "as float16; expected at most 0 MB to ship. Train one" in capsys.readouterr().err
    assert read_model_card(out) == before
    assert sorted(path.name for path in out.iterdir()) == ["model.json", "weights.safetensors"]


def test_a_run_without_a_model_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ship.main([str(tmp_path / "none"), str(tmp_path / "demo")]) == 1
    assert f"error: checkpoint {tmp_path}/none/model: there is no such" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["run"], ["run", "demo", "more"]])
def test_other_arguments_than_two_end_with_what_was_meant(
    arguments: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["ship", *arguments])
    monkeypatch.delitem(sys.modules, "jobs.ship")
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("jobs.ship", run_name="__main__")
    assert ended.value.code == 2
    assert capsys.readouterr() == ("", "usage: python -m jobs.ship RUN models/weights/demo\n")
    assert not list(tmp_path.iterdir())
