"""Scans in: what comes out of whole ones, and what is said of broken ones."""

import gzip
import os
import re
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from support import save_nifti, write_scan

from factory.errors import FactoryError, StoreError
from factory.ingest.prepare import IngestConfig
from factory.ingest.sources import find_cases
from factory.lake import MANIFEST, QUARANTINE, Lake
from factory.phantom import Phantom
from factory.volumes import read_volume
from jobs.ingest.job import ingest
from manifests.read import read_manifest, read_table
from manifests.schema import QUARANTINE_SCHEMA

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_cluster")]

CONFIG = IngestConfig(grid=16)


def rows_of(store: Path) -> dict[str, dict]:
    return {row["case_id"]: row for row in read_manifest(store / MANIFEST).to_pylist()}


def reasons_of(store: Path) -> dict[str, str]:
    table = read_table(store / QUARANTINE, QUARANTINE_SCHEMA)
    return {row["item_id"]: row["message"] for row in table.to_pylist()}


@pytest.fixture(scope="module")
def bad_store(tmp_path_factory: pytest.TempPathFactory, ray_cluster: None) -> Path:
    """A store out of two whole cases among every kind of broken one."""
    source = tmp_path_factory.mktemp("scans")
    good = write_scan(source, "good", 1)
    write_scan(source, "fine", 2)

    def scan(name: str) -> Path:
        write_scan(source, name, 3, nodule=False)
        return source / f"{name}_ct.nii.gz"

    torn = scan("torn")
    torn.write_bytes(torn.read_bytes()[: torn.stat().st_size // 2])
    scan("flat").unlink()
    nib.save(nib.Nifti1Image(np.zeros((8, 8), np.int16), np.eye(4)), source / "flat_ct.nii.gz")
    scan("series").unlink()
    nib.save(
        nib.Nifti1Image(np.zeros((8, 8, 8, 2), np.int16), np.eye(4)), source / "series_ct.nii.gz"
    )
    holes = good.ct.astype(np.float32)
    holes[0, 0, :3] = np.nan
    scan("holes")
    save_nifti(source / "holes_ct.nii.gz", holes, good.affine)
    scan("shifted")
    moved = good.affine.copy()
    moved[0, 3] += 5
    save_nifti(source / "shifted_lung.nii.gz", good.lung.astype(np.uint8), moved)
    scan("smaller")
    save_nifti(source / "smaller_lung.nii.gz", good.lung[1:].astype(np.uint8), good.affine)
    scan("empty")
    save_nifti(source / "empty_lung.nii.gz", np.zeros_like(good.nodule), good.affine)
    labels = good.lung.astype(np.uint8)
    labels[0, 0, 0] = 7
    save_nifti(source / "CT" / "labelled.nii.gz", good.ct, good.affine)
    save_nifti(source / "SEG" / "labelled.nii.gz", labels, good.affine)
    scan("grey")
    grey = np.clip((good.ct + 1024) / 8, 0, 255).astype(np.uint8)
    save_nifti(source / "grey_ct.nii.gz", grey, good.affine)
    scan("twice")
    shutil.copy(source / "twice_ct.nii.gz", source / "sub_twice.nii.gz")
    (source / "sub").mkdir()
    (source / "sub_twice.nii.gz").rename(source / "sub" / "twice_ct.nii.gz")
    save_nifti(source / "alone_lung.nii.gz", good.lung.astype(np.uint8), good.affine)
    (source / "text_ct.nii.gz").write_bytes(gzip.compress(b"not an image at all" * 40))
    store = tmp_path_factory.mktemp("store")
    result = ingest(source, store, CONFIG)
    assert (result.num_cases, result.num_quarantined) == (2, len(MESSAGES))
    return store


MESSAGES = {
    "torn": r"case torn: .*torn_ct\.nii\.gz cannot be read \(\w+: .*\); expected a whole NIfTI file\. "
    r"Copy or convert it again\.",
    "text": r"case text: .*text_ct\.nii\.gz cannot be read \(ImageFileError: .*\); expected a whole",
    "flat": r"case flat: .*flat_ct\.nii\.gz has 2 dimensions \(8, 8\); expected 3\. Split a series",
    "series": r"case series: .*series_ct\.nii\.gz has 4 dimensions \(8, 8, 8, 2\); expected 3\. Split",
    "holes": r"case holes: .*holes_ct\.nii\.gz has 3 voxels with NaN or infinity; expected HU in "
    r"every voxel\. Fill them \(air is -1000 HU\), or leave the case out\.",
    "shifted": r"case shifted: mask .*shifted_lung\.nii\.gz has shape \(z, y, x\) \(30, 48, 64\) at "
    r"\([\d., ]+\) mm from \([-\d., ]+\) mm, but the CT has .* expected one grid\. Resample the mask",
    "smaller": r"case smaller: mask .* has shape \(z, y, x\) \(29, 48, 64\) at .* the CT has "
    r"\(30, 48, 64\)",
    "empty": r"case empty: the lung mask .*empty_lung\.nii\.gz is empty; expected at least one lung "
    r"voxel\. Draw the lungs, or remove the mask to have them segmented\.",
    "labelled": r"case labelled: .*labelled\.nii\.gz has label 7; expected 0, 1 or 2\. Relabel",
    "grey": r"case grey: .*grey_ct\.nii\.gz has values from 0 to \d+; expected HU, with air near "
    r"-1000\. Apply the rescale slope and intercept",
    "twice": r"case twice: found 2 CTs with this id \(.*twice_ct\.nii\.gz, .*twice_ct\.nii\.gz\); "
    r"expected one\. Rename all but one\.",
    "alone": r"case alone: found the mask .*alone_lung\.nii\.gz but no CT; expected CT/alone\.nii\.gz "
    r"or alone_ct\.nii\.gz\. Add the CT, or remove the mask\.",
}


@pytest.mark.parametrize("case_id", MESSAGES)
def test_a_broken_case_is_quarantined_with_what_was_found_expected_and_the_way_out(
    bad_store: Path, case_id: str
) -> None:
    assert re.search(MESSAGES[case_id], reasons_of(bad_store)[case_id])


def test_broken_cases_do_not_stop_whole_ones(bad_store: Path) -> None:
    assert set(rows_of(bad_store)) == {"good", "fine"}
    assert set(reasons_of(bad_store)) == set(MESSAGES)


def test_a_source_of_only_broken_cases_is_an_error(tmp_path: Path) -> None:
    write_scan(tmp_path / "scans", "only", 1)
    (tmp_path / "scans" / "only_ct.nii.gz").write_bytes(b"")
    with pytest.raises(
        FactoryError, match=r"nothing left of 1 case, all quarantined; expected at least one"
    ):
        ingest(tmp_path / "scans", tmp_path / "cases", CONFIG)


def test_a_case_keeps_its_hounsfield_units_and_its_place_in_the_patient(tmp_path: Path) -> None:
    drawn = write_scan(tmp_path / "scans", "a", 1)
    ingest(tmp_path / "scans", tmp_path / "cases", IngestConfig(grid=32))
    row = rows_of(tmp_path / "cases")["a"]
    volume = read_volume(Lake(tmp_path / "cases").storage, row["image_uri"])

    # The centre of mass of the lungs, in mm, is where it was: within a voxel of the grid.
    def centre(mask: np.ndarray, affine: np.ndarray) -> np.ndarray:
        z, y, x = (index.mean() for index in np.nonzero(mask))
        return (affine @ [x, y, z, 1.0])[:3]

    shift = centre(volume.layout > 0, volume.affine) - centre(drawn.lung, drawn.affine)
    assert np.abs(shift).max() < max(row["spacing_mm"]) / 4
    assert np.median(volume.ct[volume.layout == 1]) == pytest.approx(
        np.median(drawn.ct[drawn.lung & (drawn.nodule == 0)]), abs=25
    )
    assert np.array(row["source_affine"]).reshape(4, 4) == pytest.approx(drawn.affine, abs=1e-4)
    assert row["source_shape"] == list(drawn.ct.shape)


def test_the_orientation_of_the_file_does_not_change_the_case(tmp_path: Path) -> None:
    """A scan stored left-posterior-superior, axes permuted, is the same case."""
    drawn = write_scan(tmp_path / "ras", "a", 1)
    for kind in ("ct", "lung", "nodule"):
        image = nib.load(tmp_path / "ras" / f"a_{kind}.nii.gz")
        turn = nib.orientations.axcodes2ornt("PSL")
        now = nib.orientations.io_orientation(image.affine)
        turned = image.as_reoriented(nib.orientations.ornt_transform(now, turn))
        assert nib.aff2axcodes(turned.affine) == ("P", "S", "L")
        (tmp_path / "psl").mkdir(exist_ok=True)
        nib.save(turned, tmp_path / "psl" / f"a_{kind}.nii.gz")
    digests = []
    for order in ("ras", "psl"):
        ingest(tmp_path / order, tmp_path / f"{order}-cases", CONFIG)
        row = rows_of(tmp_path / f"{order}-cases")["a"]
        digests.append((row["image_sha256"], row["layout_sha256"], np.round(row["affine"], 3)))

    assert digests[0][:2] == digests[1][:2]
    assert digests[0][2] == pytest.approx(digests[1][2])
    assert drawn.ct.shape == (30, 48, 64)


def test_lung_ddpm_folders_are_read(tmp_path: Path, phantom: Phantom) -> None:
    layout = phantom.lung.astype(np.uint8)
    layout[phantom.nodule > 0] = 2
    save_nifti(tmp_path / "scans" / "CT" / "LIDC-1.nii.gz", phantom.ct, phantom.affine)
    save_nifti(tmp_path / "scans" / "SEG" / "LIDC-1.nii.gz", layout, phantom.affine)
    ingest(tmp_path / "scans", tmp_path / "cases", CONFIG)

    row = rows_of(tmp_path / "cases")["LIDC-1"]
    volume = read_volume(Lake(tmp_path / "cases").storage, row["image_uri"])
    assert set(np.unique(volume.layout)) == {0, 1, 2}
    assert row["layout_origin"] == "annotated"


def test_a_missing_lung_mask_is_segmented_and_noted(tmp_path: Path) -> None:
    drawn = write_scan(tmp_path / "scans", "a", 1)
    (tmp_path / "scans" / "a_lung.nii.gz").unlink()
    ingest(tmp_path / "scans", tmp_path / "cases", IngestConfig(grid=32))

    row = rows_of(tmp_path / "cases")["a"]
    volume = read_volume(Lake(tmp_path / "cases").storage, row["image_uri"])
    assert row["notes"] == ["lung mask segmented automatically"]
    volume_ml = (volume.layout > 0).sum() * np.prod(row["spacing_mm"]) / 1000
    assert volume_ml == pytest.approx(drawn.lung.sum() * np.prod(drawn.spacing_mm) / 1000, rel=0.1)


def test_a_second_ingest_keeps_what_is_whole_and_takes_what_was_mended(tmp_path: Path) -> None:
    scans, cases = tmp_path / "scans", tmp_path / "cases"
    write_scan(scans, "a", 1)
    write_scan(scans, "b", 2)
    whole = (scans / "b_ct.nii.gz").read_bytes()
    (scans / "b_ct.nii.gz").write_bytes(whole[:1000])
    ingest(scans, cases, CONFIG)
    kept = rows_of(cases)["a"]["image_uri"]
    (scans / "b_ct.nii.gz").write_bytes(whole)
    result = ingest(scans, cases, CONFIG)

    assert (result.num_cases, result.num_quarantined) == (2, 0)
    assert rows_of(cases)["a"]["image_uri"] == kept
    assert reasons_of(cases) == {}
    assert len(list((cases / "volumes").iterdir())) == 2


def test_scans_that_were_moved_are_known_again(tmp_path: Path) -> None:
    write_scan(tmp_path / "scans", "a", 1)
    ingest(tmp_path / "scans", tmp_path / "cases", CONFIG)
    first = rows_of(tmp_path / "cases")["a"]
    (tmp_path / "scans").rename(tmp_path / "archive")
    result = ingest(tmp_path / "archive", tmp_path / "cases", CONFIG)

    assert (result.num_cases, result.num_quarantined) == (1, 0)
    assert rows_of(tmp_path / "cases")["a"] == first


def test_a_volume_that_is_gone_is_made_again(tmp_path: Path) -> None:
    write_scan(tmp_path / "scans", "a", 1)
    ingest(tmp_path / "scans", tmp_path / "cases", CONFIG)
    first = rows_of(tmp_path / "cases")["a"]
    shutil.rmtree(tmp_path / "cases" / first["image_uri"])
    summary = ingest(tmp_path / "scans", tmp_path / "cases", CONFIG).summary
    again = rows_of(tmp_path / "cases")["a"]

    assert (summary.num_new, summary.num_remade, summary.num_kept) == (0, 1, 0)
    assert again["image_sha256"] == first["image_sha256"]
    read_volume(Lake(tmp_path / "cases").storage, again["image_uri"])


def test_an_id_that_another_scan_has_is_refused_and_the_first_stays(tmp_path: Path) -> None:
    write_scan(tmp_path / "one", "a", 1)
    write_scan(tmp_path / "two", "a", 2)
    ingest(tmp_path / "one", tmp_path / "cases", CONFIG)
    first = rows_of(tmp_path / "cases")["a"]
    ingest(tmp_path / "two", tmp_path / "cases", CONFIG)

    assert rows_of(tmp_path / "cases")["a"] == first
    assert "the store has a case of this id from" in reasons_of(tmp_path / "cases")["a"]


def test_one_store_has_one_grid(tmp_path: Path) -> None:
    write_scan(tmp_path / "scans", "a", 1)
    ingest(tmp_path / "scans", tmp_path / "cases", CONFIG)
    with pytest.raises(StoreError, match=r"other settings \(ingest\.grid was 16, is 32\)"):
        ingest(tmp_path / "scans", tmp_path / "cases", IngestConfig(grid=32))


def test_scans_of_one_patient_fall_into_one_split(tmp_path: Path) -> None:
    for seed in range(12):
        write_scan(tmp_path / "scans", f"c{seed}", seed)
    table = tmp_path / "patients.csv"
    table.write_text("case_id,patient_id\n" + "".join(f"c{i},p{i // 2}\n" for i in range(12)))
    ingest(tmp_path / "scans", tmp_path / "cases", CONFIG, patients=table)
    rows = rows_of(tmp_path / "cases")

    assert {row["patient_id"] for row in rows.values()} == {f"p{i}" for i in range(6)}
    assert all(rows[f"c{i}"]["split"] == rows[f"c{i + 1}"]["split"] for i in range(0, 12, 2))


def test_a_folder_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """As another user where the tests run as root, for root reads everything."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o000)
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        with pytest.raises(FactoryError) as caught:
            find_cases(closed)
    finally:
        os.seteuid(user)
    assert str(caught.value) == (
        f"source {closed}: found no permission; expected a folder that can be read. Check the "
        "path and its permissions."
    )


def test_a_relative_source_is_found_by_workers_that_stand_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_scan(tmp_path / "scans", "one", 1)
    # Those of this cluster stand where it was started.
    monkeypatch.chdir(tmp_path)
    assert ingest(Path("scans"), tmp_path / "cases", CONFIG).num_cases == 1
