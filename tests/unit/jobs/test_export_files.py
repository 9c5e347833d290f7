"""What `factory export` writes of a volume: NIfTI that other tools read, under a name that they take."""

import gzip
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from jobs.export.names import name_for
from jobs.export.nifti_file import write_nifti

AFFINE = np.array([[-2.0, 0, 0, 90], [0, 1.5, 0, -80], [0, 0, 2.5, -300], [0, 0, 0, 1]])


def written(folder: Path, volume: np.ndarray, affine: np.ndarray = AFFINE) -> Any:
    path = folder / "images" / "v.nii.gz"
    write_nifti(path, volume, affine, aside=folder / "aside")
    return nib.load(path)


def test_hu_and_affine_come_back_as_they_were(tmp_path: Path) -> None:
    ct = np.random.default_rng(0).integers(-1024, 3072, (4, 5, 6)).astype(np.int16)

    image = written(tmp_path, ct)

    assert image.get_data_dtype() == np.int16
    assert np.array_equal(np.asarray(image.dataobj).transpose(2, 1, 0), ct)
    assert np.array_equal(image.affine, AFFINE)
    assert image.header["scl_slope"] in (1.0,) or np.isnan(image.header["scl_slope"])
    assert image.header.get_xyzt_units()[0] == "mm"


def test_both_ways_to_read_an_orientation_agree(tmp_path: Path) -> None:
    image = written(tmp_path, np.zeros((4, 5, 6), np.int16))

    assert image.get_qform(coded=True)[1] == image.get_sform(coded=True)[1] == 1
    np.testing.assert_allclose(image.get_qform(), AFFINE, atol=1e-4)


def test_a_sheared_grid_claims_no_quaternion_that_cannot_say_it(tmp_path: Path) -> None:
    sheared = AFFINE.copy()
    sheared[1, 2] = 0.6

    image = written(tmp_path, np.zeros((4, 5, 6), np.int16), sheared)

    assert image.get_qform(coded=True)[1] == 0
    np.testing.assert_allclose(image.affine, sheared, atol=1e-6)


def test_labels_stay_bytes(tmp_path: Path) -> None:
    layout = np.random.default_rng(0).integers(0, 3, (4, 5, 6)).astype(np.uint8)

    image = written(tmp_path, layout)

    assert image.get_data_dtype() == np.uint8
    assert np.array_equal(np.asarray(image.dataobj).transpose(2, 1, 0), layout)


def test_the_same_voxels_give_the_same_bytes_at_any_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ct = np.arange(120, dtype=np.int16).reshape(4, 5, 6)
    written(tmp_path / "first", ct)
    monkeypatch.setattr("time.time", lambda: 2_000_000_000.0)
    written(tmp_path / "second", ct)

    first, second = (tmp_path / name / "images" / "v.nii.gz" for name in ("first", "second"))
    assert first.read_bytes() == second.read_bytes()


def test_a_write_that_breaks_off_leaves_the_old_file_and_no_debris(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = np.zeros((4, 5, 6), np.int16)
    written(tmp_path, old)

    def break_off(*_: Any, **__: Any) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(gzip.GzipFile, "close", break_off)
    with pytest.raises(OSError, match="No space left"):
        written(tmp_path, old + 1)
    monkeypatch.undo()

    assert np.array_equal(np.asarray(nib.load(tmp_path / "images" / "v.nii.gz").dataobj).max(), 0)
    assert list((tmp_path / "aside").iterdir()) == []


@pytest.mark.parametrize("case_id", ["LIDC-IDRI-0001", "c_0", "a"])
def test_a_plain_case_id_is_the_name(case_id: str) -> None:
    assert name_for({"case_id": case_id, "work_id": None}) == case_id


def test_a_synthetic_volume_is_named_by_its_work_too() -> None:
    assert name_for({"case_id": "c0", "work_id": "ab" * 16}) == f"c0_{'ab' * 16}"


@pytest.mark.parametrize(
    "case_id",
    ["../../etc/x", "a/b", "..", "", ".hidden", "Müller", "=cmd()", "-rf", "a b", "x" * 300, "a\n"],
)
def test_no_case_id_leads_out_of_the_folder_or_is_no_name(case_id: str) -> None:
    name = name_for({"case_id": case_id, "work_id": None})

    assert 0 < len(name) < 100
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_")
    assert not name.startswith("-")


def test_two_case_ids_that_look_alike_when_made_plain_keep_two_names() -> None:
    names = {name_for({"case_id": case, "work_id": None}) for case in ("a b", "a/b", "a-b", "a.b")}

    assert len(names) == 4
