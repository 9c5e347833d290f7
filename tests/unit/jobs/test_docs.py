"""What the docs show can be typed, every block says what it is, and links lead somewhere.

That the blocks run is tested by tests/integration/test_docs_pages.py; these are quick.
"""

import re
import shlex
import tomllib
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
import typer
import yaml
from doc_pages import OUTPUT, PAGES, ROOT, RUNNABLE, SHELL, Block, blocks_of, name_of, submitted
from doc_shell import (
    BUILTINS,
    NOT_HERE,
    PROGRAMS,
    PageError,
    Runs,
    Shell,
    in_a_process,
    in_this_process,
    look,
)

from jobs.app import app

TYPED = [*PAGES, ROOT / "CONTRIBUTING.md"]
FACTORY = typer.main.get_group(app)


def lines(pages: list[Path]) -> Iterator[tuple[str, str]]:
    """Yield each line of each shell block, with where it stands."""
    for page in pages:
        for block in blocks_of(page):
            if block.language in SHELL:
                yield from ((block.place, line) for line in block.commands)


def parse(words: list[str]) -> str:
    """Parse a command as typing it would, and run nothing; return the verb."""
    command, verb = FACTORY.commands[words[0]], words[0]
    rest = words[1:]
    while rest and rest[0] in getattr(command, "commands", {}):
        command, verb = command.commands[rest[0]], f"{verb} {rest[0]}"
        rest = rest[1:]
    command.make_context(verb, rest)
    return verb


def test_each_command_of_the_docs_has_the_flags_that_it_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("resnet_50.pth", "crops.npz", "model.pt", "annotations.csv", "masks.npz"):
        (tmp_path / name).touch()
    (tmp_path / "layouts").mkdir()
    seen = set()
    for place, line in lines(TYPED):
        program, *words = shlex.split(submitted(line), comments=True)
        if program != "factory" or words == ["--install-completion"]:
            continue
        try:
            seen.add(parse(words))
        except Exception as error:
            pytest.fail(f"{place}: {line}: {getattr(error, 'message', error)}")
    verbs = {verb for verb in FACTORY.commands if verb != "demo"}
    assert not verbs - seen - {"downstream sweep"}, "a verb that no page shows"


def test_a_flag_that_does_not_exist_would_be_found() -> None:
    with pytest.raises(Exception, match="No such option: --share"):
        parse(["generate", "--share", "0.25"])
    with pytest.raises(Exception, match="Missing parameter: source"):
        parse(["ingest", "--out", "cases"])


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_block_says_what_it_is(page: Path) -> None:
    for block in blocks_of(page):
        is_known = block.language in (*RUNNABLE, OUTPUT) or block.language.startswith("{")
        assert is_known, (
            f"{block.place}: found a block of {block.language or 'no language'}; expected one of "
            f"{', '.join(RUNNABLE)}, which is run, or {OUTPUT}, which is output"
        )


def test_no_program_is_left_out_of_the_tests_but_those_that_the_docs_show() -> None:
    shown = {shlex.split(line, comments=True)[0] for _, line in lines(PAGES)}
    assert shown - {"factory", *BUILTINS, *PROGRAMS} == set(NOT_HERE)


@pytest.mark.parametrize(
    ("language", "text", "told"),
    [
        ("sh", "factory mix a \\\n  b\nfactory broken\n", "factory broken\nTraceback"),
        ("sh", "wget https://example.org\n", "nothing here runs wget"),
        ("sh", 'export KEY="$(wget here)"\n', "nothing here runs"),
        ("python", "one = 1\nassert one == 2\n", "line 2, in <module>"),
        ("sql", "SELECT 1 WHERE false\n", "found no rows"),
        ("toml", "[generate]\nstep = 25\n", r"\[generate\] step: unknown key"),
        ("yaml", "one: 1\n", "nothing runs 'yaml'"),
    ],
)
def test_a_block_that_does_not_run_is_told_with_its_page_and_line(
    language: str, text: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(arguments: list[str]) -> None:
        assert arguments == ["mix", "a", "b"], arguments

    monkeypatch.chdir(tmp_path)
    shell = Shell(tmp_path, run, monkeypatch, {})
    with pytest.raises(PageError, match=rf"(?s)^docs/a\.md:7: does not run:\n.*{told}"):
        shell.type(Block("docs/a.md", 7, language, text))


def test_what_a_block_sets_holds_for_the_next_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[list[str]] = []
    monkeypatch.chdir(tmp_path)
    (tmp_path / "deep").mkdir()
    shell = Shell(tmp_path, ran.append, monkeypatch, {"8000": "9", "never": ""})
    for language, text in (
        ("sh", "export KEY=value  # theirs\ncd deep\n"),
        ("python", "import os\nfrom pathlib import Path\nkey = os.environ['KEY']\n"),
        ("python", "Path(key).touch()\n"),
        ("sh", "cp value other\nfactory view /data/lake --port 8000 --out s3://a/data/b\n"),
        ("sh", "ray job submit --working-dir . \\\n  -- factory status /data/lake\n"),
    ):
        shell.type(Block("docs/a.md", 1, language, text))
    assert (tmp_path / "deep" / "other").exists()
    lake = f"{tmp_path}/data/lake"
    assert ran == [["view", lake, "--port", "9", "--out", "s3://a/data/b"], ["status", lake]]
    assert shell.unchanged == {"never"}


@pytest.mark.parametrize("run", [in_this_process, in_a_process])
def test_a_command_that_fails_is_told_in_its_own_words(
    run: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(AssertionError, match=r"error: .*nowhere"):
        run(["status", "nowhere"])


def test_a_view_that_does_not_start_is_no_view(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(AssertionError, match="found no address"):
        look(["view", "nowhere", "--no-browser"])


def test_numbered_lists_of_the_docs_count_on() -> None:
    for page in TYPED:
        numbers = [
            int(one) for one in re.findall(r"^(\d+)\. ", page.read_text("utf-8"), re.MULTILINE)
        ]
        for before, after in pairwise(numbers):
            assert after in (before + 1, 1), page


@pytest.mark.parametrize("page", TYPED, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text("utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)#\s]+)", text):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_citation_is_of_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert citation["cff-version"] == "1.2.0"
    assert (citation["version"], citation["license"]) == (project["version"], project["license"])
    assert citation["authors"]
    (paper,) = citation["references"]
    assert paper["title"] in " ".join(
        (ROOT / "README.md").read_text("utf-8").replace(">", "").split()
    )
