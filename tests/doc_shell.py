"""Types what a page of the docs shows, block by block, in a folder that has what the page names."""

import os
import re
import shlex
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import duckdb
import pytest
from doc_pages import PYTHON, QUERY, RECIPE, SHELL, Block, submitted
from typer.testing import CliRunner

from jobs.app import app
from jobs.recipe import load_recipe
from jobs.reference.recipes import CONFIGS
from jobs.workspace import SETTINGS_FILE, place_of

NOT_HERE = {
    ".": "the environment of the tests is the activated one",
    "make": "it installs; `factory demo` and the suite, which it runs then, are tested",
    "pip": "what it would install is installed",
    "ray": "starts clusters of several machines; what `ray job submit` is given is run",
    "helm": "asks a Kubernetes cluster",
    "kubectl": "asks a Kubernetes cluster",
    "docker": "builds and pushes an image of gigabytes",
    "ssh": "leads to another machine",
    **dict.fromkeys(
        (
            "nnUNetv2_plan_and_preprocess",
            "nnUNetv2_extract_fingerprint",
            "nnUNetv2_move_plans_between_datasets",
            "nnUNetv2_preprocess",
            "nnUNetv2_train",
            "nnUNetv2_predict",
            "nnUNetv2_evaluate_simple",
        ),
        "nnU-Net is no dependency, and trains for days on a GPU",
    ),
}
"""Programs, by the first word of a line, that no test can run, and why."""

BUILTINS = ("cd", "export")
PROGRAMS = ("cp", "mkdir")
"""Of the system's own, those that pages use."""

_ROOTS = ("/data/", "/archive/")
"""Absolute paths that pages name: below the page's own folder here."""

_BIN = Path(sys.executable).parent
_SECONDS = 300

Runs = Callable[[list[str]], None]
"""Runs the words of a `factory` line, and raises where it fails."""


class PageError(AssertionError):
    """What a page shows does not work."""


class Shell:
    """Types the blocks of one page.

    Args:
        folder: Where the page is read, the working directory.
        run: How `factory` is run.
        changed: What a page shows, by what is typed in its place.
    """

    def __init__(
        self, folder: Path, run: Runs, patch: pytest.MonkeyPatch, changed: Mapping[str, str]
    ) -> None:
        self.folder = folder
        self._run, self._patch, self._changed = run, patch, changed
        self._names: dict[str, Any] = {}
        self.unchanged = set(changed)
        """What was to be changed and has not been met yet."""

    def type(self, block: Block) -> None:
        """Run a block as its language says.

        Raises:
            PageError: It fails; the page, the line of the block and what was typed are named.
        """
        typed = block.text
        try:
            if block.language in SHELL:
                for typed in block.commands:
                    self._line(typed)
            elif block.language in PYTHON:
                exec(compile(block.text, block.place, "exec"), self._names)
            elif block.language in QUERY:
                assert duckdb.sql(block.text).fetchall(), "found no rows"
            elif block.language in RECIPE:
                _check_settings(block.text)
            else:
                raise AssertionError(f"nothing runs {block.language!r}")
        except Exception as error:
            told = "".join(traceback.format_exception(error))
            raise PageError(f"{block.place}: does not run:\n{typed}\n{told}") from None

    def _line(self, line: str) -> None:
        words = shlex.split(self._as_typed(submitted(line)), comments=True)
        match words:
            case ["factory", *arguments]:
                self._run(arguments)
            case ["export", *pairs]:
                self._export(pairs)
            case ["cd", place]:
                self._patch.chdir(place)
            case [program, *_] if program in PROGRAMS:
                subprocess.run(words, check=True, capture_output=True, timeout=_SECONDS)
            case [program, *_]:
                assert program in NOT_HERE, f"nothing here runs {program}"

    def _as_typed(self, line: str) -> str:
        for shown, typed in self._changed.items():
            if shown in line:
                self.unchanged.discard(shown)
                line = line.replace(shown, typed)
        for root in _ROOTS:
            line = re.sub(rf"(?<!\S){root}", f"{self.folder}{root}", line)
        return line

    def _export(self, pairs: list[str]) -> None:
        for pair in pairs:
            name, _, value = pair.partition("=")
            if value.startswith("$("):
                assert value[2:].split()[0] in NOT_HERE, f"nothing here runs {value}"
                continue
            self._patch.setenv(name, value)


def in_this_process(arguments: list[str]) -> None:
    """Run `factory` here; what serves until it is ended is a process of its own."""
    if arguments[0] == "view":
        look(arguments)
        return
    ended = CliRunner().invoke(app, arguments, prog_name="factory")
    if ended.exception and not isinstance(ended.exception, SystemExit):
        raise ended.exception
    assert ended.exit_code == 0, ended.output


def in_a_process(arguments: list[str]) -> None:
    """Run `factory` as whoever types it does, from a shell."""
    # With a second command the shell stays, which completion looks for among the parents.
    line = f"{shlex.join(['factory', *arguments])}; exit $?"
    ended = subprocess.run(
        ["bash", "-c", line],
        env=os.environ | {"PATH": f"{_BIN}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr


def look(arguments: list[str]) -> None:
    """Start `factory view`, ask for the page, and end it with Ctrl-C."""
    with _started([str(_BIN / "factory"), *arguments]) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        assert url, "found no address; expected one on stdout"
        with urlopen(url, timeout=_SECONDS) as answer:
            assert b"<html" in answer.read()
    assert process.returncode == 0


@contextmanager
def _started(command: list[str]) -> Iterator["subprocess.Popen[str]"]:
    # No browser opens: `true` takes the address, and is content.
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=os.environ | {"BROWSER": "true"},
    ) as process:
        try:
            yield process
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(_SECONDS)


def _check_settings(text: str) -> None:
    """Take a block for what it is: the settings of a folder, or a recipe with known keys alone."""
    if "[paths]" in text:
        path = Path(SETTINGS_FILE)
        path.write_text(text)
        assert place_of("cases", None) == re.findall(r'^cases = "(.*)"', text, re.MULTILINE)[0]
    else:
        path = Path("mine.toml")
        path.write_text(text)
        recipe = load_recipe(str(path))
        for verb in recipe.tables:
            recipe.table(verb, CONFIGS[verb])
    path.unlink()
