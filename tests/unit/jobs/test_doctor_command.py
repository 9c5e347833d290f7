"""`factory doctor` as it is called."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from factory.errors import UsageError
from jobs.doctor import command, job
from jobs.doctor.asked import Asked
from jobs.doctor.finding import Finding, ok, problem, warning

app = typer.Typer()
app.command("doctor")(command.command)
WELL = ok("a", "well")
ODD = warning("b", "odd", "even", "Make it even.")
BAD = problem("c", "bad", "good", "Mend it.")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Asked]:
    """What the job was asked; it finds what `findings` has."""
    monkeypatch.chdir(tmp_path)
    seen: list[Asked] = []

    def examine(given: Asked) -> Iterator[Finding]:
        seen.append(given)
        yield from findings

    monkeypatch.setattr(job, "examine", examine)
    findings[:] = [WELL]
    return seen


findings: list[Finding] = []


@pytest.mark.parametrize(
    ("those", "status"), [([WELL], 0), ([WELL, ODD], 0), ([BAD, WELL], 1), ([ODD, BAD], 1)]
)
def test_only_a_problem_makes_it_fail(
    those: list[Finding], status: int, asked: list[Asked]
) -> None:
    findings[:] = those
    assert CliRunner().invoke(app, []).exit_code == status


def test_the_report_goes_to_stdout_and_the_last_line_to_stderr(asked: list[Asked]) -> None:
    findings[:] = [WELL, ODD]
    result = CliRunner().invoke(app, [])
    assert result.stdout.splitlines()[0] == "ok       a: well"
    assert "doctor: 1 ok, 1 warning, 0 problems" in result.stderr
    assert "doctor:" not in result.stdout


def test_json_is_all_of_stdout_and_fails_alike(asked: list[Asked]) -> None:
    findings[:] = [WELL, BAD]
    result = CliRunner().invoke(app, ["--json"])
    assert [one["check"] for one in json.loads(result.stdout)["findings"]] == ["a", "c"]
    assert result.exit_code == 1


def test_without_flags_nothing_but_this_folder_is_looked_at(asked: list[Asked]) -> None:
    CliRunner().invoke(app, [])
    assert asked == [Asked(cases=None, out=".", model="demo", device="auto", ray_address=None)]


def test_what_the_workspace_names_is_looked_at(asked: list[Asked]) -> None:
    Path("factory.toml").write_text('[paths]\ncases = "/data/cases"\nlake = "s3://bucket/lake"\n')
    CliRunner().invoke(app, ["--device", "cpu"])
    assert asked == [Asked(cases="/data/cases", out="s3://bucket/lake", device="cpu")]


def test_flags_stand_above_the_workspace(asked: list[Asked]) -> None:
    Path("factory.toml").write_text('[paths]\ncases = "/data/cases"\nlake = "s3://bucket/lake"\n')
    CliRunner().invoke(app, ["--cases", "mine", "--out", "here", "--ray-address", "auto"])
    assert asked == [Asked(cases="mine", out="here", ray_address="auto")]


def test_a_url_with_a_password_is_refused_without_it(asked: list[Asked]) -> None:
    result = CliRunner().invoke(app, ["--out", "s3://me:s3cr3t@bucket/lake"])
    assert isinstance(result.exception, UsageError)
    assert "s3cr3t" not in f"{result.exception} {result.output}"
    assert asked == []


def test_the_command_loads_nothing_heavy_and_its_help_neither() -> None:
    code = (
        "import sys, jobs.doctor.command; "
        "print([n for n in ('torch', 'ray', 'numpy', 'rich.table', 'packaging') if n in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout == "[]\n"


def test_what_is_asked_reaches_another_process_as_it_is() -> None:
    asked = Asked(cases="c d", out="s3://b/ä", ray_address=None)
    assert Asked.from_text(asked.to_text()) == asked
