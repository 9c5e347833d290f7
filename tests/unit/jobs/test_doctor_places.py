"""Where cases are read and volumes are written."""

import errno
import os
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest

from factory.errors import AccessError
from factory.storage import Storage
from jobs.doctor import places
from jobs.doctor.asked import Asked
from jobs.doctor.finding import Finding, Verdict

GIB = 2**30
Room = namedtuple("Room", "total used free")


@pytest.fixture(autouse=True)
def _room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "_BYTES", 2**20)
    has(monkeypatch, 100)


def has(monkeypatch: pytest.MonkeyPatch, free: float) -> None:
    room = Room(200 * GIB, 0, int(free * GIB))
    monkeypatch.setattr(places.shutil, "disk_usage", lambda _: room)


def found(out: str | Path) -> dict[str, Finding]:
    return {one.check: one for one in places.check_out(Asked(out=str(out)))}


def test_a_disk_that_does_all_is_well_and_nothing_is_left(tmp_path: Path) -> None:
    findings = found(tmp_path)
    assert [one.verdict for one in findings.values()] == [Verdict.ok] * 2
    assert "MB/s" in findings[f"out {tmp_path}"].found
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there_yet_is_not_made(tmp_path: Path) -> None:
    findings = found(tmp_path / "a" / "lake")
    assert findings[f"out {tmp_path / 'a' / 'lake'}"].verdict is Verdict.ok
    assert f"at {tmp_path}," in findings["disk"].found
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_place_of_a_folder_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "lake").touch()
    findings = found(tmp_path / "lake")
    assert findings[f"out {tmp_path / 'lake'}"].verdict is Verdict.problem


@pytest.mark.parametrize(
    ("free", "verdict"), [(10.1, Verdict.ok), (9.9, Verdict.warning), (0.9, Verdict.problem)]
)
def test_room_is_judged(
    free: float, verdict: Verdict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    has(monkeypatch, free)
    assert found(tmp_path)["disk"].verdict is verdict


def test_a_store_that_writes_over_what_it_was_to_spare_is_a_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Storage, "create_json", lambda *_: True)
    told = found(tmp_path)[f"out {tmp_path}"]
    assert told.verdict is Verdict.problem
    assert "wrote over an object" in told.found


def test_a_store_that_reads_other_bytes_than_were_written_is_a_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Storage, "read_tree", lambda *_: {"0": b"other"})
    assert "found other bytes" in found(tmp_path)[f"out {tmp_path}"].found


def test_a_store_that_does_not_list_what_it_has_is_a_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Storage, "names", lambda *_: [])
    assert found(tmp_path)[f"out {tmp_path}"].verdict is Verdict.problem


def test_a_slow_store_is_warned_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "_speed", lambda *_: (9.0, 500.0))
    told = found(tmp_path)[f"out {tmp_path}"]
    assert told.verdict is Verdict.warning
    assert "writes 9 MB/s" in told.found


def test_what_cannot_be_removed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise AccessError("no")

    monkeypatch.setattr(Storage, "remove", refuse)
    told = found(tmp_path)[f"out {tmp_path}, removing"]
    assert told.verdict is Verdict.problem
    assert str(next(tmp_path.iterdir())) in told.found


@pytest.mark.parametrize(
    ("number", "words", "advice"),
    [
        (errno.EACCES, "no permission", "Give the right to write there, or"),
        (errno.ENOSPC, "no space left", "Free some, or"),
        (errno.EROFS, "a file system that cannot be written to", "Mount it to be written to, or"),
        (errno.EIO, "", "Check it and its permissions, or"),
    ],
)
def test_a_place_that_refuses_is_told_with_the_way_out_and_without_the_name_of_the_probe(
    number: int, words: str, advice: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Storage, name: str, _: Any) -> None:
        raise OSError(number, os.strerror(number), name)

    monkeypatch.setattr(Storage, "create_json", refuse)
    told = found(tmp_path / "lake")[f"out {tmp_path / 'lake'}"]
    assert told.verdict is Verdict.problem
    assert words in told.found
    assert told.found.endswith(f" at {tmp_path}")
    assert told.advice == f"{advice} name another place with --out."


def test_room_is_told_for_volumes_of_the_model_that_ships_and_of_the_papers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    has(monkeypatch, 11)
    told = found(tmp_path)["disk"].found
    assert told.endswith("for some 40,960 volumes of 64^3, or 5,120 of 128^3")


def test_little_room_is_not_told_as_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    has(monkeypatch, 0.01)
    assert found(tmp_path)["disk"].found.startswith("10.2 MiB free of 200.0 GiB")


def test_a_url_with_credentials_is_refused_in_words_that_do_not_repeat_them() -> None:
    (told,) = found("s3://AKID:s3cr3t@bucket/lake").values()
    assert told.verdict is Verdict.problem
    assert "s3cr3t" not in f"{told.check} {told.found} {told.expected} {told.advice}"


def test_a_case_store_is_counted(cases_16: Path) -> None:
    (told,) = places.check_cases(Asked(cases=str(cases_16)))
    assert (told.verdict, told.found) == (Verdict.ok, "3 cases of 16^3, 3 to train on")


def test_a_folder_without_cases_is_a_problem(tmp_path: Path) -> None:
    (told,) = places.check_cases(Asked(cases=str(tmp_path)))
    assert told.verdict is Verdict.problem
    assert "Ingest your scans first" in told.advice
