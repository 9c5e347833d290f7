"""The file of a report: where it is written, what it never replaces, and what the verb tells."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import fsspec
import pytest
from report_pages import Page, with_rows
from typer.testing import CliRunner

from factory.errors import UsageError
from factory.lake import MANIFEST, Lake
from jobs.report import command
from jobs.report.job import report


def test_the_file_is_replaced_whole_and_nothing_is_left_beside_it(
    lake: Path, tmp_path: Path
) -> None:
    out = tmp_path / "new folder" / "page.html"
    report(str(lake), str(out), count=0)
    small = out.stat().st_size
    report(str(lake), str(out), count=4)
    assert out.stat().st_size > small
    assert os.listdir(out.parent) == ["page.html"]
    assert not (lake / "report.html").exists()


def test_a_page_that_cannot_be_written_leaves_the_earlier_one(
    lake: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report(str(lake), count=0)
    before = (lake / "report.html").read_bytes()

    def full(path: Path, content: bytes) -> None:
        path.write_text("half")
        raise OSError(28, "No space left")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        report(str(lake), count=4)
    assert (lake / "report.html").read_bytes() == before
    assert [name for name in os.listdir(lake) if name.endswith(".unfinished")] == []


@pytest.mark.parametrize("name", [MANIFEST, "dataset.json", "page", "page.html.parquet"])
def test_nothing_of_a_lake_can_be_written_over(lake: Path, name: str) -> None:
    before = (lake / MANIFEST).read_bytes()
    with pytest.raises(UsageError, match=r"found another ending; expected \.html"):
        report(str(lake), str(lake / name))
    assert (lake / MANIFEST).read_bytes() == before


def test_a_folder_as_out_and_a_url_with_a_secret_are_refused(lake: Path) -> None:
    folder = lake / "a.html"
    folder.mkdir()
    with pytest.raises(UsageError, match=f"--out {folder}: found a folder; expected a file"):
        report(str(lake), str(folder))
    with pytest.raises(UsageError, match="found a user, a password") as refused:
        report(str(lake), "s3://key:secret@bucket/page.html")
    assert "secret" not in str(refused.value)


def test_lake_and_page_may_be_on_any_file_system(lake: Path) -> None:
    memory = fsspec.filesystem("memory")
    memory.put(str(lake), "/report-lake", recursive=True)
    try:
        result = report("memory://report-lake", count=4)
        assert result.path == "memory:///report-lake/report.html"
        assert result.num_shown == 4
        text = memory.cat("/report-lake/report.html").decode()
        assert Page(text).problems == []
        assert len(text.encode()) == result.num_bytes
    finally:
        memory.rm("/report-lake", recursive=True)


def test_a_lake_still_verifies_with_its_page_in_it(lake: Path) -> None:
    from jobs.verify import problems

    report(str(lake))
    assert problems(Lake(lake)) == []


def test_the_verb_gives_the_path_and_tells_what_is_missing(
    lake: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import typer

    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(command.command)
    first = with_rows(lake)[0]
    shutil.rmtree(next((lake / "volumes").glob(f"{first}.*")))
    monkeypatch.chdir(lake.parent)
    result = CliRunner().invoke(app, ["--out", "page.html", "--volumes", "4"])
    assert result.exit_code == 0, result.output
    assert result.stdout == "page.html\n"
    assert f"could not be read: volume {first}" in result.stderr
    assert "3 real and 4 synthetic volumes, slices of 3" in result.stderr
    assert Path("page.html").is_file()


def test_neither_ray_nor_torch_is_loaded(lake: Path) -> None:
    code = (
        "import sys\nfrom jobs.report.job import report\n"
        f"report({str(lake)!r})\n"
        "print([name for name in ('ray', 'torch', 'matplotlib') if name in sys.modules])"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout == "[]\n"
