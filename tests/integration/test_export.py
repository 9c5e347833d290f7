"""`factory export` on Ray, from the command line, of NIfTI and of DICOM scans."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from dicom_scans import write_dicom_scan
from exported_lakes import child_names, drawn_lake, make_lake, read_nifti, rows_of
from typer.testing import CliRunner

from jobs.app import app
from jobs.export.job import export

pytestmark = pytest.mark.ray

NAME = "DOE^JANE"


def run(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    return result.exit_code, result.stdout, result.stderr


def refused(lake: Path, out: Path, private: Path) -> str:
    """Return what is told of a lake of which nothing comes out, and that holds no name."""
    code, _, stderr = run(
        *("export", lake, "--format", "nifti", "--native", "--out", out, "--private", private)
    )
    assert code == 1
    assert stderr.count("left out: ") == 2
    assert NAME not in stderr
    return stderr


def test_a_lake_comes_out_on_ray_and_is_not_written_twice(
    tmp_path: Path, ray_cluster: None
) -> None:
    made = make_lake(tmp_path, ("train", "train", "val", "test"))
    broken = next(row for row in made.rows if row["work_id"])
    shutil.rmtree(made.lake / broken["image_uri"] / "0")
    out = tmp_path / "out"

    code, stdout, stderr = run("export", made.lake, "--format", "nifti", "--out", out)

    assert (code, stdout) == (0, f"{out / 'volumes.csv'}\n")
    assert "(4 real, 7 synthetic; 11 written now, 0 kept)" in stderr
    assert f"left out: {broken['case_id']}_{broken['work_id']}: " in stderr
    assert len(list((out / "images").iterdir())) == 11
    assert list(out.rglob("*.unfinished")) == []

    again = run("export", made.lake, "--format", "nifti", "--out", out)
    assert "0 written now, 11 kept" in again[2]


def test_flags_reach_the_job(tmp_path: Path, ray_cluster: None) -> None:
    made = make_lake(tmp_path, ("train", "test"), draws=1)

    code, stdout, stderr = run(
        *("export", made.lake, "--format", "nnunet", "--out", tmp_path / "Dataset007_X"),
        *("--split", "train", "--split", "test", "--min-verdict", "accept", "--native"),
        *("--license", "CC-BY-4.0"),
    )

    assert code == 0, stderr
    told = json.loads(Path(stdout.strip()).read_text())
    assert told["licence"] == "CC-BY-4.0"
    assert told["numTraining"] == 2
    ct, _ = read_nifti(tmp_path / "Dataset007_X" / "imagesTs" / "c1_0000.nii.gz")
    assert ct.shape == read_nifti(made.scans / "c1_ct.nii.gz")[0].shape


def test_a_format_that_is_none_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    code, _, stderr = run("export", tmp_path, "--format", "dicom", "--out", tmp_path / "out")

    assert code == 2
    assert "'nifti', 'nnunet', 'monai', 'hf'" in stderr
    assert not (tmp_path / "out").exists()


def test_a_dicom_series_is_found_by_the_private_folder_and_by_nothing_else(
    tmp_path: Path, ray_cluster: None
) -> None:
    """Paths of DICOM files hold names, so a store knows none, and no message says one."""
    series = tmp_path / NAME / "study"
    write_dicom_scan(series, 0)
    code, _, stderr = run(
        *("ingest", tmp_path / NAME, "--out", tmp_path / "cases", "--grid", 16),
    )
    assert code == 0, stderr
    lake = drawn_lake(tmp_path / "cases", tmp_path / "lake", draws=1)

    result = export(str(lake), tmp_path / "native", "nifti", native=True)

    assert result.left_out == {}
    (real,) = (row for row in rows_of(lake) if row["kind"] == "real")
    (child,) = child_names(lake, real["case_id"])
    scan, affine = read_nifti(result.out / "images" / f"{real['case_id']}.nii.gz")
    ct, there = read_nifti(result.out / "images" / f"{child}.nii.gz")
    layout, _ = read_nifti(result.out / "layouts" / f"{child}.nii.gz")
    assert list(scan.shape) == real["source_shape"]
    np.testing.assert_allclose(affine.ravel(), real["source_affine"], atol=1e-3)
    np.testing.assert_array_equal(there, affine)
    assert np.array_equal(ct[layout == 0], scan[layout == 0])
    assert (ct[layout > 0] != scan[layout > 0]).mean() > 0.9
    for path in result.out.rglob("*.*"):
        if path.is_file() and path.suffix != ".gz":
            assert NAME not in path.read_text(), path

    private = (tmp_path / "cases.private").rename(tmp_path / "safe")
    code, _, stderr = run(
        *("export", lake, "--format", "nifti", "--native", "--out", tmp_path / "none")
    )
    assert code == 1
    assert "Name the private folder of the case store with --private" in stderr
    assert NAME not in stderr

    named = export(str(lake), tmp_path / "named", "nifti", native=True, private=private)
    assert named.left_out == {}

    changed = next(series.iterdir())
    content = changed.read_bytes()
    changed.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    told = refused(lake, tmp_path / "changed", private)
    assert "found no DICOM series with sha256" in told

    (tmp_path / NAME).rename(tmp_path / "elsewhere")
    told = refused(lake, tmp_path / "gone", private)
    assert "its DICOM folder cannot be read (" in told


def test_a_real_ct_comes_out_in_its_own_grid(
    tmp_path: Path, ct_dir: Path, ray_cluster: None
) -> None:
    scans = tmp_path / "scans"
    scans.mkdir()
    for part in ("ct", "lung"):
        shutil.copy(ct_dir / "thorax" / f"lctsc_000_{part}.nii.gz", scans)
    code, _, stderr = run("ingest", scans, "--out", tmp_path / "cases", "--grid", 64)
    assert code == 0, stderr
    lake = drawn_lake(tmp_path / "cases", tmp_path / "lake", draws=1)

    result = export(str(lake), tmp_path / "out", "nifti", native=True)

    assert result.left_out == {}
    scan, affine = read_nifti(scans / "lctsc_000_ct.nii.gz")
    real, there = read_nifti(result.out / "images" / "lctsc_000.nii.gz")
    (child,) = child_names(lake, "lctsc_000")
    ct, _ = read_nifti(result.out / "images" / f"{child}.nii.gz")
    layout, _ = read_nifti(result.out / "layouts" / f"{child}.nii.gz")
    lung, _ = read_nifti(scans / "lctsc_000_lung.nii.gz")
    assert np.array_equal(real, scan)
    np.testing.assert_allclose(there, affine, atol=1e-3)
    assert np.array_equal(ct[layout == 0], scan[layout == 0])
    both = np.count_nonzero((layout > 0) & (lung > 0))
    assert 2 * both / (np.count_nonzero(layout) + np.count_nonzero(lung)) > 0.95
