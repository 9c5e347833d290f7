"""`factory export`: all volumes as files, and what is missing when it is run again."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from exported_lakes import Made, exported, files_of, name_of, read_nifti, set_rows

from jobs.export import task
from jobs.export.job import export


def test_each_file_has_the_hu_the_labels_and_the_affine_of_its_volume(
    exportable: Made, tmp_path: Path, begun_exports: list[str]
) -> None:
    exported(exportable, tmp_path / "out")

    for row in exportable.rows:
        volume = exportable.volume_of(row)
        name = name_of(row) if row["work_id"] else row["case_id"]
        ct, affine = read_nifti(tmp_path / "out" / "images" / f"{name}.nii.gz")
        layout, same = read_nifti(tmp_path / "out" / "layouts" / f"{name}.nii.gz")
        assert ct.dtype == np.int16
        assert np.array_equal(ct, volume.ct)
        assert layout.dtype == np.uint8
        assert np.array_equal(layout, volume.layout)
        np.testing.assert_allclose(affine, volume.affine, atol=1e-4)
        np.testing.assert_array_equal(same, affine)


def test_the_list_tells_which_file_is_what(
    exportable: Made, tmp_path: Path, begun_exports: list[str]
) -> None:
    result = exported(exportable, tmp_path / "out", license="CC-BY-4.0")

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
    exportable: Made, tmp_path: Path, begun_exports: list[str]
) -> None:
    for kind in ("nifti", "nnunet", "monai", "hf"):
        out = export(str(exportable.lake), tmp_path / kind, kind).out
        for path in out.rglob("*"):
            if path.is_file() and ".export" not in path.parts and path.suffix != ".gz":
                assert str(tmp_path).encode() not in path.read_bytes(), path
                assert str(exportable.scans).encode() not in path.read_bytes(), path


def test_run_again_it_writes_nothing_anew(
    exportable: Made, tmp_path: Path, begun_exports: list[str]
) -> None:
    exported(exportable, tmp_path / "out")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.nii.gz")}
    begun_exports.clear()

    result = exported(exportable, tmp_path / "out")

    assert begun_exports == []
    assert (result.num_written, result.num_kept) == (0, 12)
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_killed_in_the_middle_it_ends_as_if_it_had_not_been(
    exportable: Made, tmp_path: Path, begun_exports: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    exported(exportable, tmp_path / "whole")
    write, calls = task.write_nifti, []

    def die_at_the_tenth(path: Path, *args: Any, **options: Any) -> None:
        calls.append(path)
        if len(calls) == 10:
            raise KeyboardInterrupt
        write(path, *args, **options)

    monkeypatch.setattr(task, "write_nifti", die_at_the_tenth)
    with pytest.raises(KeyboardInterrupt):
        exported(exportable, tmp_path / "out")
    monkeypatch.setattr(task, "write_nifti", write)
    begun_exports.clear()

    result = exported(exportable, tmp_path / "out")

    assert (result.num_written, result.num_kept) == (8, 4)
    assert len(begun_exports) == 8
    assert files_of(tmp_path / "out") == {
        name: digest
        if name != "dataset.json"
        else files_of(tmp_path / "out")[name]  # It has the folder's name.
        for name, digest in files_of(tmp_path / "whole").items()
    }


def test_an_image_that_a_killed_export_left_goes_with_its_row(
    exportable: Made, tmp_path: Path, begun_exports: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = exportable.rows
    last = rows[-1]
    write = task.write_nifti

    def die_after_its_image(path: Path, *args: Any, **options: Any) -> None:
        write(path, *args, **options)
        if path.name.startswith(name_of(last)):
            raise KeyboardInterrupt

    monkeypatch.setattr(task, "write_nifti", die_after_its_image)
    with pytest.raises(KeyboardInterrupt):
        exported(exportable, tmp_path / "out")
    orphan = tmp_path / "out" / "images" / f"{name_of(last)}.nii.gz"
    assert orphan.exists()
    monkeypatch.setattr(task, "write_nifti", write)
    set_rows(exportable.lake, rows[:-1])

    exported(exportable, tmp_path / "out")

    assert not orphan.exists()


def test_a_file_that_was_cut_short_or_lost_is_written_again(
    exportable: Made, tmp_path: Path, begun_exports: list[str]
) -> None:
    exported(exportable, tmp_path / "out")
    whole = files_of(tmp_path / "out")
    os.truncate(tmp_path / "out" / "images" / "c0.nii.gz", 100)
    (tmp_path / "out" / "layouts" / "c1.nii.gz").unlink()
    begun_exports.clear()

    result = exported(exportable, tmp_path / "out")

    assert begun_exports == ["c0", "c1"]
    assert result.num_written == 2
    assert files_of(tmp_path / "out") == whole


def test_a_volume_that_was_drawn_again_is_written_again(
    exportable: Made, tmp_path: Path, begun_exports: list[str]
) -> None:
    exported(exportable, tmp_path / "out")
    rows = exportable.rows
    old, new = rows[-2], rows[-1]
    changed = {
        key: new[key] for key in ("image_uri", "layout_uri", "image_sha256", "reference_sha256")
    }
    set_rows(exportable.lake, [*rows[:-2], old | changed])
    begun_exports.clear()

    exported(exportable, tmp_path / "out")

    assert begun_exports == [name_of(old)]
    ct, _ = read_nifti(tmp_path / "out" / "images" / f"{name_of(old)}.nii.gz")
    assert np.array_equal(ct, exportable.volume_of(new).ct)
