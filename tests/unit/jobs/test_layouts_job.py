"""`factory layouts` makes what is missing of every case, and tells of cases and folders that it cannot take."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from layout_folders import (
    CONFIG,
    bytes_of,
    in_process,
    make_layouts,
    reasons_of,
    rows_of,
    volume_of,
)
from typer.testing import CliRunner

from factory.digests import sha256_of_voxels
from factory.errors import FactoryError, StoreError, UsageError
from factory.ingest.nifti import read_ct, read_labels
from factory.lake import Lake
from factory.nodules.layout_file import write_nifti
from factory.nodules.lobes import LOBES
from factory.nodules.rules import AttachmentShares, LayoutsConfig, ZoneShares
from factory.nodules.zones import ZONES, sides_of, thirds_of
from jobs.app import app
from jobs.cases import CaseStore, open_case_store
from jobs.layouts.table import open_layouts


def test_every_case_gets_layouts_that_lie_on_its_ct(
    layout_folder: Path, store_32: CaseStore
) -> None:
    rows = open_layouts(layout_folder)
    assert [row["case_id"] for row in rows] == ["c0", "c0", "c1", "c1", "c2", "c2"]
    for row in rows:
        volume = volume_of(store_32, row["case_id"])
        labels, affine = read_labels("x", str(layout_folder / row["file"]), None)
        ct, ct_affine = read_ct("x", str(layout_folder / row["case_id"] / "ct.nii.gz"))
        assert (ct == volume.ct).all()
        assert affine == pytest.approx(volume.affine, abs=1e-3)
        assert ct_affine == pytest.approx(affine)
        assert ((labels != 0) == (volume.layout != 0)).all()
        assert (labels[volume.layout == 2] == 2).all()
        assert sha256_of_voxels(labels) == row["layout_sha256"]
        assert row["file"] == f"{row['case_id']}/{row['layout_id']}.nii.gz"
        assert (layout_folder / "preview" / f"{row['case_id']}.png").exists()


def test_every_nodule_of_a_layout_is_in_its_row(layout_folder: Path, store_32: CaseStore) -> None:
    own = {row["case_id"]: len(row["nodules"]) for row in store_32.rows}
    for row in open_layouts(layout_folder):
        assert len(row["nodules"]) == own[row["case_id"]] + len(row["placements"])
        assert 1 <= len(row["placements"]) <= 2
        assert row["origin"] == "rule"
        for placement in row["placements"]:
            near = [
                np.linalg.norm(np.subtract(nodule["center_ras_mm"], placement["center_ras_mm"]))
                for nodule in row["nodules"]
            ]
            assert min(near) < 12.0


def test_the_same_command_again_changes_nothing(layout_folder: Path, cases_32: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in layout_folder.rglob("*.nii.gz")}
    rows = open_layouts(layout_folder)
    result = make_layouts(cases_32, layout_folder)
    assert {path: path.stat().st_mtime_ns for path in layout_folder.rglob("*.nii.gz")} == before
    assert open_layouts(layout_folder) == rows
    assert (result.num_cases, result.num_layouts, result.num_edited) == (3, 6, 0)


def test_more_layouts_of_each_case_keep_the_first(layout_folder: Path, cases_32: Path) -> None:
    first = bytes_of(layout_folder)
    make_layouts(cases_32, layout_folder, per_case=3)
    after = bytes_of(layout_folder)
    assert first.items() <= after.items()
    assert len(open_layouts(layout_folder)) == 9
    assert len({row["layout_sha256"] for row in open_layouts(layout_folder)}) == 9


def test_a_layout_is_the_same_whoever_makes_it_and_another_with_another_seed(
    cases_32: Path, made_layouts: Path, tmp_path: Path
) -> None:
    make_layouts(cases_32, tmp_path / "one", only=["c1"], per_case=1)
    make_layouts(cases_32, tmp_path / "other", only=["c1"], per_case=1, seed=1)
    (one,), (other,) = rows_of(tmp_path / "one", "c1"), rows_of(tmp_path / "other", "c1")
    first = rows_of(made_layouts, "c1")[0]
    assert {key: one[key] for key in ("layout_id", "seed", "layout_sha256")} == {
        key: first[key] for key in ("layout_id", "seed", "layout_sha256")
    }
    assert other["layout_sha256"] != first["layout_sha256"]


def test_a_case_that_has_changed_gets_other_layouts(
    layout_folder: Path, cases_32: Path, tmp_path: Path
) -> None:
    commit = layout_folder / "commits" / "c0.json"
    record = json.loads(commit.read_text())
    old = [row["layout_sha256"] for row in record["rows"]]
    for row in record["rows"]:
        row["case_digest"] = "of earlier voxels"
    commit.write_text(json.dumps(record))
    make_layouts(cases_32, layout_folder)
    assert [row["layout_sha256"] for row in rows_of(layout_folder, "c0")] == old
    assert all(row["case_digest"] != "of earlier voxels" for row in rows_of(layout_folder, "c0"))


def test_a_broken_case_does_not_stop_the_rest(cases_32: Path, tmp_path: Path) -> None:
    own = Path(shutil.copytree(cases_32, tmp_path / "cases"))
    (broken,) = (row for row in open_case_store(own).rows if row["case_id"] == "c1")
    whole = own / broken["image_uri"]
    whole.rename(tmp_path / "aside")
    result = make_layouts(own, tmp_path / "layouts", per_case=1)
    assert (result.num_cases, result.num_quarantined) == (2, 1)
    assert "expected a whole OME-Zarr group" in reasons_of(tmp_path / "layouts")["c1"]

    (tmp_path / "aside").rename(whole)
    result = make_layouts(own, tmp_path / "layouts", per_case=1)
    assert (result.num_cases, result.num_quarantined) == (3, 0)


def test_a_case_whose_voxels_are_not_its_manifests_is_refused(
    cases_32: Path, tmp_path: Path
) -> None:
    own = Path(shutil.copytree(cases_32, tmp_path / "cases"))
    first, second, _ = open_case_store(own).rows
    shutil.rmtree(own / second["image_uri"])
    shutil.copytree(own / first["image_uri"], own / second["image_uri"])
    make_layouts(own, tmp_path / "layouts", per_case=1)
    assert "has other voxels than its manifest says" in reasons_of(tmp_path / "layouts")["c1"]


def test_a_layout_without_room_is_recorded_and_the_others_stay(
    cases_32: Path, tmp_path: Path
) -> None:
    # No phantom has a vessel so far from the wall.
    config = LayoutsConfig(
        diameters="uniform:14:16",
        max_nodules=1,
        shares=AttachmentShares(inside=0.05, pleura=0.0, vessel=0.95),
        vessel_border_mm=500.0,
    )
    result = make_layouts(cases_32, tmp_path / "layouts", config=config, per_case=4)
    reasons = reasons_of(tmp_path / "layouts")
    assert len(reasons) == result.num_quarantined > 0
    assert result.num_layouts + result.num_quarantined == 12
    item, reason = next(iter(reasons.items()))
    assert reason.startswith(f"case {item[:2]}: layout {item[-2:]}: 0 new nodules found room in")
    assert result.num_missing == sum(
        len(row["missing"]) for row in open_layouts(tmp_path / "layouts")
    )


def test_no_layout_at_all_is_an_error(cases_32: Path, tmp_path: Path) -> None:
    config = LayoutsConfig(shares=AttachmentShares(inside=0.0, pleura=0.0), vessel_border_mm=500.0)
    with pytest.raises(FactoryError, match="found no layout, and 3 cases or layouts quarantined"):
        make_layouts(cases_32, tmp_path / "layouts", config=config, per_case=1)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"seed": 1}, "seed was 0, is 1"),
        (
            {"config": LayoutsConfig(diameters="uniform:14:18", max_nodules=3)},
            "layouts.max_nodules was 2, is 3",
        ),
    ],
)
def test_one_folder_has_layouts_of_one_set_of_rules(
    layout_folder: Path, cases_32: Path, changes: dict[str, object], told: str
) -> None:
    with pytest.raises(
        StoreError, match=f"made with other settings .*{told}.* Choose another --out"
    ):
        make_layouts(cases_32, layout_folder, **changes)


def test_a_folder_of_somebodys_own_files_is_refused(cases_32: Path, tmp_path: Path) -> None:
    (tmp_path / "scan.nii.gz").write_bytes(b"")
    with pytest.raises(StoreError, match=r"found 1 file or folder of no layouts, as scan"):
        make_layouts(cases_32, tmp_path)


def test_true_lobes_are_taken_where_they_are_given(
    cases_32: Path, store_32: CaseStore, tmp_path: Path
) -> None:
    for case_id in ("c0", "c1"):
        volume = volume_of(store_32, case_id)
        zones = thirds_of(sides_of(volume.layout > 0))
        for name, zone in LOBES.items():
            numbers = [ZONES.index(zone) + 1, *([5] if zone == "left-upper" else [])]
            mask = np.isin(zones, numbers).astype(np.uint8)
            write_nifti(tmp_path / "lobes" / case_id / f"{name}.nii.gz", mask, volume.affine)
    config = replace(CONFIG, zones=ZoneShares(left_middle=1.0, right_middle=1.0))
    result = make_layouts(cases_32, tmp_path / "layouts", config=config, lobes=tmp_path / "lobes")
    rows = open_layouts(tmp_path / "layouts")
    placed = {placement["zone"] for row in rows for placement in row["placements"]}
    # The lingula is of the left upper lobe.
    assert placed == {"left-upper", "right-middle"}
    assert {(row["case_id"], row["zones"]) for row in rows} == {("c0", "lobes"), ("c1", "lobes")}
    assert result.num_quarantined == 1
    assert "expected the five lung_*_lobe_*.nii.gz" in reasons_of(tmp_path / "layouts")["c2"]


def test_a_case_that_is_not_there_is_named(cases_32: Path, tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match=r"--case c9: found no such case in .* of the training split"
    ):
        make_layouts(cases_32, tmp_path / "layouts", only=["c9"])


@pytest.mark.parametrize("name", ["preview", "../c0", "/tmp/c0", ".."])
def test_a_case_whose_name_cannot_be_a_folder_is_refused(
    cases_32: Path, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from jobs.layouts.task import LayoutsTask, lay_out_case

    (donor, *_) = open_case_store(cases_32).rows
    lake = Lake(tmp_path / "layouts")
    task = LayoutsTask(
        cases_url=str(cases_32),
        out=lake.url,
        nodules="",
        bank_digest="",
        diameters=None,  # type: ignore[arg-type]
        config=CONFIG,
        seed=0,
        per_case=1,
        lobes="",
        run_id="run",
    )
    monkeypatch.setattr("jobs.layouts.task.give_up", lambda *_, **__: None)
    (problem,) = lay_out_case(donor | {"case_id": name}, task)
    assert problem.startswith(
        f"case {name}: its name cannot be that of its folder; expected a plain"
    )


def test_a_torn_record_is_named_with_the_way_out(layout_folder: Path, cases_32: Path) -> None:
    (layout_folder / "commits" / "c1.json").write_text("{")
    with pytest.raises(StoreError, match=r"commits/c1\.json: found .* Remove the file and run"):
        make_layouts(cases_32, layout_folder)


def test_layouts_that_are_not_there_are_not_found(tmp_path: Path, layout_folder: Path) -> None:
    with pytest.raises(
        StoreError, match="found none; expected a folder that `factory layouts` made"
    ):
        open_layouts(tmp_path / "none")
    (layout_folder / "layouts.parquet").unlink()
    with pytest.raises(StoreError, match=r"found no layouts\.parquet; expected a finished run"):
        open_layouts(layout_folder)


def test_layouts_of_a_larger_run_stay_and_are_counted(layout_folder: Path, cases_32: Path) -> None:
    result = make_layouts(cases_32, layout_folder, per_case=1)
    assert (result.num_layouts, result.num_more) == (6, 3)
    assert make_layouts(cases_32, layout_folder, per_case=1, only=["c1"]).num_more == 1
    assert make_layouts(cases_32, layout_folder, per_case=2).num_more == 0


def test_the_command_says_of_more_layouts_than_asked_for_how_to_be_without_them(
    layout_folder: Path, cases_32: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_process(monkeypatch)
    recipe = layout_folder.with_name("own.toml")
    recipe.write_text('[layouts]\ndiameters = "uniform:14:18"\nmax_nodules = 2\n')
    command = [
        "layouts",
        "--cases",
        str(cases_32),
        "--out",
        str(layout_folder),
        "--recipe",
        str(recipe),
    ]
    told = CliRunner().invoke(app, [*command, "--per-case", "1"]).stderr
    assert "warning: found 3 layouts beyond --per-case 1, of a run that asked for more; " in told
    assert "delete their files, from rule-01 on, and run again, or choose another --out" in told
    for file in layout_folder.glob("c*/rule-01-*"):
        file.unlink()
    told = CliRunner().invoke(app, [*command, "--per-case", "1"]).stderr
    assert "warning" not in told
    assert "3 layouts of 3 cases; 0 quarantined" in told
    assert [row["layout_index"] for row in open_layouts(layout_folder)] == [0, 0, 0]
