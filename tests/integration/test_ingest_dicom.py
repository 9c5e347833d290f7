"""A hospital's tree in: Ray Data over series, deaths, reruns, and a store that names no patient."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from annotation_files import LUNG_TYPE, NODULE_TYPE, write_seg
from dicom_files import IDENTIFIERS, write_localizer
from dicom_scans import write_dicom_scan
from support import write_scan

from factory.dicom.identity import KEY_VARIABLE
from factory.errors import FactoryError
from factory.ingest.prepare import IngestConfig
from factory.lake import MANIFEST, QUARANTINE, Lake
from jobs.ingest import stream
from jobs.ingest.aside import LEFT_OUT
from jobs.ingest.job import ingest
from jobs.ingest.private import read_inputs
from manifests.read import read_manifest, read_table
from manifests.schema import LEFT_OUT_SCHEMA, QUARANTINE_SCHEMA

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_cluster")]

CONFIG = IngestConfig(grid=16)


def rows_of(store: Path) -> dict[str, dict[str, Any]]:
    return {row["case_id"]: row for row in read_manifest(store / MANIFEST).to_pylist()}


def table_of(store: Path, name: str) -> list[dict[str, Any]]:
    schema = QUARANTINE_SCHEMA if name == QUARANTINE else LEFT_OUT_SCHEMA
    rows: list[dict[str, Any]] = read_table(store / name, schema).to_pylist()
    return rows


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three patients, one with two studies; thick and thin series, scouts, a SEG, broken files, NIfTI."""
    tree = tmp_path_factory.mktemp("hospital")
    for number, patient in enumerate(("Doe^Jane", "Roe^Rita", "Poe^Pat")):
        folder = tree / patient.replace("^", ", ") / "2019-07-04"
        thin = write_dicom_scan(
            folder / "thin", number, patient_id=f"MRN{number}", patient_name=patient
        )
        shared = {"patient_id": f"MRN{number}", "study_uid": thin.files.study_uid}
        write_dicom_scan(folder / "thick", number, size=(10, 48, 64), **shared)
        write_localizer(folder / "scout", study_uid=thin.files.study_uid)
        lung, nodule = thin.stored(thin.drawn.lung), thin.stored(thin.drawn.nodule > 0)
        drawn = {"lung": (LUNG_TYPE, lung), "nodule": (NODULE_TYPE, nodule)}
        write_seg(folder / "seg.dcm", thin.stack, drawn)
    again = tree / "Doe, Jane" / "2020-01-01" / "ct"
    write_dicom_scan(again, 0, patient_id="MRN0", missing=[4, 5, 6, 14, 15])
    (tree / "Doe, Jane" / "report.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"\xff" * 90)
    write_scan(tree / "others", "volunteer", 5)
    return tree


@pytest.fixture(scope="module")
def store(tree: Path, tmp_path_factory: pytest.TempPathFactory, ray_cluster: None) -> Path:
    store = tmp_path_factory.mktemp("made") / "cases"
    result = ingest(tree, store, CONFIG)
    assert (result.num_cases, result.num_quarantined) == (4, 2)
    assert result.summary.num_found == 4 + 2 + 3 + 3
    return store


def test_each_study_gives_its_thinnest_series_with_what_was_drawn_on_it(store: Path) -> None:
    rows = rows_of(store)
    of_dicom = [row for row in rows.values() if row["source_uri"].startswith("dicom:")]
    assert len(of_dicom) == 3
    assert {row["source_shape"][0] for row in of_dicom} == {30}
    assert all(row["nodules"] for row in of_dicom)
    assert len({row["patient_id"] for row in rows.values()}) == 4


def test_every_input_is_a_case_or_has_a_reason(store: Path) -> None:
    reasons = {row["message"].split(": ", 1)[1] for row in table_of(store, QUARANTINE)}
    assert len(reasons) == 2
    assert any("5 slices" in reason or "missing" in reason for reason in reasons)
    left_out = [row["reason"] for row in table_of(store, LEFT_OUT)]
    assert sorted(left_out) == ["a localiser"] * 3 + ["not chosen"] * 3


def test_the_store_tells_no_patient_and_the_private_folder_tells_which_is_which(
    store: Path, tree: Path
) -> None:
    texts = {path: path.read_bytes() for path in store.rglob("*") if path.is_file()}
    hidden = [*IDENTIFIERS, "Roe", "Poe", "MRN0", "MRN1", "2019-07-04", "1.2.826.0.1.3680043"]
    found = [
        (word, path) for word in hidden for path, text in texts.items() if word.encode() in text
    ]
    assert found == []
    known = read_inputs(store.with_name("cases.private"))
    of_dicom = [case for case, row in rows_of(store).items() if row["source_uri"][:5] == "dicom"]
    assert {known[case] for case in of_dicom} == {
        str(folder) for folder in tree.glob("*/2019-07-04/thin")
    }


def test_the_same_again_makes_nothing_new(store: Path, tree: Path) -> None:
    before = rows_of(store)
    result = ingest(tree, store, CONFIG)
    assert rows_of(store) == before
    assert (result.summary.num_new, result.summary.num_kept) == (0, 4)


def test_a_mended_series_leaves_the_quarantine(
    tmp_path: Path,
) -> None:
    scans, cases = tmp_path / "scans", tmp_path / "cases"
    whole = write_dicom_scan(scans / "ct", 3, patient_id="A")
    torn = whole.files.paths[7].read_bytes()
    whole.files.paths[7].write_bytes(torn[: len(torn) // 2])
    with pytest.raises(FactoryError, match="all quarantined"):
        ingest(scans, cases, CONFIG)
    assert len(table_of(cases, QUARANTINE)) >= 1
    whole.files.paths[7].write_bytes(torn)
    result = ingest(scans, cases, CONFIG)
    assert (result.num_cases, result.num_quarantined) == (1, 0)
    assert table_of(cases, QUARANTINE) == []


def test_all_series_of_a_study_become_cases_of_one_patient(tmp_path: Path) -> None:
    thin = write_dicom_scan(tmp_path / "scans" / "thin", 3, patient_id="A")
    write_dicom_scan(
        tmp_path / "scans" / "thick", 3, size=(10, 48, 64), patient_id="A",
        study_uid=thin.files.study_uid,
    )  # fmt: skip
    ingest(tmp_path / "scans", tmp_path / "cases", CONFIG, series="all")
    rows = rows_of(tmp_path / "cases")
    assert len(rows) == 2
    assert len({row["patient_id"] for row in rows.values()}) == 1


def _dying(run: Any) -> Any:
    def row_of(row: dict[str, Any], *given: Any) -> dict[str, Any]:
        from jobs.ingest import task

        whole = task.prepare_case

        def prepare(source: Any, *how: Any) -> Any:
            if len(source.series) == 28:
                os.kill(os.getpid(), signal.SIGKILL)
            return whole(source, *how)

        task.prepare_case = prepare
        try:
            ended: dict[str, Any] = run(row, *given)
            return ended
        finally:
            task.prepare_case = whole

    return row_of


def test_a_worker_that_is_killed_costs_its_case_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scans, cases = tmp_path / "scans", tmp_path / "cases"
    for number in range(5):
        write_dicom_scan(scans / f"{number}", number, patient_id=f"P{number}")
    deadly = write_dicom_scan(scans / "deadly", 9, size=(28, 48, 64), patient_id="P9")
    real = stream._ingest_row
    monkeypatch.setattr(stream, "_ingest_row", _dying(real))
    result = ingest(scans, cases, CONFIG)

    assert (result.num_cases, result.num_quarantined) == (5, 1)
    (record,) = table_of(cases, QUARANTINE)
    assert (record["retriable"], record["attempts"]) == (True, 2)
    assert "its worker process ended 2 times" in record["message"]
    assert read_inputs(tmp_path / "cases.private")[record["file"]] == str(
        deadly.files.paths[0].parent
    )
    monkeypatch.setattr(stream, "_ingest_row", real)
    assert ingest(scans, cases, CONFIG).num_cases == 6


def test_two_ingests_at_once_make_one_store(tree: Path, store: Path, tmp_path: Path) -> None:
    """In processes of their own, with a key that neither has yet."""
    together = tmp_path / "cases"
    command = [
        str(Path(sys.executable).with_name("factory")),
        *("ingest", str(tree), "--out", str(together), "--grid", "16"),
    ]
    processes = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    ended = [process.communicate(timeout=300) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], ended
    rows = rows_of(together)
    assert len(rows) == 4
    images = {row["image_sha256"] for row in rows.values()}
    assert images == {row["image_sha256"] for row in rows_of(store).values()}
    assert len(list((together / "volumes").iterdir())) == 4


def test_a_bucket_gets_nothing_without_a_key(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    with pytest.raises(FactoryError, match=r"Set FACTORY_PATIENT_KEY, or name a folder"):
        ingest(tree, "memory://bucket/cases", CONFIG)
    assert not Lake("memory://bucket/cases").storage.exists("dataset.json")
