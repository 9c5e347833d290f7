"""Every file of a tree once, and a reason for whatever else lies there."""

from pathlib import Path

import pytest
from endless import KINDS, close_folder, not_for_ever, write_endless

from factory.dicom.tree import Tree, read_tree, why_no_file
from factory.errors import FactoryError


def names_of(tree: Tree) -> list[str]:
    return [path.name for path in tree.files]


def test_files_come_in_the_order_of_their_names_without_what_is_hidden(tmp_path: Path) -> None:
    for name in ("b/2", "b/10", "a/x", ".trash/y", "b/.z", "c"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    tree = read_tree(tmp_path)
    assert [str(path.relative_to(tmp_path)) for path in tree.files] == ["c", "a/x", "b/10", "b/2"]
    assert tree.unread == ()


@pytest.mark.parametrize("kind", KINDS)
def test_a_pipe_or_a_device_is_told_and_is_no_file(tmp_path: Path, kind: str) -> None:
    (tmp_path / "file").touch()
    write_endless(tmp_path / "odd", kind)
    tree = read_tree(tmp_path)
    assert names_of(tree) == ["file"]
    (odd,) = tree.unread
    assert (odd.path, odd.is_special) == (tmp_path / "odd", True)
    assert odd.reason == (
        f"is a {kind} and no regular file; expected one that can be read to its end"
    )


def test_a_link_to_a_file_is_a_file_and_a_dead_one_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "dead").symlink_to("gone")
    (tmp_path / "itself").symlink_to("itself")
    tree = read_tree(tmp_path)
    assert names_of(tree) == ["file", "link"]
    assert [(one.path.name, one.is_special) for one in tree.unread] == [
        ("dead", False),
        ("itself", False),
    ]
    assert tree.unread[0].reason.startswith("cannot be opened (FileNotFoundError); expected a file")


def test_a_folder_is_listed_once_however_often_it_is_linked(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x").touch()
    (tmp_path / "a" / "up").symlink_to("..")
    (tmp_path / "again").symlink_to("a")
    with not_for_ever():
        assert names_of(read_tree(tmp_path)) == ["x"]


def test_a_name_that_is_not_text_is_told(tmp_path: Path) -> None:
    (tmp_path / "a\nb").touch()
    (unread,) = read_tree(tmp_path).unread
    assert (
        unread.reason
        == "a name with line breaks, or that is not text; expected one that can be written down"
    )


def test_a_folder_below_that_cannot_be_read_is_told_and_the_rest_is_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    close_folder(monkeypatch, tmp_path / "closed")
    tree = read_tree(tmp_path)
    assert names_of(tree) == ["file"]
    (unread,) = tree.unread
    assert (unread.path, unread.is_special) == (tmp_path / "closed", False)
    assert unread.reason.startswith("cannot be opened (PermissionError); expected a file or folder")


def test_a_source_that_cannot_be_listed_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    close_folder(monkeypatch, tmp_path)
    with pytest.raises(FactoryError, match=r"source .*: found no permission; expected a folder"):
        read_tree(tmp_path)


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FactoryError, match=r"source .*gone: found no such file or folder; exp"):
        read_tree(tmp_path / "gone")


@pytest.mark.parametrize("kind", KINDS)
def test_to_ask_what_a_path_is_does_not_open_it(tmp_path: Path, kind: str) -> None:
    with not_for_ever():
        assert why_no_file(write_endless(tmp_path / "odd", kind)).startswith(f"is a {kind} and no")
    assert why_no_file(tmp_path).startswith("is a folder and no regular file")
    (tmp_path / "file").touch()
    assert why_no_file(tmp_path / "file") == ""
