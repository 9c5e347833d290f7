"""One case: made, kept or quarantined, and what its record tells of it."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from dicom_files import IDENTIFIERS
from dicom_scans import DicomScan, write_dicom_scan
from endless import KINDS, not_for_ever, write_endless
from support import write_scan

from factory.errors import CaseError, PassingError
from factory.ingest.prepare import IngestConfig, PreparedCase
from factory.ingest.sources import SourceCase, find_cases
from factory.lake import Lake
from jobs.ingest import task
from jobs.ingest.task import DEATHS, KEPT, MADE, QUARANTINED, REMADE, Outcome, foresee, ingest_case

CONFIG = IngestConfig(grid=16)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path / "cases")


@pytest.fixture
def scan(tmp_path: Path) -> DicomScan:
    return write_dicom_scan(tmp_path / "Doe, Jane" / "ct", 7)


@pytest.fixture
def series(scan: DicomScan) -> SourceCase:
    files = tuple(map(str, scan.files.paths))
    return SourceCase(
        case_id="tag-1", patient_id="tag", series=files, series_uid=scan.files.series_uid
    )


@pytest.fixture
def nifti(tmp_path: Path) -> SourceCase:
    write_scan(tmp_path / "scans", "a", 1)
    [source] = find_cases(tmp_path / "scans").cases
    return source


def run(source: SourceCase, lake: Lake, run_id: str = "r1") -> Outcome:
    return ingest_case(source, lake.url, CONFIG, run_id)


def record_of(lake: Lake, item: str) -> dict[str, Any]:
    (record,) = [one for one in lake.quarantined() if one["item_id"] == item]
    return record


def test_a_case_is_made_once_and_kept_from_then_on(lake: Lake, series: SourceCase) -> None:
    assert [run(series, lake).state for _ in range(2)] == [MADE, KEPT]
    row = lake.committed_row("tag-1")
    assert row["source_uri"] == "dicom:tag-1"
    assert len(row["source_sha256"]) == 64


def test_what_the_store_holds_of_a_series_names_no_path_and_no_patient(
    lake: Lake, series: SourceCase, scan: DicomScan, tmp_path: Path
) -> None:
    run(series, lake)
    texts = [path.read_bytes() for path in (tmp_path / "cases").rglob("*") if path.is_file()]
    hidden = (*IDENTIFIERS, "Doe, Jane", scan.files.series_uid, scan.files.study_uid, str(tmp_path))
    assert [word for word in hidden if any(word.encode() in text for text in texts)] == []
    assert len(texts) > 3


def test_a_series_that_lost_slices_is_another_scan_of_the_same_case(
    lake: Lake, series: SourceCase
) -> None:
    run(series, lake)
    before = lake.committed_row("tag-1")
    files = series.series[:-2]
    Path(series.series[-1]).unlink()
    shorter = SourceCase(
        case_id="tag-1", patient_id="tag", series=files, series_uid=series.series_uid
    )
    assert run(shorter, lake).state == REMADE
    after = lake.committed_row("tag-1")
    assert (before["source_shape"][0], after["source_shape"][0]) == (30, 28)


def test_a_broken_series_is_told_by_tag_to_the_store_and_leaves_no_name_there(
    lake: Lake, series: SourceCase
) -> None:
    missing = series.series[3]
    Path(missing).unlink()
    outcome = run(series, lake)
    assert outcome.state == QUARANTINED
    record = record_of(lake, "tag-1")
    assert record["file"] == "tag-1"
    text = json.dumps(record)
    assert "Doe" not in text
    assert Path(missing).name not in text
    assert record["traceback_tail"]


def test_an_unforeseen_error_on_a_series_is_not_quoted(
    lake: Lake, series: SourceCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    quoted = "unknown value 'Doe^Jane' in (0010,0010)"

    def fail(*_: object) -> None:
        raise ValueError(quoted)

    monkeypatch.setattr(task, "prepare_case", fail)
    told = run(series, lake).problem
    assert re.match(r"case tag-1: found ValueError in \w+\.py, line \d+; expected none\. Its", told)
    assert "Doe" not in json.dumps(record_of(lake, "tag-1")) + told


def test_paths_in_an_error_on_a_series_reach_the_terminal_and_not_the_store(
    lake: Lake, series: SourceCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = series.series[0]

    def fail(*_: object) -> None:
        raise CaseError(
            "tag-1", f"{place} is odd, in {Path(place).parent}; expected even. Mend it."
        )

    monkeypatch.setattr(task, "prepare_case", fail)
    assert place in run(series, lake).problem
    message = record_of(lake, "tag-1")["message"]
    assert message == "case tag-1: (path) is odd, in (path); expected even. Mend it."


def test_a_broken_nifti_file_is_told_by_its_path(lake: Lake, nifti: SourceCase) -> None:
    Path(nifti.ct).write_bytes(b"")
    assert run(nifti, lake).state == QUARANTINED
    record = record_of(lake, "a")
    assert (record["file"], record["retriable"]) == (nifti.ct, False)
    assert nifti.ct in record["message"]


def test_a_case_whose_process_died_is_given_up_at_its_third_start(
    lake: Lake, series: SourceCase
) -> None:
    for _ in range(DEATHS):
        lake.attempts.start("tag-1", "r1")
    outcome = run(series, lake)
    assert outcome.state == QUARANTINED
    assert (
        "its worker process ended 2 times; expected it to finish. A scan larger" in outcome.problem
    )
    record = record_of(lake, "tag-1")
    assert (record["attempts"], record["retriable"], record["error_class"]) == (
        2,
        True,
        "LostError",
    )


def test_another_run_tries_it_again_and_takes_it_out_of_quarantine(
    lake: Lake, series: SourceCase
) -> None:
    for _ in range(DEATHS):
        lake.attempts.start("tag-1", "r1")
    run(series, lake)
    assert run(series, lake, "r2").state == MADE
    assert lake.quarantined_ids() == set()


def test_deaths_of_another_run_do_not_count(lake: Lake, series: SourceCase) -> None:
    for _ in range(DEATHS):
        lake.attempts.start("tag-1", "another")
    assert run(series, lake).state == MADE


def test_a_failure_that_may_pass_says_so(
    lake: Lake, nifti: SourceCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise PassingError("s3://bucket: found no answer; expected one. Try later.")

    monkeypatch.setattr(task, "prepare_case", fail)
    run(nifti, lake)
    assert record_of(lake, "a")["retriable"] is True


def meanwhile(patch: pytest.MonkeyPatch, other: Callable[[], object]) -> None:
    """Let another ingest come in once, while this one prepares its case."""
    prepare = task.prepare_case

    def first_the_other(*arguments: Any) -> PreparedCase:
        patch.setattr(task, "prepare_case", prepare)
        other()
        return prepare(*arguments)

    patch.setattr(task, "prepare_case", first_the_other)


def test_of_two_ingests_at_once_the_first_alone_counts_a_case_as_its_own(
    lake: Lake, nifti: SourceCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    other: list[Outcome] = []
    meanwhile(monkeypatch, lambda: other.append(run(nifti, lake, "r2")))
    assert run(nifti, lake).state == KEPT
    assert [outcome.state for outcome in other] == [MADE]
    assert lake.committed_row("a")["run_id"] == "r2"
    assert len(lake.storage.names("volumes")) == 1


def test_a_case_whose_files_have_changed_is_made_anew_and_counts_so(
    lake: Lake, nifti: SourceCase, tmp_path: Path
) -> None:
    run(nifti, lake)
    write_scan(tmp_path / "scans", "a", 2)
    assert foresee(nifti, lake) == REMADE
    assert [run(nifti, lake).state for _ in range(2)] == [REMADE, KEPT]


def test_a_case_whose_volume_is_torn_is_made_anew(lake: Lake, nifti: SourceCase) -> None:
    run(nifti, lake)
    shutil.rmtree(lake.storage.child(lake.committed_row("a")["image_uri"]))
    assert foresee(nifti, lake) == REMADE
    assert run(nifti, lake).state == REMADE


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_that_became_a_pipe_is_quarantined_and_not_waited_for(
    lake: Lake, nifti: SourceCase, kind: str
) -> None:
    Path(nifti.ct).unlink()
    write_endless(Path(nifti.ct), kind)
    with not_for_ever():
        outcome = run(nifti, lake)
    assert outcome.state == QUARANTINED
    assert f"a_ct.nii.gz is a {kind} and no regular file; expected one that can" in outcome.problem
    assert record_of(lake, "a")["retriable"] is False
