"""What leads back to patients stays with its owner, outside of the store."""

import multiprocessing
import stat
from pathlib import Path
from typing import Any

import pytest

from factory.dicom.identity import KEY_VARIABLE
from factory.errors import UsageError
from jobs.ingest.private import INPUTS, KEY_FILE, Private, read_inputs


@pytest.fixture(autouse=True)
def _no_key_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEY_VARIABLE, raising=False)


@pytest.fixture
def beside(tmp_path: Path) -> Private:
    return Private.of(tmp_path / "cases", None)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_key_lies_beside_the_store_for_its_owner_alone(beside: Private, tmp_path: Path) -> None:
    first = beside.tags()
    beside.note({"tag": "/scans/one"})
    folder = tmp_path / "cases.private"
    assert beside.folder == folder
    assert (mode(folder), mode(folder / KEY_FILE), mode(folder / INPUTS)) == (0o700, 0o600, 0o600)
    assert first.file("/x") == beside.tags().file("/x")
    assert not (tmp_path / "cases").exists()


def test_the_table_keeps_what_was_noted_before_and_takes_the_newest_path(beside: Private) -> None:
    beside.note({"a": "/scans/a", "b": "/scans/b"})
    beside.note({"b": "/moved/b, c", "d": "/scans/\udce4"})
    assert beside.folder
    assert read_inputs(beside.folder) == {
        "a": "/scans/a", "b": "/moved/b, c", "d": "/scans/\udce4"
    }  # fmt: skip


def _note(folder: Path, name: str, both_are_up: Any) -> None:
    both_are_up.wait()
    for index in range(100):
        Private(folder).note({f"{name}{index}": "/scans"})


def test_two_ingests_at_once_lose_no_line(beside: Private) -> None:
    context = multiprocessing.get_context("spawn")
    both_are_up = context.Barrier(2)
    processes = [
        context.Process(target=_note, args=(beside.folder, name, both_are_up)) for name in "ab"
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert beside.folder
    assert len(read_inputs(beside.folder)) == 200


def test_nothing_is_made_before_there_is_something_to_hide(beside: Private) -> None:
    beside.note({})
    assert beside.existing_tags() is None
    assert beside.folder
    assert not beside.folder.exists()


def test_a_folder_that_others_may_read_is_refused(beside: Private) -> None:
    assert beside.folder
    beside.folder.mkdir(mode=0o755)
    with pytest.raises(UsageError, match=r"found mode 0755; expected 0700, .* Run: chmod 700 "):
        beside.tags()


def test_a_folder_inside_the_store_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match=r"--private .*: found a folder inside the store .*cases; ex"
    ):
        Private.of(tmp_path / "cases", tmp_path / "cases" / "secret")


def test_a_store_in_a_bucket_needs_a_key_that_stays_with_its_owner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = "memory://bucket/cases"
    beside = Private.of(bucket, None)
    with pytest.raises(UsageError, match=rf"Set {KEY_VARIABLE}, or name a folder .* --private"):
        beside.tags()
    named = Private.of(bucket, tmp_path / "mine")
    monkeypatch.setenv(KEY_VARIABLE, "00" * 32)
    by_environment = beside.tags().file("/x")
    assert named.tags().file("/x") == by_environment
    assert not (tmp_path / "mine" / KEY_FILE).exists()
    monkeypatch.delenv(KEY_VARIABLE)
    assert named.tags().file("/x") != by_environment
    assert (tmp_path / "mine" / KEY_FILE).exists()
