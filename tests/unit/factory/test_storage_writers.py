"""Writers that are killed, run side by side or lose their answer: no reader sees half a record."""

import errno
import multiprocessing
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from factory.errors import PassingError, StoreError
from factory.storage import Storage

pytestmark = pytest.mark.usefixtures("synced")


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
