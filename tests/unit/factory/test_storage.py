"""Records, folders and trees of files, on disk and behind a URL."""

import errno
import json
import os

import pytest

from factory.errors import StoreError
from factory.storage import Storage

pytestmark = pytest.mark.usefixtures("synced")


def test_a_record_comes_back_as_it_was_written(storage):
    record = {"case_id": "Müller 1", "spacing_mm": [2.5, 0.7, 0.7], "notes": []}
    storage.write_json("commits/a.json", record)
    assert storage.read_json("commits/a.json") == record
    assert storage.exists("commits/a.json")
    assert storage.exists("commits")


def test_writing_again_replaces_a_record(storage):
    storage.write_json("a.json", {"long": "x" * 100})
    storage.write_json("a.json", {"short": 1})
    assert storage.read_json("a.json") == {"short": 1}


def test_creating_again_leaves_the_first_record(storage):
    assert storage.create_json("commits/a.json", {"attempt": 1}) is True
    assert storage.create_json("commits/a.json", {"attempt": 2}) is False
    assert storage.read_json("commits/a.json") == {"attempt": 1}


def test_a_folder_lists_records_and_folders_by_name(storage):
    for name in ("b.json", "a.json", "deeper/c.json"):
        storage.create_json(f"commits/{name}", {})
    assert storage.names("commits") == ["a.json", "b.json", "deeper"]
    assert storage.names("commits/deeper") == ["c.json"]


def test_an_absent_folder_is_empty_and_an_absent_record_is_not_there(storage):
    assert storage.names("commits") == []
    assert not storage.exists("commits/a.json")
    with pytest.raises(FileNotFoundError):
        storage.read_json("commits/a.json")


def test_an_unfinished_record_is_not_listed(storage):
    storage.create_json("commits/a.json.0123.unfinished", {})
    storage.create_json("commits/b.json", {})
    assert storage.names("commits") == ["b.json"]


def test_removing_takes_records_and_whole_folders_and_forgives_what_is_gone(storage):
    storage.create_json("attempts/a/1.json", {})
    storage.create_json("attempts/b/1.json", {})
    storage.remove("attempts/a")
    storage.remove("attempts/a")
    assert storage.names("attempts") == ["b"]
    storage.remove("attempts/b/1.json")
    assert storage.names("attempts/b") == []


TREE = {"zarr.json": b"{}", "0/c/0/0/0": b"\x00\x01", "labels/layout/zarr.json": b""}


def test_a_tree_of_files_comes_back_without_those_that_are_not_there(storage):
    storage.write_tree("volumes/a.zarr", TREE)
    found = storage.read_tree("volumes/a.zarr", [*TREE, "0/c/1/0/0", "0", "zarr.json/c"])
    assert found == TREE
    assert storage.names("volumes") == ["a.zarr"]
    assert storage.read_tree("volumes/b.zarr", TREE) == {}


def test_a_tree_is_never_written_over_another(storage):
    storage.write_tree("volumes/a.zarr", TREE)
    with pytest.raises(
        StoreError, match=r"volumes/a\.zarr: found a folder of this name; expected no"
    ):
        storage.write_tree("volumes/a.zarr", {"zarr.json": b"mine"})
    assert storage.read_tree("volumes/a.zarr", TREE) == TREE


def test_a_tree_lies_on_the_disk_before_a_record_vouches_for_it(tmp_path, monkeypatch):
    synced = set()
    sync = os.fsync

    def note(descriptor):
        synced.add(os.path.relpath(os.readlink(f"/proc/self/fd/{descriptor}"), tmp_path))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    Storage(tmp_path).write_tree("volumes/a.zarr", TREE)
    folders = {".", "0", "0/c", "0/c/0", "0/c/0/0", "labels", "labels/layout"}
    expected = {os.path.normpath(f"volumes/a.zarr/{path}") for path in {*TREE, *folders}}
    assert synced == expected | {"volumes"}


def test_only_old_debris_of_killed_writers_is_swept(tmp_path):
    storage = Storage(tmp_path)
    storage.write_json("commits/b.json", {})
    old, new = (tmp_path / "commits" / f"{name}.unfinished" for name in ("old", "new"))
    for file in (old, new):
        file.touch()
    for file in (old, tmp_path / "commits" / "b.json"):
        os.utime(file, (0, 0))
    storage.sweep("commits")
    storage.sweep("none")
    assert sorted(os.listdir(tmp_path / "commits")) == ["b.json", "new.unfinished"]


def test_a_local_folder_is_known_by_its_absolute_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    storage = Storage("lake/")
    assert storage.is_local
    assert storage.url == f"{tmp_path}/lake"
    assert storage.child("volumes/a") == f"{tmp_path}/lake/volumes/a"
    assert Storage(f"file://{tmp_path}/lake").url == storage.url


def test_a_remote_folder_is_known_by_its_url():
    storage = Storage("memory://bucket/lake/")
    assert not storage.is_local
    assert storage.url == "memory:///bucket/lake"
    assert Storage(storage.url).child("a.json") == "memory:///bucket/lake/a.json"


def test_making_a_folder_that_is_there_is_no_error(tmp_path):
    storage = Storage(tmp_path / "new" / "lake")
    storage.make_folder()
    storage.make_folder()
    storage.make_folder("commits")
    assert (tmp_path / "new" / "lake" / "commits").is_dir()


def test_any_other_trouble_of_the_disk_is_passed_on(tmp_path, monkeypatch):
    def link(source: str, target: str) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "link", link)
    with pytest.raises(OSError, match="No space left on device"):
        Storage(tmp_path).create_json("a.json", {})


def test_records_are_json_with_sorted_keys_so_that_two_lakes_can_be_compared(tmp_path):
    Storage(tmp_path).write_json("a.json", {"b": 1, "a": [1.5]})
    text = (tmp_path / "a.json").read_text()
    assert list(json.loads(text)) == ["a", "b"]
