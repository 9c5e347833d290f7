"""Scans that readers found nothing in are free of nodules; those that nobody read may have some."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from dicom_scans import write_dicom_scan
from lidc_xml import reads_of, write_lidc_xml
from support import SCAN_SIZE, save_nifti, write_scan

from factory.ingest.prepare import IngestConfig
from factory.ingest.sources import SourceCase, find_cases
from factory.lake import Lake
from factory.layouts import LUNG, NODULE
from jobs.ingest.task import MADE, ingest_case


def origin_of(source: SourceCase, folder: Path) -> str:
    """Ingest a case that has no nodule on its grid; return the origin of its layout."""
    lake = Lake(folder / "cases")
    assert ingest_case(source, lake.url, IngestConfig(grid=16), "r1").state == MADE
    row = lake.committed_row(source.case_id)
    assert row["nodules"] == []
    return str(row["layout_origin"])


@pytest.fixture
def bare(tmp_path: Path) -> SourceCase:
    """A scan with lungs, whose nodules nobody drew."""
    write_scan(tmp_path / "scans", "a", 1, nodule=False)
    (source,) = find_cases(tmp_path / "scans").cases
    return source


def test_a_scan_that_nobody_looked_for_nodules_in_has_a_layout_of_nobody(
    bare: SourceCase, tmp_path: Path
) -> None:
    assert origin_of(bare, tmp_path) == "none"


def test_an_empty_nodule_mask_says_that_somebody_looked(bare: SourceCase, tmp_path: Path) -> None:
    empty = tmp_path / "scans" / "a_nodule.nii.gz"
    drawn = write_scan(tmp_path / "other", "b", 1)
    save_nifti(empty, np.zeros(SCAN_SIZE, np.uint8), drawn.affine)
    (source,) = find_cases(tmp_path / "scans").cases
    assert source.nodule == (str(empty),)
    assert origin_of(source, tmp_path) == "annotated"


@pytest.mark.parametrize(
    ("roles", "origin"),
    [((), "annotated"), (((1, LUNG), (2, NODULE)), "annotated"), (((1, LUNG),), "none")],
    ids=["a layout's own", "with nodules", "lungs alone"],
)
def test_a_segmentation_says_so_where_it_has_a_label_for_nodules(
    bare: SourceCase, tmp_path: Path, roles: tuple[tuple[int, int], ...], origin: str
) -> None:
    source = replace(bare, lung=(), labels=bare.lung[0], label_roles=roles)
    assert origin_of(source, tmp_path) == origin


def test_readers_who_marked_nothing_have_read_the_scan(tmp_path: Path) -> None:
    scan = write_dicom_scan(tmp_path / "ct", 7)
    series = SourceCase(
        case_id="tag",
        patient_id="tag",
        series=tuple(map(str, scan.files.paths)),
        series_uid=scan.files.series_uid,
    )
    reads = replace(
        reads_of([], [], series_uid=scan.files.series_uid), study_uid=scan.files.study_uid
    )
    xml = write_lidc_xml(tmp_path / "reads.xml", reads)
    assert origin_of(series, tmp_path / "alone") == "none"
    assert origin_of(replace(series, lidc_xml=(str(xml),)), tmp_path / "read") == "annotated"


def test_a_nodule_that_the_grid_lost_was_annotated_all_the_same(
    bare: SourceCase, tmp_path: Path
) -> None:
    drawn = write_scan(tmp_path / "other", "b", 1)
    nodule = np.zeros(SCAN_SIZE, np.uint8)
    # One voxel, between those that the grid takes.
    nodule[tuple(np.argwhere(drawn.lung)[0])] = 1
    mask = tmp_path / "scans" / "a_nodule.nii.gz"
    save_nifti(mask, nodule, drawn.affine)
    assert origin_of(replace(bare, nodule=(str(mask),)), tmp_path) == "annotated"
