"""What is no case is listed for each source, and disappears when it was mended or chosen."""

from pathlib import Path

import pytest

from factory.dicom.identity import PatientKey
from factory.ingest.tags import Tags
from factory.lake import QUARANTINE, Lake
from jobs.ingest.aside import LEFT_OUT, keep_aside, publish_aside
from jobs.ingest.inputs import Inputs
from jobs.ingest.no_case import Aside
from manifests.read import read_table
from manifests.schema import LEFT_OUT_SCHEMA, QUARANTINE_SCHEMA

TAGS = Tags(PatientKey(bytes(32)))


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path / "cases")


def aside(name: str, **changes: str) -> Aside:
    told = {"place": f"/scans/{name}", "file": name, "case_id": "", "reason": "odd"}
    return Aside(**{**told, "message": "odd by rule", **changes})


def inputs(refused: str = "", left_out: str = "") -> Inputs:
    return Inputs(
        cases=[], refused=[*map(aside, refused.split())], left_out=[*map(aside, left_out.split())]
    )


def published(lake: Lake) -> tuple[list[str], list[str]]:
    publish_aside(lake)
    refused = read_table(lake.storage.child(QUARANTINE), QUARANTINE_SCHEMA)
    left_out = read_table(lake.storage.child(LEFT_OUT), LEFT_OUT_SCHEMA)
    return refused["file"].to_pylist(), left_out["file"].to_pylist()


def test_each_source_has_its_own_list_and_an_ingest_replaces_it(lake: Lake, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    keep_aside(lake, one, None, inputs("torn", "scout thick"), "r1")
    keep_aside(lake, two, TAGS, inputs("flat", "scan"), "r2")
    refused, left_out = published(lake)
    assert (sorted(refused), left_out) == (["flat", "torn"], ["scan", "scout", "thick"])
    keep_aside(lake, one, None, inputs("", "thick"), "r3")
    assert published(lake) == (["flat"], ["scan", "thick"])


def test_a_source_that_got_its_first_dicom_file_is_the_same_source(
    lake: Lake, tmp_path: Path
) -> None:
    keep_aside(lake, tmp_path, None, inputs("torn", "a"), "r1")
    keep_aside(lake, tmp_path, TAGS, inputs("", "b"), "r2")
    assert published(lake) == ([], ["b"])


def test_the_names_of_records_do_not_tell_the_path_of_a_dicom_source(
    lake: Lake, tmp_path: Path
) -> None:
    source = tmp_path / "Doe, Jane"
    keep_aside(lake, source, TAGS, inputs("", "b"), "r1")
    [name] = lake.storage.names("found")
    other = Tags(PatientKey(bytes([1]) * 32))
    keep_aside(lake, source, other, inputs("", "b"), "r2")
    assert len(lake.storage.names("found")) == 2
    assert name.startswith("file-")


def test_rows_say_who_when_and_why(lake: Lake, tmp_path: Path) -> None:
    keep_aside(lake, tmp_path, None, inputs("", "scout"), "r1")
    publish_aside(lake)
    table = read_table(lake.storage.child(LEFT_OUT), LEFT_OUT_SCHEMA)
    (row,) = table.to_pylist()
    assert row.pop("seen_at").year >= 2024
    assert row == {
        "file": "scout",
        "case_id": None,
        "reason": "odd",
        "message": "odd by rule",
        "run_id": "r1",
    }
