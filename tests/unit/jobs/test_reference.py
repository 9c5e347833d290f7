"""The reference pages are what the code itself says."""

from pathlib import Path

import pytest

from jobs.recipe import TABLES
from jobs.reference.__main__ import PAGES, main
from jobs.reference.cli import cli_page
from jobs.reference.manifest import manifest_page
from jobs.reference.recipes import CONFIGS, recipes_page
from manifests.schema import MANIFEST_SCHEMA

DOCS = Path(__file__).parents[3] / "docs"


def test_the_pages_in_the_docs_are_current() -> None:
    assert main(["--check", str(DOCS)]) == 0


def test_every_verb_has_its_section_with_its_example() -> None:
    text = cli_page()
    for verb in ("ingest", "train", "generate", "mix", "status", "verify", "demo"):
        section = text.partition(f"## factory {verb}\n")[2].partition("\n## ")[0]
        assert f"Usage: factory {verb} " in section
        assert f"Example:\n      factory {verb}" in section


def test_the_page_does_not_depend_on_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    page = cli_page()
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert cli_page() == page
    assert "\x1b" not in page


def test_every_key_of_a_recipe_is_there_with_its_meaning() -> None:
    page = recipes_page()
    assert tuple(CONFIGS) == TABLES
    for table in (*TABLES, "train.model", "train.graft", "generate.quality", "layouts.zones"):
        assert f"## [{table}]\n" in page
    lines = [line for line in page.splitlines() if line.startswith("| `")]
    assert len(lines) > 100
    for line in lines:
        cells = line.replace("\\|", "").strip("| ").split(" | ")
        assert len(cells) == 4, line
        assert len(cells[3]) > 5, line


def test_types_and_defaults_are_as_toml_writes_them() -> None:
    page = recipes_page()
    assert "| `channel_mults` | list of int | `[1, 1, 2, 3, 4]` |" in page
    assert "| `hu_window` | list of 2 float | `[-1024.0, 600.0]` |" in page
    assert '| `synthesizer` | string | `"lung-ddpm"` |' in page
    assert "| `clip_x0` | boolean | `true` |" in page
    assert "### fast\n\n```toml\n# The paper" in page


def test_every_column_of_a_manifest_is_there_in_order() -> None:
    page = manifest_page()
    lines = [line.split("`")[1] for line in page.splitlines() if line.startswith("| `")]
    assert lines[: len(MANIFEST_SCHEMA)] == MANIFEST_SCHEMA.names
    assert "| `nodules` | list of nodule | yes | Nodules of the layout" in page
    assert "| `diameter_mm` | double | no |" in page


def test_a_page_that_is_not_current_is_refused_and_written_anew(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--check", str(tmp_path)]) == 1
    assert main([str(tmp_path)]) == 0
    assert main(["--check", str(tmp_path)]) == 0
    for name in PAGES:
        page = tmp_path / name
        text = page.read_text()
        page.write_text(text.replace("e", "E", 1))
        capsys.readouterr()
        assert main(["--check", str(tmp_path)]) == 1, name
        said = capsys.readouterr().err
        assert f"{page} is not what the code says. Run `make fmt` and commit it." in said
        page.write_text(text)
