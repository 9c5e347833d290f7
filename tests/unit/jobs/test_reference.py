"""`docs/cli.md` is what the commands themselves say."""

from pathlib import Path

import pytest

from jobs.reference import main, reference

DOCS = Path(__file__).parents[3] / "docs" / "cli.md"


def test_the_page_in_the_docs_is_current() -> None:
    assert main(["--check", str(DOCS)]) == 0


def test_every_verb_has_its_section_with_its_example() -> None:
    text = reference()
    for verb in ("ingest", "train", "generate", "mix", "status", "verify", "demo"):
        section = text.partition(f"## factory {verb}\n")[2].partition("\n## ")[0]
        assert f"Usage: factory {verb} " in section
        assert f"Example:\n      factory {verb}" in section


def test_the_page_does_not_depend_on_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    page = reference()
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert reference() == page
    assert "\x1b" not in page


def test_a_page_that_is_not_current_is_refused_and_written_anew(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "cli.md"
    assert main(["--check", str(page)]) == 1
    page.write_text(reference().replace("--ratio", "--share"))
    assert main(["--check", str(page)]) == 1
    assert "is not what the commands' help says. Run `make fmt`" in capsys.readouterr().err
    assert main([str(page)]) == 0
    assert main(["--check", str(page)]) == 0
