"""A doctor's report: a table on a terminal, plain lines elsewhere, JSON for machines."""

import json
import shutil
import sys
import textwrap
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from factory.counted import counted
from jobs.doctor.finding import Finding, Verdict

_COLOURS = {Verdict.ok: "green", Verdict.warning: "yellow", Verdict.problem: "red"}
_WIDTH = 100


def tell(findings: Sequence[Finding]) -> None:
    """Print findings to stdout, for people."""
    if sys.stdout.isatty():
        _table(findings)
        return
    for line in lines_of(findings):
        print(line)  # noqa: T201


def lines_of(findings: Iterable[Finding]) -> Iterator[str]:
    """Yield plain lines: one a finding, and below it what was expected and what to do."""
    for one in findings:
        yield f"{one.verdict:<8} {one.check}: {one.found}"
        if one.verdict is not Verdict.ok:
            yield f"{'':<8} expected: {one.expected}"
            yield f"{'':<8} what to do: {one.advice}"


def report(findings: Sequence[Finding]) -> dict[str, Any]:
    """Return findings as JSON has them, with how many of them there are of each verdict."""
    return {
        "counts": _counts(findings),
        "findings": [one.as_json() for one in findings],
    }


def report_text(findings: Sequence[Finding]) -> str:
    """Return `report` as text."""
    return json.dumps(report(findings), indent=2)


def summary(findings: Sequence[Finding]) -> tuple[str, str]:
    """Return what came out, how many of each verdict, and what to do next."""
    counts = _counts(findings)
    warnings, problems = (counted(counts[one], one) for one in (Verdict.warning, Verdict.problem))
    next_step = (
        "mend the problems, and run factory doctor again"
        if counts[Verdict.problem]
        else "factory demo"
    )
    return f"doctor: {counts[Verdict.ok]} ok, {warnings}, {problems}", next_step


def _counts(findings: Sequence[Finding]) -> dict[str, int]:
    counted = Counter(one.verdict for one in findings)
    return {verdict.value: counted[verdict] for verdict in Verdict}


def _table(findings: Sequence[Finding]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in ("", "check", "found"):
        table.add_column(heading, overflow="fold", no_wrap=heading == "")
    for one in findings:
        # As `Text`: what was found may have brackets, which are markup elsewhere.
        table.add_row(
            Text(one.verdict, style=_COLOURS[one.verdict]), Text(one.check), Text(_told(one))
        )
    width = min(_WIDTH * 2, shutil.get_terminal_size((_WIDTH, 24)).columns)
    Console(width=width, highlight=False).print(table)


def _told(one: Finding) -> str:
    if one.verdict is Verdict.ok:
        return one.found
    return f"{one.found}\n" + textwrap.dedent(
        f"""\
        expected: {one.expected}
        what to do: {one.advice}"""
    )
