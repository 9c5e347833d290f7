"""Volumes that are broken, or not what their rows say: `factory export` tells of them and goes on."""

import json
import shutil
from pathlib import Path

import pytest
from exported_lakes import (
    Made,
    change_row,
    change_volume,
    exported,
    files_of,
    name_of,
    set_rows,
    synthetic,
)

from factory.errors import StoreError
from jobs.export.telling import lines_of


def test_a_broken_volume_is_told_and_left_out_and_the_rest_goes_on(
    exportable: Made, tmp_path: Path, begun_exports: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    row = synthetic(exportable)
    shutil.rmtree(exportable.lake / row["image_uri"] / "0")

    result = exported(exportable, tmp_path / "out")

    assert result.num_real + result.num_synthetic == 11
    assert list(result.left_out) == [name_of(row)]
    assert f"left out: {name_of(row)}: " in capsys.readouterr().err
    assert name_of(row) not in result.begin.read_text()
    told = json.loads((tmp_path / "out" / ".export" / "left_out.json").read_text())
    assert "Make the volume again" in told[name_of(row)]
    assert any("left out: 1 volume" in line for line in lines_of(result))


def test_a_volume_with_other_voxels_than_the_manifest_says_is_left_out(
    exportable: Made, tmp_path: Path, begun_exports: list[str]
) -> None:
    row = synthetic(exportable)
    moved = exportable.volume_of(row).ct.copy()
    moved[0, 0, 0] += 1
    change_volume(exportable, row, ct=moved)

    result = exported(exportable, tmp_path / "out")

    assert "found image voxels with sha256" in result.left_out[name_of(row)]
    assert not (tmp_path / "out" / "images" / f"{name_of(row)}.nii.gz").exists()


def test_an_affine_other_than_the_manifests_is_not_passed_on(
    exportable: Made, tmp_path: Path, begun_exports: list[str]
) -> None:
    row = synthetic(exportable)
    change_row(exportable, row, affine=[2 * value for value in row["affine"][:15]] + [1.0])

    result = exported(exportable, tmp_path / "out")

    assert "found an affine of" in result.left_out[name_of(row)]


def test_a_label_that_no_row_vouches_for_is_not_passed_on(
    exportable: Made, tmp_path: Path, begun_exports: list[str]
) -> None:
    row = synthetic(exportable)
    layout = exportable.volume_of(row).layout.copy()
    layout[0, 0, 0] = 7
    change_volume(exportable, row, layout=layout)
    change_row(exportable, row, layout_sha256=None)

    result = exported(exportable, tmp_path / "out")

    assert "found label 7 in the layout; expected 0 to 2" in result.left_out[name_of(row)]


def test_a_layout_of_another_grid_is_not_passed_on(
    exportable: Made, tmp_path: Path, begun_exports: list[str]
) -> None:
    row = synthetic(exportable)
    change_volume(exportable, row, layout=exportable.volume_of(row).layout[:8])
    change_row(exportable, row, layout_sha256=None)

    result = exported(exportable, tmp_path / "out")

    assert "with a layout of (8, 16, 16); expected both on one grid" in str(result.left_out)


def test_a_volume_that_broke_since_loses_its_old_files(
    exportable: Made, tmp_path: Path, begun_exports: list[str]
) -> None:
    exported(exportable, tmp_path / "out")
    row = synthetic(exportable)
    change_row(exportable, row, image_sha256="0" * 64)

    result = exported(exportable, tmp_path / "out")

    assert list(result.left_out) == [name_of(row)]
    assert not any(name_of(row) in name for name in files_of(tmp_path / "out"))


def test_nothing_that_can_be_exported_is_an_error(
    exportable: Made, tmp_path: Path, begun_exports: list[str]
) -> None:
    set_rows(exportable.lake, [row | {"image_sha256": "0" * 64} for row in exportable.rows[:1]])

    with pytest.raises(StoreError, match=r"no volume that could be exported, of 1; .*verify"):
        exported(exportable, tmp_path / "out")
