"""An ingest of a source that has changed since, into a store that knows its key."""

from pathlib import Path

import pytest
from support import ingest_in_process, write_scan

from factory.dicom.identity import KEY_VARIABLE
from factory.errors import StoreError
from factory.ingest.prepare import IngestConfig
from factory.lake import QUARANTINE, Lake
from jobs.ingest.job import ingest
from jobs.ingest.private import KEY_CHECK
from manifests.read import read_table
from manifests.schema import QUARANTINE_SCHEMA

CONFIG = IngestConfig(grid=16)
TORN = b"\0" * 128 + b"DICM" + b"\xff" * 60


@pytest.fixture(autouse=True)
def _no_key_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEY_VARIABLE, raising=False)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store with a case, so that an ingest of broken files alone comes to its end without Ray."""
    write_scan(tmp_path / "first", "plain", 1)
    return ingest_in_process(tmp_path / "first", tmp_path / "cases", CONFIG)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    source = tmp_path / "scans"
    source.mkdir()
    (source / "torn.dcm").write_bytes(TORN)
    (source / "alone_lung.nii.gz").write_bytes(b"")
    return source


def quarantined(store: Path) -> list[str]:
    files: list[str] = read_table(store / QUARANTINE, QUARANTINE_SCHEMA)["file"].to_pylist()
    return files


def test_a_source_whose_last_dicom_file_went_leaves_nothing_of_it_in_quarantine(
    source: Path, store: Path
) -> None:
    ingest(source, store, CONFIG)
    assert len(quarantined(store)) == 2
    (source / "torn.dcm").unlink()
    ingest(source, store, CONFIG)
    assert quarantined(store) == ["alone"]


def test_dicom_files_with_another_key_are_refused_before_anything_is_written(
    source: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ingest(source, store, CONFIG)
    check = Lake(store).storage.read_json(KEY_CHECK)
    before = quarantined(store)
    monkeypatch.setenv(KEY_VARIABLE, "ab" * 32)
    with pytest.raises(StoreError, match="found a patient key other than"):
        ingest(source, store, CONFIG)
    assert Lake(store).storage.read_json(KEY_CHECK) == check
    assert quarantined(store) == before


def test_a_store_of_image_files_alone_has_no_key(source: Path, store: Path) -> None:
    (source / "torn.dcm").unlink()
    ingest(source, store, CONFIG)
    assert not (store / KEY_CHECK).exists()
    assert not store.with_name("cases.private").exists()
