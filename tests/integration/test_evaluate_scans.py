"""Sets that something else made, as folders of image files: from the files to the tables."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from evaluations import values
from foreign_scans import CONFIG, make_plain, make_scans, make_store
from support import ingest_in_process, save_nifti

from jobs.evaluate.job import evaluate

pytestmark = pytest.mark.usefixtures("measured")

NUM_SCANS = 6


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_scans(tmp_path_factory.mktemp("scans"), NUM_SCANS)


@pytest.fixture(scope="module")
def store(scans: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_store(scans, tmp_path_factory.mktemp("store") / "cases")


@pytest.fixture(scope="module")
def plain(scans: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The CTs alone; only to be copied."""
    return make_plain(scans, tmp_path_factory.mktemp("plain") / "maisi")


def test_the_scans_of_a_case_store_lie_at_no_distance_from_it(
    scans: Path, store: Path, tmp_path: Path
) -> None:
    result = evaluate(str(store), str(scans), tmp_path / "out")
    found = values(result)
    for region in ("whole", "lungs"):
        assert found["fid", region].value == pytest.approx(0.0, abs=1e-6)
    assert found["set_histogram_distance_hu", "lungs"].value == 0.0
    assert result.num_synthetic == result.num_real == NUM_SCANS
    assert ("mse", "whole") not in found
    rows = pq.read_table(tmp_path / "out" / "memorisation.parquet").to_pylist()
    assert {row["verdict"] for row in rows} == {"copy"}
    for row in rows:
        assert row["nearest_case_lungs"] == row["work_id"].removesuffix("_ct")
        assert row["distance_lungs"] == 0.0
        assert (row["set"], row["case_id"], row["lung_correlation"]) == (scans.name, "", None)


def test_files_that_no_layout_names_are_scans_whose_lungs_are_segmented(
    store: Path, plain: Path, tmp_path: Path, measured: list[str], capfd: Any
) -> None:
    before = sorted(plain.rglob("*"))
    result = evaluate(str(store), {"maisi": str(plain)}, tmp_path / "out")
    assert (result.num_synthetic, result.num_left_out) == (4, 0)
    assert len(measured) == NUM_SCANS + 4
    page = Path(result.table).read_text()
    assert "| **this set** | lungs | 4 |" in page
    assert "| **this set** | outside" not in page
    told = (
        "maisi: 4 CTs made elsewhere, brought onto the real set's grid as `factory ingest` brings scans: "
        "32^3 voxels, of the lungs; no donors"
    )
    segmented = "maisi: the lungs of 4 of them were segmented here, by threshold"
    assert told in page
    assert segmented in page
    assert segmented in capfd.readouterr().err
    record = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert any(
        "without a donor in either manifest: 4 synthetic volumes" in text
        for text in record["not_told"]
    )
    assert sorted(plain.rglob("*")) == before
    rows = pq.read_table(tmp_path / "out" / "memorisation.parquet")
    assert "sub/sample 3_image" in rows["work_id"].to_pylist()
    # Beside each the nearest training scan, for there is no donor.
    assert set(rows["verdict"].to_pylist()) <= {"clear", "near"}
    assert (tmp_path / "out" / "worst_pairs.png").is_file()


def test_hostile_files_are_left_out_with_their_reasons_and_the_rest_goes_on(
    store: Path, plain: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(plain, tmp_path / "maisi"))
    (folder / "torn.nii.gz").write_bytes((folder / "sample 0_image.nii.gz").read_bytes()[:4000])
    (folder / "words.nii").write_text("no scan at all")
    units = np.linspace(-1, 1, 20**3, dtype=np.float32).reshape((20,) * 3)
    save_nifti(folder / "units.nii.gz", units, np.eye(4))
    air = np.full((20, 20, 20), -1000, np.int16)
    save_nifti(folder / "air.nii.gz", air, 2 * np.eye(4))
    (folder / "gone.nii.gz").symlink_to(folder / "nowhere.nii.gz")
    os.mkfifo(folder / "pipe.nii.gz")
    result = evaluate(str(store), str(folder), tmp_path / "out")
    assert result.num_synthetic == 4
    left_out = json.loads((tmp_path / "out" / "evaluation.json").read_text())["left_out"]
    reasons = "\n".join(f"{name}: {why}" for name, why in left_out.items())
    assert "volume words: " in reasons
    assert "cannot be read" in left_out["volume torn"]
    assert "values from -1 to 1; expected HU" in left_out["volume units"]
    assert "none could be segmented" in left_out["volume air"]
    assert any("gone.nii.gz" in name or name == "volume gone" for name in left_out)
    assert any("pipe.nii.gz" in name or name == "volume pipe" for name in left_out)


@pytest.mark.slow
def test_real_cts_from_elsewhere_lie_where_their_cases_do(ct_dir: Path, tmp_path: Path) -> None:
    scans = tmp_path / "scans"
    scans.mkdir()
    for number in range(3):
        for kind in ("ct", "lung"):
            name = f"lctsc_{number:03d}_{kind}.nii.gz"
            (scans / name).symlink_to(ct_dir / "thorax" / name)
    store = ingest_in_process(scans, tmp_path / "cases", CONFIG)
    result = evaluate(str(store), {"elsewhere": str(scans)}, tmp_path / "out")
    found = values(result)
    assert found["fid", "whole"].value == pytest.approx(0.0, abs=1e-6)
    assert found["fid", "lungs"].value == pytest.approx(0.0, abs=1e-6)
    # Without their masks the lungs are ours: nearly the experts', and the body is the same.
    for mask in scans.glob("*_lung.nii.gz"):
        mask.unlink()
    segmented = values(evaluate(str(store), {"elsewhere": str(scans)}, tmp_path / "out"))
    assert 0.0 < segmented["fid", "lungs"].value < 0.02
