"""The command line: quick to answer, the same tomorrow, and one line for an error."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from factory.errors import ClusterError, FactoryError, UsageError
from jobs import lakes
from jobs.app import app
from manifests.errors import ManifestError
from models.errors import CheckpointError

FACTORY = Path(sys.executable).with_name("factory")
GOLDEN = Path(__file__).parents[2] / "golden" / "cli.txt"
HEAVY = ("torch", "ray", "numpy", "pyarrow", "zarr", "scipy", "nibabel", "matplotlib", "fsspec")
VERBS: dict[str, Any] = dict(typer.main.get_group(app).commands)


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_the_command_line_loads_nothing_heavy() -> None:
    code = f"import sys, jobs.app; print([name for name in {HEAVY} if name in sys.modules])"
    assert python(code).stdout == "[]\n"


def cpu_seconds_of_help() -> float:
    with subprocess.Popen([FACTORY, "--help"], stdout=subprocess.DEVNULL) as process:
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return used.ru_utime + used.ru_stime


def test_help_answers_in_under_three_tenths_of_a_second() -> None:
    """In CPU time, the best of five: another program on the machine must not fail it."""
    assert min(cpu_seconds_of_help() for _ in range(5)) < 0.3


def test_without_arguments_there_is_help() -> None:
    result = CliRunner().invoke(app, [])
    assert all(f"\n  {verb} " in result.output for verb in VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_says_what_it_does_and_how_to_call_it(verb: str) -> None:
    text = VERBS[verb].help
    assert text.split("\n")[0].rstrip().endswith(".")
    _, _, example = text.partition("\b\nExample:\n")
    assert example.strip().startswith(f"factory {verb}")


@pytest.mark.parametrize("verb", VERBS)
def test_the_example_of_a_verb_has_only_options_that_it_has(verb: str) -> None:
    example = VERBS[verb].help.partition("Example:\n")[2].split()
    used = {word for word in example if word.startswith("--")}
    assert used <= {option for param in VERBS[verb].params for option in param.opts}


def test_every_option_and_argument_has_help() -> None:
    bare = [
        f"{verb} {param.name}"
        for verb, command in VERBS.items()
        for param in command.params
        if not param.help
    ]
    assert bare == []


def all_commands(commands: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Yield each verb, and each that stands below one."""
    for name, command in commands.items():
        yield f"{before}{name}", command
        yield from all_commands(getattr(command, "commands", {}), f"{before}{name} ")


def surface() -> str:
    """One line a verb, one a flag: what scripts of users rely on."""
    lines = []
    for verb, command in all_commands(VERBS):
        lines.append(f"{verb}\n")
        for param in command.params:
            name = " ".join(param.opts) if param.param_type_name == "option" else param.name
            value = f" {param.metavar}" if param.metavar else ""
            lines.append(f"  {name}{value}{' (required)' if param.required else ''}\n")
    return "".join(lines)


def test_no_verb_or_flag_comes_or_goes_unless_its_golden_text_does() -> None:
    assert surface() == GOLDEN.read_text(), "a flag is for good: what to run on, not how"


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (FactoryError("found a; expected b"), 1),
        (ClusterError("found a; expected b"), 1),
        (ManifestError("found a; expected b"), 1),
        (CheckpointError("found a; expected b"), 1),
        (UsageError("found a; expected b"), 2),
        (FactoryError("found a;\n    expected b"), 1),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_a_user_can_mend_is_one_line_on_stderr(
    error: Exception, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: Path) -> None:
        raise error

    monkeypatch.setattr(lakes, "open_lake", fail)
    result = CliRunner().invoke(app, ["status", "lake"])
    assert (result.exit_code, result.stdout) == (status, "")
    assert result.stderr == "error: found a; expected b\n"


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["status", "--fast"], "No such option: --fast"),
        (["sing"], "No such command 'sing'"),
        (["mix", "lake", "--count", "1"], "Missing option '--out'"),
        (["train", "--steps", "0"], "Invalid value for '--steps'"),
        (["train", "--device", "tpu"], "Invalid value for '--device'"),
        (["ingest"], "Missing argument 'SOURCE'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_usage_exits_2(arguments: list[str], problem: str) -> None:
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    assert problem in result.stderr
    assert result.stdout == ""


def test_a_bug_keeps_its_traceback() -> None:
    code = (
        "import jobs.lakes\n"
        "def open_lake(path): raise ZeroDivisionError('a bug')\n"
        "jobs.lakes.open_lake = open_lake\n"
        "from jobs.app import app\n"
        "app(['status'])"
    )
    ended = python(code)
    assert ended.returncode == 1
    assert ended.stderr.startswith("Traceback (most recent call last):")
    assert ended.stderr.endswith("ZeroDivisionError: a bug\n")


def test_an_interrupt_says_that_the_same_command_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(lakes, "open_lake", interrupt)
    result = CliRunner().invoke(app, ["status", "lake"])
    assert result.exit_code == 130
    assert result.stderr == "interrupted: the same command goes on from what is finished\n"


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (FileExistsError(17, "File exists", "x"), "a file; expected a folder there"),
        (NotADirectoryError(20, "Not a directory", "x"), "a file; expected a folder there"),
        (IsADirectoryError(21, "Is a directory", "x"), "a folder; expected a file there"),
        (
            FileNotFoundError(2, "No such file or directory", "x"),
            "no such file or folder; expected a path that can be used. Check it",
        ),
        (
            OSError(28, "No space left on device", "x"),
            "no space left; expected a path that can be used. Check it, its permissions and the free space",
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_the_system_refuses_is_told_with_a_way_out(
    error: OSError, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: Any) -> None:
        raise error

    monkeypatch.setattr("jobs.workspace.place_of", refused)
    ended = CliRunner().invoke(app, ["status"])
    assert ended.exit_code == 1
    assert ended.stderr.startswith(f"error: x: found {told}")
