"""A dry run says what would happen to each input, and leaves no trace."""

import shutil
from pathlib import Path

import pytest
from dicom_files import write_localizer
from dicom_scans import DicomScan, write_dicom_scan
from support import ingest_in_process, write_scan
from typer.testing import CliRunner

from factory.dicom.identity import KEY_VARIABLE
from factory.errors import FactoryError, StoreError
from factory.ingest.prepare import IngestConfig
from factory.lake import Lake
from jobs.app import app
from jobs.ingest.job import dry_run
from jobs.ingest.private import Private, claim_key

CONFIG = IngestConfig(grid=16)
SMALL = (12, 24, 32)


@pytest.fixture(autouse=True)
def _no_key_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEY_VARIABLE, raising=False)


@pytest.fixture
def scan(tmp_path: Path) -> DicomScan:
    scan = write_dicom_scan(tmp_path / "scans" / "one" / "ct", 7, size=SMALL)
    write_localizer(tmp_path / "scans" / "one" / "scout", study_uid=scan.files.study_uid)
    write_scan(tmp_path / "scans", "plain", 1)
    (tmp_path / "scans" / "alone_lung.nii.gz").write_bytes(b"")
    return scan


def lines(tmp_path: Path) -> dict[str, list[str]]:
    """Return the cells of each line by its input."""
    text = dry_run(tmp_path / "scans", tmp_path / "cases", CONFIG)
    rows = [[cell for cell in line.split("  ") if cell] for line in text.splitlines()]
    return {row[0]: [cell.strip() for cell in row[1:]] for row in rows}


@pytest.mark.usefixtures("scan")
def test_every_input_has_a_line_with_what_would_become_of_it(tmp_path: Path) -> None:
    found = lines(tmp_path)
    assert found["input"] == ["case", "scan", "drawn", "would"]
    assert found["one/ct"] == [
        "(named once there is a key)",
        "12 x 24 x 32 at 25.00 x 11.25 x 11.25 mm",
        "nothing: lungs segmented",
        "ingest",
    ]
    assert found["plain_ct.nii.gz"][2:] == ["lung mask, nodule mask", "ingest"]
    assert found["one/scout"] == ["leave out: a localiser (2 files)"]
    assert found["alone"][-1].startswith("quarantine: found the mask ")
    assert len(found) == 5


def test_a_scan_whose_header_cannot_be_read_is_not_promised_a_case(tmp_path: Path) -> None:
    write_scan(tmp_path / "scans", "whole", 1)
    (tmp_path / "scans" / "torn_ct.nii.gz").write_bytes(b"\x1f\x8b")
    found = lines(tmp_path)
    assert found["torn_ct.nii.gz"][1] == "unknown: its header cannot be read"
    assert found["torn_ct.nii.gz"][-1] == "ingest, if it can be read at all"
    assert found["whole_ct.nii.gz"][-1] == "ingest"


@pytest.mark.usefixtures("scan")
def test_it_writes_nothing_and_makes_no_key(tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    lines(tmp_path)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.usefixtures("scan")
def test_with_a_key_the_names_are_those_that_cases_will_have(tmp_path: Path) -> None:
    tags = Private.of(tmp_path / "cases", None).tags()
    case_id, *_ = lines(tmp_path)["one/ct"]
    assert len(case_id) == 25
    assert tags.key.hashed("patient", "P1\0") == case_id[:16]


@pytest.mark.usefixtures("scan")
def test_cases_that_the_store_has_are_already_there(tmp_path: Path) -> None:
    write_scan(tmp_path / "first", "plain", 1)
    ingest_in_process(tmp_path / "first", tmp_path / "cases", CONFIG)
    assert lines(tmp_path)["plain_ct.nii.gz"][-1] == "already there"


@pytest.mark.usefixtures("scan")
def test_cases_whose_files_have_changed_are_told_from_new_ones(tmp_path: Path) -> None:
    write_scan(tmp_path / "first", "plain", 2)
    ingest_in_process(tmp_path / "first", tmp_path / "cases", CONFIG)
    # Of the same place, as the store knows it.
    shutil.rmtree(tmp_path / "first")
    (tmp_path / "scans").rename(tmp_path / "first")
    (tmp_path / "scans").symlink_to("first")
    found = lines(tmp_path)
    assert found["plain_ct.nii.gz"][-1] == (
        "make anew: the store has a case of other files, or a torn one"
    )
    assert found["one/ct"][-1] == "ingest"


@pytest.mark.usefixtures("scan")
def test_an_id_that_another_scan_has_is_told_before_the_work(tmp_path: Path) -> None:
    write_scan(tmp_path / "first", "plain", 2)
    ingest_in_process(tmp_path / "first", tmp_path / "cases", CONFIG)
    would = lines(tmp_path)["plain_ct.nii.gz"][-1]
    assert would.startswith("quarantine: found ")
    assert "the store has a case of this id from" in would


@pytest.mark.usefixtures("scan")
def test_a_store_of_another_grid_is_refused_before_the_work(tmp_path: Path) -> None:
    write_scan(tmp_path / "first", "plain", 1)
    ingest_in_process(tmp_path / "first", tmp_path / "cases", CONFIG)
    with pytest.raises(StoreError, match=r"ingest\.grid was 16, is 32"):
        dry_run(tmp_path / "scans", tmp_path / "cases", IngestConfig(grid=32))


@pytest.mark.usefixtures("scan")
def test_the_command_prints_the_table_without_ray(tmp_path: Path) -> None:
    arguments = ["ingest", str(tmp_path / "scans"), "--out", str(tmp_path / "c"), "--dry-run"]
    result = CliRunner().invoke(app, [*arguments, "--series", "all"])
    assert result.exit_code == 0
    assert result.stdout.splitlines()[0].split() == ["input", "case", "scan", "drawn", "would"]
    assert not (tmp_path / "c").exists()


@pytest.mark.usefixtures("scan")
def test_names_cannot_write_to_the_terminal_what_they_like(tmp_path: Path) -> None:
    (tmp_path / "scans" / "x\x1b[2J\nfake.xml").write_bytes(b"no XML")
    text = dry_run(tmp_path / "scans", tmp_path / "cases", CONFIG)
    assert "\x1b" not in text
    assert "quarantine: a name with line breaks, or that is not text" in next(
        line for line in text.splitlines() if "fake.xml" in line
    )
    assert text.count("fake.xml") == 1


@pytest.mark.usefixtures("scan")
def test_names_that_are_no_text_can_be_printed(tmp_path: Path) -> None:
    (tmp_path / "scans" / "b\udcff.dcm").write_bytes(b"")
    dry_run(tmp_path / "scans", tmp_path / "cases", CONFIG).encode()


@pytest.mark.usefixtures("scan")
def test_another_key_than_the_store_s_is_refused_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_scan(tmp_path / "first", "plain", 1)
    lake = Lake(ingest_in_process(tmp_path / "first", tmp_path / "cases", CONFIG))
    claim_key(lake, Private.of(tmp_path / "cases", None).tags().key)
    assert lines(tmp_path)["one/ct"][-1] == "ingest"
    monkeypatch.setenv(KEY_VARIABLE, "00" * 32)
    with pytest.raises(StoreError, match="found a patient key other than"):
        lines(tmp_path)


@pytest.mark.usefixtures("scan")
def test_a_lung_model_that_is_not_installed_is_told_before_the_work(tmp_path: Path) -> None:
    with pytest.raises(FactoryError, match="totalsegmentator"):
        dry_run(tmp_path / "scans", tmp_path / "cases", CONFIG, lungs="totalsegmentator")
