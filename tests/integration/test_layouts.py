"""From a case store to layouts, through a radiologist's hands, to volumes that can be verified."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from layout_folders import CONFIG, GRID, edit, make_layouts, rows_of, volume_of
from scipy import ndimage
from support import draw_in_process, ingest_in_process, random_checkpoint
from typer.testing import CliRunner

from factory.digests import sha256_of_voxels
from factory.errors import StoreError
from factory.ingest.prepare import IngestConfig
from factory.lake import Lake
from factory.nodules.rules import LayoutsConfig
from jobs import verify
from jobs.amount import Amount
from jobs.app import app
from jobs.cases import CaseStore, open_case_store
from jobs.generate.config import GenerateConfig
from jobs.generate.job import generate
from jobs.generate.regenerate import regenerate
from jobs.lakes import read_row
from jobs.layouts.job import layouts
from jobs.layouts.table import open_layouts
from manifests.read import read_manifest, read_table
from manifests.schema import QUARANTINE_SCHEMA


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "model"
    return random_checkpoint(path, seed=0, grid=GRID)


@pytest.fixture
def drawn_here(monkeypatch: pytest.MonkeyPatch) -> None:
    draw_in_process(monkeypatch)


def run(cases: Path, model: Path, lake: Path, layouts: Path | None, count: int) -> Any:
    config = GenerateConfig(steps=2)
    return generate(cases, model, lake, Amount(count=count), config, layouts=layouts)


def rows_in(lake: Path) -> list[dict[str, Any]]:
    rows = read_manifest(lake / "manifest.parquet").to_pylist()
    return [row for row in rows if row["kind"] == "synthetic"]


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_layouts_are_the_same_on_a_cluster(
    cases_32: Path, made_layouts: Path, tmp_path: Path
) -> None:
    result = layouts(str(cases_32), tmp_path / "layouts", CONFIG, per_case=2)
    assert (result.num_cases, result.num_layouts, result.num_quarantined) == (3, 6, 0)
    assert open_layouts(tmp_path / "layouts") == open_layouts(made_layouts)


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_the_command_says_what_was_made_and_what_comes_next(cases_32: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "own.toml"
    recipe.write_text('[layouts]\ndiameters = "uniform:14:18"\n[layouts.shares]\npleura = 1.0\n')
    out = tmp_path / "layouts"
    command = ["layouts", "--cases", str(cases_32), "--out", str(out), "--recipe", str(recipe)]
    result = CliRunner().invoke(app, [*command, "--per-case", "1", "--case", "c1", "--case", "c2"])
    assert result.exit_code == 0, result.stderr
    assert result.stdout == f"{out / 'layouts.parquet'}\n"
    assert f"2 layouts of 2 cases; 0 quarantined. Next: factory generate --layouts {out}" in (
        result.stderr
    )
    assert {row["case_id"] for row in open_layouts(out)} == {"c1", "c2"}


def test_layouts_of_a_real_scan_lie_where_their_rules_say(ct_dir: Path, tmp_path: Path) -> None:
    scans = tmp_path / "scans"
    scans.mkdir()
    for name in ("lctsc_000_ct", "lctsc_000_lung"):
        shutil.copy(ct_dir / "thorax" / f"{name}.nii.gz", scans)
    cases = ingest_in_process(scans, tmp_path / "cases", IngestConfig(grid=96))
    config = LayoutsConfig(min_nodules=4, max_nodules=4)
    bank = ct_dir / "nodules" / "node21_masks.npz"
    make_layouts(cases, tmp_path / "layouts", config=config, per_case=4, nodules=bank)
    volume = volume_of(open_case_store(cases), "lctsc_000")
    lung = volume.layout == 1
    rows = open_layouts(tmp_path / "layouts")
    placements = [placement for row in rows for placement in row["placements"]]
    assert len(placements) == 16
    assert {placement["attachment"] for placement in placements} == {"inside", "pleura", "vessel"}
    outside_mm = ndimage.distance_transform_edt(lung, sampling=rows[0]["spacing_mm"])
    for placement in placements:
        assert lung[tuple(placement["center_zyx"])]
        assert placement["diameter_mm"] == pytest.approx(placement["wanted_diameter_mm"], abs=1.2)
        at_pleura = placement["attachment"] == "pleura"
        assert (placement["pleura_mm"] <= max(rows[0]["spacing_mm"])) == at_pleura
        if placement["attachment"] == "vessel":
            assert placement["vessel_mm"] <= np.linalg.norm(rows[0]["spacing_mm"])
            assert outside_mm[tuple(placement["center_zyx"])] > 5.0


@pytest.mark.usefixtures("drawn_here")
def test_volumes_are_drawn_after_rules_and_edits_and_can_be_verified(
    layout_folder: Path, cases_32: Path, store_32: CaseStore, model: Path, tmp_path: Path
) -> None:
    row = rows_of(layout_folder, "c0")[0]
    written = edit(layout_folder, store_32, row)
    result = run(cases_32, model, tmp_path / "lake", layout_folder, 6)
    assert (result.num_synthetic, result.num_quarantined) == (6, 0)
    rows = rows_in(tmp_path / "lake")
    made = {one["layout_sha256"]: one for one in read_all(layout_folder)}
    for drawn in rows:
        volume = read_row(tmp_path / "lake" / "manifest.parquet", drawn)
        reference = volume_of(store_32, drawn["case_id"])
        outside = volume.layout == 0
        assert (volume.ct[outside] == reference.ct[outside]).all()
        assert sha256_of_voxels(volume.layout) == drawn["layout_sha256"]
        if drawn["layout_origin"] == "edited":
            assert (volume.layout == written).all()
            # What the radiologist drew into the wall is drawn by the model.
            wall = (written == 2) & (reference.layout == 0)
            assert wall.any()
            assert (volume.ct[wall] != reference.ct[wall]).any()
        else:
            assert made[drawn["layout_sha256"]]["layout_id"] == drawn["layout_id"]
    assert sorted(drawn["layout_origin"] for drawn in rows) == ["edited"] + ["rule"] * 5
    assert verify.problems(Lake(tmp_path / "lake")) == []
    assert all(one.same_voxels for one in regenerate(Lake(tmp_path / "lake"), 6, device="cpu"))


def read_all(folder: Path) -> list[dict[str, Any]]:
    return [row for case in ("c0", "c1", "c2") for row in rows_of(folder, case)]


@pytest.mark.usefixtures("drawn_here")
def test_the_same_command_goes_on_and_an_edit_in_between_is_refused(
    layout_folder: Path, cases_32: Path, store_32: CaseStore, model: Path, tmp_path: Path
) -> None:
    run(cases_32, model, tmp_path / "lake", layout_folder, 2)
    first = {row["work_id"] for row in rows_in(tmp_path / "lake")}
    run(cases_32, model, tmp_path / "lake", layout_folder, 4)
    assert first < {row["work_id"] for row in rows_in(tmp_path / "lake")}
    for case_id in ("c0", "c1", "c2"):
        edit(layout_folder, store_32, rows_of(layout_folder, case_id)[0])
    with pytest.raises(
        StoreError, match=r"holds another plan \(settings\.layouts was \w+, is \w+\)"
    ):
        run(cases_32, model, tmp_path / "lake", layout_folder, 4)
    with pytest.raises(
        StoreError, match=r"holds another plan \(settings\.layouts was \w+, is absent"
    ):
        run(cases_32, model, tmp_path / "lake", None, 4)


@pytest.mark.usefixtures("drawn_here")
def test_refused_layouts_and_unknown_files_are_recorded_and_told(
    layout_folder: Path,
    cases_32: Path,
    model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    first, second = rows_of(layout_folder, "c0")
    for row in (first, second):
        (layout_folder / row["file"]).write_bytes(b"torn")
    shutil.copy(layout_folder / first["file"], layout_folder / "c1" / "mine.nii.gz")
    result = run(cases_32, model, tmp_path / "lake", layout_folder, 2)
    told = capsys.readouterr().err
    assert told.count("refused: case c0:") == 2
    # Before the first volume is drawn: there is time to mend them.
    assert told.rindex("refused:") < told.index("sampler actor")
    assert result.num_quarantined == 2
    assert "mine.nii.gz was left out: it is none of the layouts" in told
    assert "warning: 1 of 3 training cases without a layout, not drawn after" in told
    table = read_table(tmp_path / "lake" / "quarantine.parquet", QUARANTINE_SCHEMA).to_pylist()
    assert {(row["item_id"], row["stage"]) for row in table} == {
        (f"c0.{row['layout_id']}", "layout") for row in (first, second)
    }
    assert verify.problems(Lake(tmp_path / "lake")) == []
