"""Every command with its help."""

from collections.abc import Iterator
from typing import Any

import typer
from typer.testing import CliRunner

from jobs.app import app

_HEAD = """# Command line

Made from the commands' own help by `make fmt`; do not edit.
Results go to stdout, everything else to stderr. Exit status: 0 done, 1 an error that names its way
out, 2 wrong usage.
"""


def cli_page() -> str:
    """Return the help of `factory` and of each verb, as Markdown."""
    return "\n".join([_HEAD, *map(_section, _commands(typer.main.get_group(app), []))])


def _commands(command: Any, path: list[str]) -> Iterator[list[str]]:
    """Yield the words of a command, and of all below it."""
    yield path
    for name, one in getattr(command, "commands", {}).items():
        yield from _commands(one, [*path, name])


def _section(verb: list[str]) -> str:
    result = CliRunner().invoke(
        app, [*verb, "--help"], prog_name="factory", env={"COLUMNS": "100", "TERM": "dumb"}
    )
    assert result.exit_code == 0, result.output
    lines = "\n".join(line.rstrip() for line in result.output.strip().splitlines())
    return f"## {' '.join(['factory', *verb])}\n\n```text\n{lines}\n```\n"
