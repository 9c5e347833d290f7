"""What leads back to patients stays with its owner, outside of the store."""

import multiprocessing
import os
import stat
from pathlib import Path

import pytest
from private_notes import note_thirty

from factory.dicom.identity import KEY_VARIABLE, PatientKey
from factory.errors import StoreError, UsageError
from factory.ingest.prepare import IngestConfig
from factory.lake import Lake
from jobs.ingest import private
from jobs.ingest.job import ingest
from jobs.ingest.private import (
    INPUTS,
    KEY_CHECK,
    KEY_FILE,
    Private,
    claim_key,
    read_inputs,
    refuse_other_key,
    refuse_unwritable,
)


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


def test_two_ingests_at_once_lose_no_line(beside: Private) -> None:
    context = multiprocessing.get_context("spawn")
    both_are_up = context.Barrier(2)
    processes = [
        context.Process(target=note_thirty, args=(beside.folder, name, both_are_up))
        for name in "ab"
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert beside.folder
    assert len(read_inputs(beside.folder)) == 60


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


def test_a_store_knows_its_key_and_refuses_another_with_the_way_out(tmp_path: Path) -> None:
    lake = Lake(tmp_path / "cases")
    lake.storage.make_folder()
    key, other = PatientKey(bytes(32)), PatientKey(bytes([1]) * 32)
    refuse_other_key(lake, other)
    claim_key(lake, key)
    claim_key(lake, key)
    for refuse in (claim_key, refuse_other_key):
        with pytest.raises(
            StoreError,
            match=r"case store .*: found a patient key other than patient-key-check.json tells; "
            r"expected the one .* Put back the patient-key .*--private, set FACTORY_PATIENT_KEY",
        ):
            refuse(lake, other)
    assert lake.storage.read_json(KEY_CHECK) == {"key_check": key.check}


def test_a_store_whose_key_check_is_torn_takes_no_key(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    (tmp_path / KEY_CHECK).write_text("{")
    with pytest.raises(StoreError, match="found a patient key other than"):
        claim_key(lake, PatientKey(bytes(32)))


def test_who_may_not_read_the_key_has_none(
    beside: Private, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(file: Path) -> None:
        raise PermissionError(13, "Permission denied")

    beside.tags()
    monkeypatch.setattr(private, "existing_key", refused)
    assert beside.existing_tags() is None


def test_a_store_that_cannot_be_made_is_named_before_anything_is_made_beside_it(
    tmp_path: Path,
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "scans").mkdir()
    out = tmp_path / "file" / "deep" / "cases"
    with pytest.raises(
        StoreError,
        match=rf"^--out {out}: found no folder at {tmp_path / 'file'}; expected one that can be",
    ):
        ingest(tmp_path / "scans", out, IngestConfig(grid=16))
    assert {path.name for path in tmp_path.iterdir()} == {"file", "scans"}


def test_a_store_in_a_closed_folder_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse_unwritable(tmp_path / "new" / "cases")
    refuse_unwritable("memory://bucket/cases")
    # Root may write everywhere.
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path)
    with pytest.raises(
        StoreError,
        match=rf"^--out .*cases: found a folder that cannot be written to at {tmp_path};",
    ):
        refuse_unwritable(tmp_path / "new" / "cases")


def test_a_private_folder_that_cannot_be_made_is_named_by_the_flag_that_it_comes_from(
    tmp_path: Path,
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(
        StoreError,
        match=r"^--out .*/cases, with cases\.private beside it: found no folder; expected",
    ):
        Private.of(tmp_path / "file" / "cases", None).tags()
    with pytest.raises(StoreError, match=r"^--private .*file/mine: found no folder; expected"):
        Private.of(tmp_path / "cases", tmp_path / "file" / "mine").tags()
