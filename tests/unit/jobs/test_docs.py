"""What the docs show can be typed: commands, recipes, queries and code."""

import re
import shlex
import tomllib
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import duckdb
import numpy as np
import pytest
import typer
import yaml
from downstream_sets import SIZE, make_set, spec_of
from mix_sources import case, drawn, make_source, nodules

from jobs.app import app
from jobs.downstream.fit import fit_and_test
from jobs.recipe import load_recipe
from jobs.reference.recipes import CONFIGS
from jobs.workspace import place_of

ROOT = Path(__file__).parents[3]
PAGES = sorted(
    [
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        ROOT / "jobs" / "cluster" / "README.md",
        ROOT / "models" / "weights" / "demo" / "README.md",
        *(ROOT / "docs").rglob("*.md"),
    ]
)
FACTORY = typer.main.get_group(app)


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(
        rf"^```{language}\n(.*?)^```", page.read_text("utf-8"), re.DOTALL | re.MULTILINE
    )


def commands() -> Iterator[tuple[str, str]]:
    """Yield each `factory` line of each page, with the page's name."""
    for page in PAGES:
        for block in blocks(page, "sh"):
            for line in block.replace("\\\n", " ").splitlines():
                # What follows `--` is what `ray job submit` runs.
                _, _, submitted = line.partition(" -- ")
                for words in (line, submitted):
                    if words.split()[:1] == ["factory"]:
                        yield str(page.relative_to(ROOT)), words


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
    for page, line in commands():
        words = shlex.split(line, comments=True)[1:]
        if words == ["--install-completion"]:
            continue
        try:
            seen.add(parse(words))
        except Exception as error:
            pytest.fail(f"{page}: {line}: {getattr(error, 'message', error)}")
    verbs = {verb for verb in FACTORY.commands if verb != "demo"}
    assert not verbs - seen - {"downstream sweep"}, "a verb that no page shows"


def test_a_flag_that_does_not_exist_would_be_found() -> None:
    with pytest.raises(Exception, match="No such option: --share"):
        parse(["generate", "--share", "0.25"])
    with pytest.raises(Exception, match="Missing parameter: source"):
        parse(["ingest", "--out", "cases"])


def test_each_recipe_of_the_docs_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    count = 0
    for page in PAGES:
        for block in blocks(page, "toml"):
            if "[paths]" in block:
                Path("factory.toml").write_text(block)
                assert place_of("cases", None) == "/data/lidc/cases"
                continue
            Path("mine.toml").write_text(block)
            recipe = load_recipe("mine.toml")
            for verb in recipe.tables:
                recipe.table(verb, CONFIGS[verb])
            count += 1
    assert count > 12


def test_each_query_of_the_docs_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    read = nodules(8.0)[0] | {
        "num_readers": 4,
        "malignancy": 5.0,
        "malignancy_scores": [5, 5, 4, 5],
    }
    cases = [case("A", nodules=[read]), case("B")]
    make_source(tmp_path / "cases", "cases", cases)
    make_source(tmp_path / "lake", "lake", [*cases, drawn("A", 0)])
    found = [duckdb.sql(block).fetchall() for page in PAGES for block in blocks(page, "sql")]
    assert len(found) == 4
    for rows in found:
        assert rows


def test_the_code_of_the_pages_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = make_set(tmp_path / "lake", 2, 1, synthetic=1)
    (tmp_path / "mix.parquet").write_bytes((folder / "manifest.parquet").read_bytes())
    fit_and_test(spec_of(folder, tmp_path / "downstream"), device="cpu")
    given = {
        "lake": {"row": {"image_uri": "volumes/c0.ome.zarr"}},
        "downstream": {"ct": np.full(SIZE, -850, np.int16)},
        "quickstart": {},
    }
    for name, names in given.items():
        (block,) = blocks(ROOT / "docs" / f"{name}.md", "python")
        exec(block, names)
    assert given["lake"]["layout"].shape == given["downstream"]["mask"].shape == SIZE
    assert given["lake"]["layout"].max() == 2
    assert given["downstream"]["mask"].dtype == bool
    assert "synthetic" in capsys.readouterr().out


def test_code_that_no_test_runs_is_found() -> None:
    # Of the others, test_mixing_page and test_synthesizers run what they have.
    shown = {page.stem for page in PAGES if blocks(page, "python")}
    assert shown == {"lake", "downstream", "quickstart", "mixing", "synthesizers"}


def test_numbered_lists_of_the_docs_count_on() -> None:
    for page in PAGES:
        numbers = [
            int(one) for one in re.findall(r"^(\d+)\. ", page.read_text("utf-8"), re.MULTILINE)
        ]
        for before, after in pairwise(numbers):
            assert after in (before + 1, 1), page


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
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
