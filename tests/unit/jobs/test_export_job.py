"""`factory export`: all volumes as files, what is missing when run again, nothing in silence."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from exported_lakes import Made, export_in_process, make_lake, read_nifti, set_rows

from factory.digests import sha256_of_file
from factory.errors import StoreError
from factory.lake import Lake
from factory.volumes import Volume, write_volume
from jobs.export import task
from jobs.export.job import ExportResult, export
from jobs.export.telling import lines_of

SPLITS = ("train", "train", "val", "test")


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Four cases with two volumes drawn into each; only to be read."""
    return make_lake(tmp_path_factory.mktemp("made"), SPLITS)


@pytest.fixture
def made(given: Made, tmp_path: Path) -> Made:
    """The same with a lake of its own."""
    return given.copied(tmp_path / "lake")


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of volumes as they are begun, in this process."""
    return export_in_process(monkeypatch)


def exported(made: Made, out: Path, **options: Any) -> ExportResult:
    return export(str(made.lake), out, "nifti", **options)


def files_of(out: Path) -> dict[str, str]:
    return {
        path.relative_to(out).as_posix(): sha256_of_file(path)
        for path in sorted(out.rglob("*"))
        if path.is_file() and ".export" not in path.parts
    }


def synthetic(made: Made, number: int = 0) -> dict[str, Any]:
    return [row for row in made.rows if row["kind"] == "synthetic"][number]


def name_of(row: dict[str, Any]) -> str:
    return f"{row['case_id']}_{row['work_id']}"


def test_each_file_has_the_hu_the_labels_and_the_affine_of_its_volume(
    made: Made, tmp_path: Path, begun: list[str]
) -> None:
    exported(made, tmp_path / "out")

    for row in made.rows:
        volume = made.volume_of(row)
        name = name_of(row) if row["work_id"] else row["case_id"]
        ct, affine = read_nifti(tmp_path / "out" / "images" / f"{name}.nii.gz")
        layout, same = read_nifti(tmp_path / "out" / "layouts" / f"{name}.nii.gz")
        assert ct.dtype == np.int16
        assert np.array_equal(ct, volume.ct)
        assert layout.dtype == np.uint8
        assert np.array_equal(layout, volume.layout)
        np.testing.assert_allclose(affine, volume.affine, atol=1e-4)
        np.testing.assert_array_equal(same, affine)


def test_the_list_tells_which_file_is_what(made: Made, tmp_path: Path, begun: list[str]) -> None:
    result = exported(made, tmp_path / "out", license="CC-BY-4.0")

    lines = result.begin.read_text().splitlines()
    first = dict(zip(lines[0].split(","), lines[1].split(","), strict=True))
    assert len(lines) == 1 + 12
    assert (first["name"], first["image"]) == ("c0", "images/c0.nii.gz")
    assert (first["kind"], first["split"], first["case_id"]) == ("real", "train", "c0")
    assert first["shape_zyx"] == "16 16 16"
    about = json.loads((tmp_path / "out" / "dataset.json").read_text())
    assert about["labels"] == {"background": 0, "lung": 1, "nodule": 2}
    assert about["license"] == "CC-BY-4.0"
    assert about["counts"]["train synthetic"] == 4
    assert "not anonymised" in about["description"]


def test_no_path_of_this_machine_stands_beside_the_files(
    made: Made, tmp_path: Path, begun: list[str]
) -> None:
    for kind in ("nifti", "nnunet", "monai", "hf"):
        out = export(str(made.lake), tmp_path / kind, kind).out
        for path in out.rglob("*"):
            if path.is_file() and ".export" not in path.parts and path.suffix != ".gz":
                assert str(tmp_path).encode() not in path.read_bytes(), path
                assert str(made.scans).encode() not in path.read_bytes(), path


def test_run_again_it_writes_nothing_anew(made: Made, tmp_path: Path, begun: list[str]) -> None:
    exported(made, tmp_path / "out")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.nii.gz")}
    begun.clear()

    result = exported(made, tmp_path / "out")

    assert begun == []
    assert (result.num_written, result.num_kept) == (0, 12)
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_killed_in_the_middle_it_ends_as_if_it_had_not_been(
    made: Made, tmp_path: Path, begun: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    exported(made, tmp_path / "whole")
    write, calls = task.write_nifti, []

    def die_at_the_tenth(path: Path, *args: Any, **options: Any) -> None:
        calls.append(path)
        if len(calls) == 10:
            raise KeyboardInterrupt
        write(path, *args, **options)

    monkeypatch.setattr(task, "write_nifti", die_at_the_tenth)
    with pytest.raises(KeyboardInterrupt):
        exported(made, tmp_path / "out")
    monkeypatch.setattr(task, "write_nifti", write)
    begun.clear()

    result = exported(made, tmp_path / "out")

    assert (result.num_written, result.num_kept) == (8, 4)
    assert len(begun) == 8
    assert files_of(tmp_path / "out") == {
        name: digest
        if name != "dataset.json"
        else files_of(tmp_path / "out")[name]  # It has the folder's name.
        for name, digest in files_of(tmp_path / "whole").items()
    }


def test_an_image_that_a_killed_export_left_goes_with_its_row(
    made: Made, tmp_path: Path, begun: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = made.rows
    last = rows[-1]
    write = task.write_nifti

    def die_after_its_image(path: Path, *args: Any, **options: Any) -> None:
        write(path, *args, **options)
        if path.name.startswith(name_of(last)):
            raise KeyboardInterrupt

    monkeypatch.setattr(task, "write_nifti", die_after_its_image)
    with pytest.raises(KeyboardInterrupt):
        exported(made, tmp_path / "out")
    orphan = tmp_path / "out" / "images" / f"{name_of(last)}.nii.gz"
    assert orphan.exists()
    monkeypatch.setattr(task, "write_nifti", write)
    set_rows(made.lake, rows[:-1])

    exported(made, tmp_path / "out")

    assert not orphan.exists()


def test_a_file_that_was_cut_short_or_lost_is_written_again(
    made: Made, tmp_path: Path, begun: list[str]
) -> None:
    exported(made, tmp_path / "out")
    whole = files_of(tmp_path / "out")
    os.truncate(tmp_path / "out" / "images" / "c0.nii.gz", 100)
    (tmp_path / "out" / "layouts" / "c1.nii.gz").unlink()
    begun.clear()

    result = exported(made, tmp_path / "out")

    assert begun == ["c0", "c1"]
    assert result.num_written == 2
    assert files_of(tmp_path / "out") == whole


def test_a_volume_that_was_drawn_again_is_written_again(
    made: Made, tmp_path: Path, begun: list[str]
) -> None:
    exported(made, tmp_path / "out")
    rows = made.rows
    old, new = rows[-2], rows[-1]
    changed = {
        key: new[key] for key in ("image_uri", "layout_uri", "image_sha256", "reference_sha256")
    }
    set_rows(made.lake, [*rows[:-2], old | changed])
    begun.clear()

    exported(made, tmp_path / "out")

    assert begun == [name_of(old)]
    ct, _ = read_nifti(tmp_path / "out" / "images" / f"{name_of(old)}.nii.gz")
    assert np.array_equal(ct, made.volume_of(new).ct)


def test_a_broken_volume_is_told_and_left_out_and_the_rest_goes_on(
    made: Made, tmp_path: Path, begun: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    row = synthetic(made)
    shutil.rmtree(made.lake / row["image_uri"] / "0")

    result = exported(made, tmp_path / "out")

    assert result.num_real + result.num_synthetic == 11
    assert list(result.left_out) == [name_of(row)]
    assert f"left out: {name_of(row)}: " in capsys.readouterr().err
    assert name_of(row) not in result.begin.read_text()
    told = json.loads((tmp_path / "out" / ".export" / "left_out.json").read_text())
    assert "Make the volume again" in told[name_of(row)]
    assert any("left out: 1 volumes" in line for line in lines_of(result))


def test_a_volume_with_other_voxels_than_the_manifest_says_is_left_out(
    made: Made, tmp_path: Path, begun: list[str]
) -> None:
    row = synthetic(made)
    volume = made.volume_of(row)
    shutil.rmtree(made.lake / row["image_uri"])
    moved = volume.ct.copy()
    moved[0, 0, 0] += 1
    altered = Volume(ct=moved, layout=volume.layout, affine=volume.affine)
    write_volume(Lake(made.lake).storage, row["image_uri"], altered)

    result = exported(made, tmp_path / "out")

    assert "found image voxels with sha256" in result.left_out[name_of(row)]
    assert not (tmp_path / "out" / "images" / f"{name_of(row)}.nii.gz").exists()


def test_an_affine_other_than_the_manifests_is_not_passed_on(
    made: Made, tmp_path: Path, begun: list[str]
) -> None:
    row = synthetic(made)
    rows = [
        one | {"affine": [2 * value for value in one["affine"][:15]] + [1.0]}
        if one["work_id"] == row["work_id"]
        else one
        for one in made.rows
    ]
    set_rows(made.lake, rows)

    result = exported(made, tmp_path / "out")

    assert "found an affine of" in result.left_out[name_of(row)]


def test_a_label_that_no_row_vouches_for_is_not_passed_on(
    made: Made, tmp_path: Path, begun: list[str]
) -> None:
    row = synthetic(made)
    volume = made.volume_of(row)
    shutil.rmtree(made.lake / row["image_uri"])
    layout = volume.layout.copy()
    layout[0, 0, 0] = 7
    strange = Volume(ct=volume.ct, layout=layout, affine=volume.affine)
    write_volume(Lake(made.lake).storage, row["image_uri"], strange)
    set_rows(
        made.lake,
        [
            one | {"layout_sha256": None} if one["work_id"] == row["work_id"] else one
            for one in made.rows
        ],
    )

    result = exported(made, tmp_path / "out")

    assert "found label 7 in the layout; expected 0 to 2" in result.left_out[name_of(row)]


def test_a_layout_of_another_grid_is_not_passed_on(
    made: Made, tmp_path: Path, begun: list[str]
) -> None:
    row = synthetic(made)
    volume = made.volume_of(row)
    shutil.rmtree(made.lake / row["image_uri"])
    strange = Volume(ct=volume.ct, layout=volume.layout[:8], affine=volume.affine)
    write_volume(Lake(made.lake).storage, row["image_uri"], strange)
    set_rows(
        made.lake,
        [
            one | {"layout_sha256": None} if one["work_id"] == row["work_id"] else one
            for one in made.rows
        ],
    )

    result = exported(made, tmp_path / "out")

    assert "with a layout of (8, 16, 16); expected both on one grid" in str(result.left_out)


def test_a_volume_that_broke_since_loses_its_old_files(
    made: Made, tmp_path: Path, begun: list[str]
) -> None:
    exported(made, tmp_path / "out")
    row = synthetic(made)
    rows = [
        one | {"image_sha256": "0" * 64} if one["work_id"] == row["work_id"] else one
        for one in made.rows
    ]
    set_rows(made.lake, rows)

    result = exported(made, tmp_path / "out")

    assert list(result.left_out) == [name_of(row)]
    assert not any(name_of(row) in name for name in files_of(tmp_path / "out"))


def test_nothing_that_can_be_exported_is_an_error(
    made: Made, tmp_path: Path, begun: list[str]
) -> None:
    set_rows(made.lake, [row | {"image_sha256": "0" * 64} for row in made.rows[:1]])

    with pytest.raises(StoreError, match=r"no volume that could be exported, of 1; .*verify"):
        exported(made, tmp_path / "out")
