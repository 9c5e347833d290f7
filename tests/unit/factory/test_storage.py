import errno
import json
import multiprocessing
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from factory.errors import PassingError, StoreError
from factory.storage import Storage


@pytest.fixture(params=["local", "memory"])
def storage(request, tmp_path):
    """An empty folder, on disk and behind an fsspec URL."""
    if request.param == "local":
        yield Storage(tmp_path / "lake")
        return
    remote = Storage(f"memory://{tmp_path.name}")
    yield remote
    remote.remove("")


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


def die(_: int) -> None:
    raise KeyboardInterrupt


def test_a_writer_killed_half_way_leaves_the_old_record(tmp_path, monkeypatch):
    storage = Storage(tmp_path)
    storage.write_json("dataset.json", {"plan": "old"})
    monkeypatch.setattr(os, "fsync", die)
    with pytest.raises(KeyboardInterrupt):
        storage.write_json("dataset.json", {"plan": "new"})
    assert storage.read_json("dataset.json") == {"plan": "old"}
    assert storage.names("") == ["dataset.json"]


def test_a_writer_killed_half_way_creates_no_record_and_blocks_no_other(tmp_path, monkeypatch):
    storage = Storage(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", die)
        with pytest.raises(KeyboardInterrupt):
            storage.create_json("commits/a.json", {"attempt": 1})
    assert storage.names("commits") == []
    assert storage.create_json("commits/a.json", {"attempt": 2})


def test_a_record_leaves_nothing_beside_it(tmp_path):
    storage = Storage(tmp_path)
    storage.create_json("a.json", {})
    storage.create_json("a.json", {})
    storage.write_json("a.json", {})
    assert os.listdir(tmp_path) == ["a.json"]


def test_a_disk_that_is_full_keeps_nothing_of_a_record(tmp_path, monkeypatch):
    def fsync(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fsync)
    for write in (Storage(tmp_path).write_json, Storage(tmp_path).create_json):
        with pytest.raises(OSError, match="No space left on device"):
            write("a.json", {})
    assert os.listdir(tmp_path) == []


def test_readers_never_see_half_a_record(tmp_path):
    storage = Storage(tmp_path)
    records = [{"attempt": n, "row": str(n) * 200_000} for n in range(2)]
    storage.write_json("a.json", records[0])
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            for record in records:
                storage.write_json("a.json", record)

    with ThreadPoolExecutor(1) as pool:
        writer = pool.submit(write)
        seen = [storage.read_json("a.json") for _ in range(200)]
        stop.set()
        writer.result()
    assert all(record in records for record in seen)


def test_of_many_threads_exactly_one_creates_a_record(tmp_path):
    storage = Storage(tmp_path)
    start = threading.Barrier(8)

    def create(name: str, writer: int) -> bool:
        start.wait()
        return storage.create_json(name, {"writer": writer, "row": "x" * 50_000})

    with ThreadPoolExecutor(8) as pool:
        for race in range(20):
            name = f"{race}.json"
            won = list(pool.map(create, [name] * 8, range(8)))
            assert sum(won) == 1
            assert storage.read_json(name)["writer"] == won.index(True)


def test_of_many_processes_exactly_one_creates_a_record(tmp_path):
    storage = Storage(tmp_path)
    claims = [(f"{race}.json", {"writer": writer}) for race in range(60) for writer in range(2)]
    # Spawned, as Ray's workers are; and so a bound method, which a spawned process can import.
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        won = pool.starmap(storage.create_json, claims, chunksize=1)
        pool.close()
        pool.join()
    winners = [claim for claim, is_winner in zip(claims, won, strict=True) if is_winner]
    assert sorted(name for name, _ in winners) == sorted(f"{race}.json" for race in range(60))
    for name, record in winners:
        assert storage.read_json(name) == record


def test_a_file_system_without_hard_links_is_named_with_the_way_out(tmp_path, monkeypatch):
    def link(source: str, target: str) -> None:
        raise OSError(errno.EPERM, "Operation not permitted", source)

    monkeypatch.setattr(os, "link", link)
    with pytest.raises(StoreError, match=r"a\.json: found a file system without hard links .*NFS"):
        Storage(tmp_path).create_json("a.json", {})
    assert os.listdir(tmp_path) == []


def test_a_link_whose_answer_was_lost_is_known_again(tmp_path, monkeypatch):
    real = os.link

    def link(source: str, target: str) -> None:
        real(source, target)
        real(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "link", link)
        assert Storage(tmp_path).create_json("a.json", {"attempt": 1}) is True
    assert Storage(tmp_path).create_json("a.json", {"attempt": 1}) is False


def test_a_remote_record_whose_answer_was_lost_is_known_again(tmp_path, monkeypatch):
    storage = Storage(f"memory://{tmp_path.name}")
    real = type(storage._fs).pipe_file

    def pipe_file(*given, **mode) -> None:
        real(*given, **mode)
        real(*given, **mode)

    with monkeypatch.context() as patch:
        patch.setattr(type(storage._fs), "pipe_file", pipe_file)
        assert storage.create_json("a.json", {"attempt": 1}) is True
    assert storage.create_json("a.json", {"attempt": 1}) is False
    assert storage.read_json("a.json") == {"attempt": 1}
    storage.remove("")


@pytest.mark.parametrize(
    "name",
    [
        "ConnectionClosedError",
        "ConnectTimeoutError",
        "EndpointConnectionError",
        "ReadTimeoutError",
    ],
)
def test_a_server_out_of_reach_is_named_as_trouble_that_may_pass(tmp_path, monkeypatch, name):
    exceptions = pytest.importorskip("botocore.exceptions")
    storage = Storage(f"memory://{tmp_path.name}")

    def cat_file(*_) -> None:
        raise getattr(exceptions, name)(endpoint_url="https://there", error="gone")

    monkeypatch.setattr(type(storage._fs), "cat_file", cat_file)
    told = rf"^memory:///{tmp_path.name}/a\.json: found no answer \(.*there.*run the same command"
    with pytest.raises(PassingError, match=told):
        storage.read_json("a.json")


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
