"""Folds need a patient each who can test: who was annotated counts, and not who was scanned."""

from pathlib import Path
from typing import Any

import pytest
from downstream_sets import read_case
from mix_sources import SHAPE

from factory.errors import UsageError
from jobs.downstream.plan import make_plan
from manifests.write import write_manifest


def manifest_of(tmp_path: Path, origins: list[str]) -> str:
    rows: list[dict[str, Any]] = [
        read_case(f"c{number}", layout_origin=origin) for number, origin in enumerate(origins)
    ]
    write_manifest(rows, tmp_path / "manifest.parquet")
    return str(tmp_path / "manifest.parquet")


def test_with_one_annotated_patient_there_is_nothing_to_ask_for_less_of(tmp_path: Path) -> None:
    manifest = manifest_of(tmp_path, ["annotated", "none", "none", "none"])
    with pytest.raises(UsageError) as caught:
        make_plan(manifest, num_folds=3)
    assert str(caught.value) == (
        "--folds 3: 3 folds need 3 patients with an annotated scan; found 1 patient in "
        f"{manifest}. Ingest scans of more patients."
    )


def test_with_some_annotated_patients_as_many_folds_may_be_asked_for(tmp_path: Path) -> None:
    manifest = manifest_of(tmp_path, ["annotated", "annotated", "none"])
    with pytest.raises(UsageError, match=r"found 2 patients in .*\. Ask for 2 or fewer, or ingest"):
        make_plan(manifest, num_folds=3)


def test_annotated_scans_on_another_grid_are_not_said_to_be_missing(tmp_path: Path) -> None:
    other: list[int] = [2 * size for size in SHAPE]
    rows = [read_case(f"c{number}") for number in range(3)]
    rows += [read_case(f"d{number}", shape=other) for number in range(2)]
    write_manifest(rows, tmp_path / "manifest.parquet")
    told = "patients with an annotated scan on the grid that most scans have; found 3 patients"
    with pytest.raises(UsageError, match=told):
        make_plan(str(tmp_path / "manifest.parquet"), num_folds=4)


def test_where_unannotated_scans_count_as_healthy_they_count_here_too(tmp_path: Path) -> None:
    manifest = manifest_of(tmp_path, ["annotated", "none", "none"])
    assert len(make_plan(manifest, num_folds=3, unannotated="healthy").folds) == 3
