"""A file appears whole or not at all, and what failed leaves nothing behind."""

from pathlib import Path

import pytest

from jobs.aside import write_text_aside, written_aside


def test_a_file_takes_the_place_of_the_one_before_and_its_folder_is_made(tmp_path: Path) -> None:
    path = tmp_path / "tables" / "table2.md"
    write_text_aside("first", path)
    write_text_aside("MMD² ± 0", path)
    assert path.read_bytes() == "MMD² ± 0".encode()
    assert list(path.parent.iterdir()) == [path]


def test_where_writing_fails_the_file_before_stays_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "figures.parquet"
    path.write_text("before")

    def torn() -> None:
        with written_aside(path) as aside:
            aside.write_text("ha")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        torn()
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_until_it_is_whole_readers_find_the_file_before(tmp_path: Path) -> None:
    path = tmp_path / ("a" * 250 + ".json")
    path.write_text("before")
    with written_aside(path) as aside:
        aside.write_text("after")
        assert path.read_text() == "before"
    assert path.read_text() == "after"
