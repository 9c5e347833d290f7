"""Two ingests at once leave tables that name what is there."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support import ingest_in_process, write_scan

from factory.ingest.prepare import IngestConfig
from factory.lake import MANIFEST, QUARANTINE, Lake
from jobs.ingest import publish as publishing
from jobs.ingest.aside import LEFT_OUT, keep_aside
from jobs.ingest.inputs import Inputs
from jobs.ingest.no_case import Aside
from jobs.ingest.publish import publish
from manifests.read import read_manifest, read_table
from manifests.schema import LEFT_OUT_SCHEMA, QUARANTINE_SCHEMA
from manifests.split import SplitFractions

CONFIG = IngestConfig(grid=16)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    write_scan(tmp_path / "scans", "a", 1)
    return Lake(ingest_in_process(tmp_path / "scans", tmp_path / "cases", CONFIG))


def before_the_manifest(patch: pytest.MonkeyPatch, other: Callable[[], None]) -> list[int]:
    """Let another ingest come in once, just before this one writes; return each round of writing."""
    rounds: list[int] = []
    write = publishing.write_manifest

    def first_the_other(*args: Any, **kwargs: Any) -> str:
        rounds.append(len(rounds))
        if len(rounds) == 1:
            other()
        return write(*args, **kwargs)

    patch.setattr(publishing, "write_manifest", first_the_other)
    return rounds


def test_a_manifest_names_no_volume_that_another_ingest_has_swept(
    lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_scan(tmp_path / "scans", "a", 2)

    def other() -> None:
        ingest_in_process(tmp_path / "scans", tmp_path / "cases", CONFIG)

    before_the_manifest(monkeypatch, other)
    assert publish(lake, SplitFractions()) == 1
    (row,) = read_manifest(lake.storage.child(MANIFEST)).to_pylist()
    assert row["image_uri"] == lake.committed_row("a")["image_uri"]
    assert lake.storage.exists(row["image_uri"])


def test_the_other_tables_have_what_another_ingest_found_meanwhile(
    lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def aside(file: str) -> Aside:
        return Aside(place=file, file=file, case_id="", reason="odd", message="odd")

    found = Inputs(cases=[], refused=[aside("torn")], left_out=[aside("scout")])
    rounds = before_the_manifest(
        monkeypatch, lambda: keep_aside(lake, tmp_path / "other", None, found, "r2")
    )
    publish(lake, SplitFractions())
    refused = read_table(lake.storage.child(QUARANTINE), QUARANTINE_SCHEMA)
    left_out = read_table(lake.storage.child(LEFT_OUT), LEFT_OUT_SCHEMA)
    assert refused["file"].to_pylist() == ["torn"]
    assert left_out["file"].to_pylist() == ["scout"]
    assert rounds == [0, 1]


def test_where_nobody_else_writes_all_is_written_once(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    rounds = before_the_manifest(monkeypatch, lambda: None)
    publish(lake, SplitFractions())
    assert rounds == [0]
