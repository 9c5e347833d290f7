"""`factory export --native`: a synthetic volume in the grid and the HU of the scan that it was drawn into."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from exported_lakes import Made, drawn_lake, export_in_process, ingested, read_nifti, set_rows
from native_scans import NUM_CASES, child_of, make_native, meta_image, pair, with_own_scans
from support import write_scan

from factory.digests import sha256_of_voxels
from factory.errors import StoreError
from factory.lake import Lake
from factory.layouts import NODULE
from factory.volumes import Volume, write_volume
from jobs.export import task
from jobs.export.job import ExportResult, export
from jobs.export.scan import find_scan
from jobs.export.task import Work, export_volume


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Three cases of turned scans with a volume drawn into each; only to be read."""
    return make_native(tmp_path_factory.mktemp("made"))


@pytest.fixture
def made(given: Made, tmp_path: Path) -> Made:
    """The same with a lake and scans of its own."""
    return with_own_scans(given, tmp_path)


@pytest.fixture(autouse=True)
def begun(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of volumes as they are begun, in this process."""
    return export_in_process(monkeypatch)


def exported(made: Made, tmp_path: Path, **options: Any) -> ExportResult:
    return export(str(made.lake), tmp_path / "out", "nifti", native=True, **options)


def test_a_real_scan_comes_out_as_its_file_has_it(made: Made, tmp_path: Path) -> None:
    out = exported(made, tmp_path).out

    for number in range(NUM_CASES):
        scan, affine = read_nifti(made.scans / f"c{number}_ct.nii.gz")
        ct, layout, there = pair(out, f"c{number}")
        assert np.array_equal(ct, scan)
        np.testing.assert_allclose(there, affine, atol=1e-4)
        # The model grid is coarser, but a lung is where it was.
        lung, _ = read_nifti(made.scans / f"c{number}_lung.nii.gz")
        both = np.count_nonzero((layout > 0) & (lung > 0))
        assert 2 * both / (np.count_nonzero(layout) + np.count_nonzero(lung)) > 0.8


def test_a_synthetic_volume_is_its_scan_but_for_what_was_drawn(made: Made, tmp_path: Path) -> None:
    out = exported(made, tmp_path).out

    scan, affine = read_nifti(made.scans / "c1_ct.nii.gz")
    ct, layout, there = pair(out, child_of(made, "c1"))
    assert ct.shape == scan.shape
    np.testing.assert_allclose(there, affine, atol=1e-4)
    assert np.array_equal(ct[layout == 0], scan[layout == 0])
    assert np.count_nonzero(layout) > 1000
    assert (ct[layout > 0] != scan[layout > 0]).mean() > 0.9
    inside = ct[layout > 0]
    # The lake's HU are between -950 and -650, and at the lungs' rim they meet the wall.
    assert -950 <= np.median(inside) <= -650


def test_where_nothing_was_drawn_the_scan_stays(made: Made, tmp_path: Path) -> None:
    """Copy-paste draws nodules alone: the lungs around are the scan's own, unsmoothed."""
    rows = made.rows
    row = next(row for row in rows if row["work_id"] and row["case_id"] == "c0")
    donor = next(row for row in rows if not row["work_id"] and row["case_id"] == "c0")
    drawn, scan_of = made.volume_of(row), made.volume_of(donor)
    assert (drawn.layout == NODULE).any()
    ct = np.where(drawn.layout == NODULE, 30, scan_of.ct).astype(np.int16)
    write_volume(
        Lake(made.lake).storage,
        "volumes/pasted.ome.zarr",
        Volume(ct=ct, layout=drawn.layout, affine=drawn.affine),
    )
    changed = {
        "image_uri": "volumes/pasted.ome.zarr",
        "layout_uri": None,
        "image_sha256": sha256_of_voxels(ct),
    }
    set_rows(
        made.lake, [one | changed if one["work_id"] == row["work_id"] else one for one in rows]
    )

    out = exported(made, tmp_path).out

    scan, _ = read_nifti(made.scans / "c0_ct.nii.gz")
    found, layout, _ = pair(out, child_of(made, "c0"))
    assert np.array_equal(found[layout != NODULE], scan[layout != NODULE])
    assert (layout == NODULE).any()
    assert (found[layout == NODULE] != scan[layout == NODULE]).any()


def test_a_scan_that_is_gone_is_told_and_the_rest_goes_on(made: Made, tmp_path: Path) -> None:
    (made.scans / "c1_ct.nii.gz").unlink()

    result = exported(made, tmp_path)

    assert sorted(result.left_out) == ["c1", child_of(made, "c1")]
    for problem in result.left_out.values():
        assert "case c1: " in problem
        assert "found no such file or folder; expected the scan" in problem
    assert result.num_written == 4


def test_a_scan_that_was_changed_is_refused(made: Made, tmp_path: Path) -> None:
    scan = nib.load(made.scans / "c1_ct.nii.gz")
    moved = np.asarray(scan.dataobj).copy()
    moved[0, 0, 0] += 1
    nib.save(nib.Nifti1Image(moved, scan.affine), made.scans / "c1_ct.nii.gz")

    result = exported(made, tmp_path)

    assert "found sha256" in result.left_out["c1"]
    assert "Put that file back, or ingest the case again" in result.left_out["c1"]
    assert result.num_written == 4


def test_a_pipe_in_place_of_a_scan_hangs_nothing(made: Made, tmp_path: Path) -> None:
    (made.scans / "c1_ct.nii.gz").unlink()
    os.mkfifo(made.scans / "c1_ct.nii.gz")

    result = exported(made, tmp_path)

    assert "c1" in result.left_out
    assert result.num_written == 4


@pytest.mark.parametrize(
    ("column", "value", "told"),
    [
        ("source_uri", None, "found no path of its scan"),
        ("source_uri", "dicom:c1", "found no path of its scan"),
        ("source_affine", [1.0] * 16, "voxels; expected"),
        ("source_shape", [30, 48, 65], r"expected (30, 48, 65)"),
        ("source_shape", None, "expected a shape"),
    ],
)
def test_a_case_whose_way_back_is_not_known_is_told(
    column: str, value: Any, told: str, made: Made, tmp_path: Path
) -> None:
    rows = [
        row | {column: value} if row["kind"] == "real" and row["case_id"] == "c1" else row
        for row in made.rows
    ]
    set_rows(made.lake, rows)

    result = exported(made, tmp_path)

    assert told in result.left_out["c1"]
    assert told in result.left_out[child_of(made, "c1")]
    assert result.num_written == 4


def test_a_volume_that_was_drawn_into_another_case_is_refused(made: Made, tmp_path: Path) -> None:
    """Its HU would be put into a scan of somebody else."""
    row = next(row for row in made.rows if row["work_id"] and row["case_id"] == "c1")
    other = next(row for row in made.rows if not row["work_id"] and row["case_id"] == "c0")
    work = Work(
        name="v",
        row=row | {"image_uri": str(made.lake / row["image_uri"])},
        donor=other,
        image="images/v.nii.gz",
        layout="layouts/v.nii.gz",
        source=other["source_uri"],
        native=True,
    )

    ended = export_volume(work, "manifest", str(tmp_path / "out"))

    assert "found a scan other than the one that the volume was drawn into" in ended.problem
    assert not (tmp_path / "out").exists()


def test_a_mix_without_the_donor_says_what_it_needs(made: Made, tmp_path: Path) -> None:
    set_rows(made.lake, [row for row in made.rows if row["work_id"] or row["case_id"] != "c1"])

    result = exported(made, tmp_path)

    assert "found no row of the scan in the manifest" in result.left_out[child_of(made, "c1")]
    assert result.num_written == 4


def test_a_grid_that_is_not_the_cases_is_refused(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A way back that is half a voxel off would go unseen: the scan has to become the case again."""

    found = task.grid_in_scan

    def shifted(*given: Any) -> Any:
        grid = found(*given)
        return replace(grid, start=(grid.start[0] + 0.5, *grid.start[1:]))

    monkeypatch.setattr(task, "grid_in_scan", shifted)

    with pytest.raises(StoreError, match="no volume that could be exported"):
        exported(made, tmp_path)
    told = (tmp_path / "out" / ".export" / "left_out.json").read_text()
    assert "other voxels when the scan is brought to the model grid again" in told


def test_a_meta_image_is_found_again(tmp_path: Path) -> None:

    write_scan(tmp_path / "nifti", "c0", 0)
    (tmp_path / "scans").mkdir()
    for path in (tmp_path / "nifti").iterdir():
        name = path.name.replace(".nii.gz", ".mha")
        (tmp_path / "scans" / name).write_bytes(meta_image(nib.load(path)))
    cases = ingested(tmp_path / "scans", tmp_path / "cases")
    made = Made(
        scans=tmp_path / "scans", cases=cases, lake=drawn_lake(cases, tmp_path / "lake", draws=1)
    )

    result = exported(made, tmp_path)

    assert result.left_out == {}
    scan, affine = read_nifti(tmp_path / "nifti" / "c0_ct.nii.gz")
    ct, layout, there = pair(result.out, child_of(made, "c0"))
    # The file's own axes are kept, and they are those of the phantom.
    assert ct.shape == scan.shape
    np.testing.assert_allclose(np.abs(there), np.abs(affine), atol=1e-3)
    assert np.array_equal(ct[layout == 0], scan[layout == 0])


def test_the_scan_is_found_with_the_axes_of_its_file(made: Made) -> None:
    row = next(row for row in made.rows if row["kind"] == "real")

    found = find_scan(row, row["source_uri"])

    assert found.codes == "SPL"
    assert found.affine[0, 0] < 0
    np.testing.assert_allclose(found.scan.affine.ravel(), row["source_affine"], atol=1e-6)
