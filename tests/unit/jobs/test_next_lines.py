"""Each command ends in one line: what came out, and a command that can be pasted."""

import json
import shlex
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from factory.lake import Lake
from jobs.app import app
from jobs.console import command_line
from jobs.downstream.sweep import job as sweep_job
from jobs.downstream.sweep.job import SweepResult
from jobs.generate.again import THE_SAME, generate_line
from jobs.ingest import job as ingest_job


def run(*words: object) -> Any:
    return CliRunner().invoke(app, [*map(str, words)])


def next_of(result: Any) -> list[str]:
    """Return the words of the command that the last line names, having parsed it."""
    last = result.stderr.splitlines()[-1]
    words = shlex.split(last.partition(". Next: ")[2])
    parse(words)
    return words


def parse(words: list[str]) -> None:
    """Parse a command as the command line does, and run nothing of it."""
    assert words[0] == "factory"
    command: Any = typer.main.get_command(app)
    context, rest = None, words[1:]
    while hasattr(command, "resolve_command"):
        context = context or command.make_context("factory", rest[:0] or ["status"])
        name, found, rest = command.resolve_command(context, rest)
        if not rest or rest[0].startswith("-") or not hasattr(found, "resolve_command"):
            found.make_context(name, rest)
            return
        command, context = found, None


def test_a_command_is_quoted_and_leaves_out_what_was_not_given() -> None:
    flags = {
        "--out": "it's out",
        "--seed": None,
        "--extra": True,
        "--native": False,
        "--ids": ["a", "b c"],
    }
    line = command_line("factory x", "my lake", None, flags=flags)
    assert shlex.split(line) == [
        *("factory", "x", "my lake", "--out", "it's out", "--extra", "--ids", "a", "--ids", "b c"),
    ]


def test_status_verify_report_and_mix_lead_from_one_to_the_next(
    lake: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert next_of(run("status", "lake")) == ["factory", "verify", "lake"]
    assert next_of(run("verify", "lake")) == ["factory", "report", "lake"]
    assert next_of(run("report", "lake", "--volumes", 1)) == ["factory", "view", "lake"]
    mixed = run("mix", "lake", "--count", 1, "--out", "a mix.parquet")
    assert next_of(mixed)[:4] == ["factory", "downstream", "--manifest", "a mix.parquet"]


def test_a_lake_with_broken_volumes_leads_to_dropping_them_and_then_to_drawing_them_again(
    lake: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    next(Path("lake/volumes").iterdir()).rename("elsewhere")
    assert next_of(run("verify", "lake")) == ["factory", "verify", "lake", "--drop-broken"]
    dropped = run("verify", "lake", "--drop-broken").stderr.splitlines()[-1]
    told, _, line = dropped.partition(". Next: ")
    assert told == "1 problem, 1 volume dropped"
    assert line == generate_line(Lake(lake))


@pytest.fixture
def told(lake: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((lake / "dataset.json").read_text())
    return found


def line_of(lake: Path, told: dict[str, Any]) -> list[str]:
    (lake / "dataset.json").write_text(json.dumps(told))
    return shlex.split(generate_line(Lake(lake)))


def test_a_lake_tells_the_recipe_that_it_was_made_with_and_the_flags_above_it(
    lake: Path, told: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataclasses import asdict

    from jobs.generate.config import GenerateConfig
    from jobs.recipe import load_recipe

    monkeypatch.chdir(lake.parent)
    config = load_recipe("fast").table("generate", GenerateConfig, steps=7)
    told |= {"config": asdict(config), "asked": {"extra": 0.5}, "model": "demo", "nodules": ""}
    told["settings"]["seed"] = 3
    words = line_of(lake, told)
    parse(words)
    flags = dict(zip(words[2::2], words[3::2], strict=True))
    assert words[:2] == ["factory", "generate"]
    assert flags == {
        "--extra": "0.5",
        "--cases": told["cases"],
        "--model": "demo",
        "--out": "lake",
        "--recipe": "fast",
        "--steps": "7",
        "--seed": "3",
    }


def test_a_lake_of_somebodys_own_recipe_is_gone_on_with_by_the_same_command(
    lake: Path, told: dict[str, Any]
) -> None:
    told["config"]["quality"]["max_lung_shift_hu"] = 1.5
    assert " ".join(line_of(lake, told)) == THE_SAME
    told["config"]["unheard_of"] = 1
    assert " ".join(line_of(lake, told)) == THE_SAME
    del told["config"]
    assert " ".join(line_of(lake, told)) == THE_SAME


def test_a_dry_ingest_ends_with_the_command_that_does_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingest_job, "dry_run", lambda *_, **__: "input  case\na  a\nb  b")
    result = run(
        "ingest", "my scans", "--dry-run", "--out", "c", "--grid", 32, "--lungs", "threshold"
    )
    assert result.stdout == "input  case\na  a\nb  b\n"
    assert result.stderr == (
        "2 inputs, and nothing was written. Next: factory ingest 'my scans' --out c --grid 32 "
        "--lungs threshold\n"
    )
    parse(next_of(result))


@pytest.fixture
def swept(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the sweep was asked for; `result` is what it returns."""
    asked: dict[str, Any] = {"result": SweepResult("t3.md", 6, 0, [], ["figure-5a.png"])}

    def sweep(*given: Any, **settings: Any) -> SweepResult:
        asked.update(settings, config=given[2])
        result: SweepResult = asked["result"]
        return result

    monkeypatch.setattr(sweep_job, "sweep", sweep)
    return asked


def test_a_sweep_leads_to_the_report_of_its_lake(lake: Path, swept: dict[str, Any]) -> None:
    result = run("downstream", "sweep", "--manifest", lake, "--ratios", "0.25", "--out", "sw")
    assert result.exit_code == 0
    assert (
        "6 runs finished; differences from R in t3.md, curves in figure-5a.png. " in result.stderr
    )
    assert next_of(result) == ["factory", "report", str(lake), "--downstream", "sw"]
    mixed = run("downstream", "sweep", "--manifest", "mix.parquet", "--ratios", "0.25")
    assert next_of(mixed)[:3] == ["factory", "export", "mix.parquet"]


def test_a_sweep_of_which_runs_failed_leads_to_itself(lake: Path, swept: dict[str, Any]) -> None:
    swept["result"] = SweepResult("t3.md", 1, 2, [])
    words = ["--manifest", str(lake), "--ratios", "0.25", "--extra", "--steps", "5"]
    result = run("downstream", "sweep", *words)
    assert result.exit_code == 1
    assert "1 run finished, 2 failed: see failed.parquet; " in result.stderr
    assert next_of(result) == ["factory", "downstream", "sweep", *words]


def test_a_sweep_takes_the_network_and_the_steps_of_its_flags(swept: dict[str, Any]) -> None:
    run("downstream", "sweep", "--ratios", "0.25", "--network", "UNet", "--steps", 7)
    assert (swept["config"].network, swept["config"].steps) == ("UNet", 7)
    run("downstream", "sweep", "--ratios", "0.25")
    assert swept["config"].network == "AttentionUnet"


def test_where_a_browser_was_looked_into_files_come_next(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from jobs.view.job import _until_interrupted

    monkeypatch.chdir(tmp_path)
    with _until_interrupted(str(tmp_path / "lake")):
        raise KeyboardInterrupt
    ended = SimpleNamespace(stderr=capsys.readouterr().err)
    assert next_of(ended) == ["factory", "export", "lake", "--format", "nifti", "--out", "nifti"]
