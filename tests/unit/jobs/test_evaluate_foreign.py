"""Folders of image files that something else made: what is found in them, and how it is read."""

import gzip
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from foreign_scans import CONFIG, make_plain, make_scans, make_store

from factory.errors import CaseError, StoreError, UsageError
from jobs.evaluate.foreign import find_foreign, is_foreign, read_foreign
from jobs.evaluate.given import find_sets

NUM_SCANS = 4


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


def keys(real: Path, folder: Path) -> list[str]:
    """Return what the measured volumes of a folder go by."""
    sets = find_sets(str(real), {"maisi": str(folder)})
    return [item.key("net") for item in sets.synthetic[0].items]


def test_files_named_like_masks_are_no_scans(plain: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(plain, tmp_path / "maisi"))
    for end in ("_label", "-Seg", "_mask"):
        shutil.copy(folder / "sample 0_image.nii.gz", folder / f"sample 0{end}.nii.gz")
    found = find_foreign(str(folder), CONFIG)
    assert len(found.volumes) == 4
    assert found.problems == {}
    assert "not read: 3 files named like masks" in found.notes[-1]


def test_masks_of_a_known_layout_are_taken(scans: Path) -> None:
    found = find_foreign(str(scans), CONFIG)
    assert len(found.volumes) == NUM_SCANS
    assert all(one.row["source"]["lung"] and one.row["source"]["nodule"] for one in found.volumes)
    assert not any("segmented here" in note for note in found.notes)


def test_a_folder_of_nnunet_has_a_record_of_its_own_and_is_no_lake(
    scans: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "Dataset001"
    (folder / "imagesTr").mkdir(parents=True)
    for seed in range(2):
        name = folder / "imagesTr" / f"p{seed}_0000.nii.gz"
        shutil.copy(scans / f"p{seed}_ct.nii.gz", name)
    description = {"labels": {"background": 0, "lung": 1}, "channel_names": {"0": "CT"}}
    (folder / "dataset.json").write_text(json.dumps(description))
    assert is_foreign(str(folder))
    assert len(find_foreign(str(folder), CONFIG).volumes) == 2


def test_lakes_stores_manifests_and_urls_are_not_foreign(store: Path) -> None:
    assert not is_foreign(str(store))
    assert not is_foreign(str(store / "manifest.parquet"))
    assert not is_foreign("s3://bucket/lake")
    assert not is_foreign(str(store / "nowhere"))


def test_a_file_that_changes_after_its_digest_is_refused(plain: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(plain, tmp_path / "maisi"))
    row = json.loads(json.dumps(find_foreign(str(folder), CONFIG).volumes[0].row))
    shutil.copy(folder / "sample 1_image.nii.gz", folder / "sample 0_image.nii.gz")
    with pytest.raises(
        CaseError, match=r"sample 0_image\.nii\.gz .* changed while it was measured"
    ):
        read_foreign(row)


def test_what_a_library_raises_for_an_odd_scan_names_the_file(
    plain: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from jobs.evaluate import foreign

    def odd(*_: Any) -> None:
        raise ZeroDivisionError("of nothing")

    monkeypatch.setattr(foreign, "prepare_case", odd)
    (volume, *_) = find_foreign(str(plain), CONFIG).volumes
    with pytest.raises(CaseError, match=r"cannot be brought onto the grid \(ZeroDivisionError: of"):
        read_foreign(json.loads(json.dumps(volume.row)))


def test_only_a_file_that_changed_is_measured_again(
    store: Path, plain: Path, tmp_path: Path
) -> None:
    moved = Path(shutil.copytree(plain, tmp_path / "moved"))
    before = keys(store, plain)
    assert keys(store, moved) == before
    changed = moved / "sample 0_image.nii.gz"
    content = bytearray(gzip.decompress(changed.read_bytes()))
    content[-2000:] = bytes(2000)
    changed.write_bytes(gzip.compress(bytes(content)))
    after = keys(store, moved)
    assert len(set(after)) == 4
    assert len(set(before) & set(after)) == 3


def test_another_way_to_the_grid_is_another_measurement(
    store: Path, plain: Path, tmp_path: Path
) -> None:
    wide = Path(shutil.copytree(store, tmp_path / "cases"))
    settings = json.loads((store / "dataset.json").read_text())
    other = settings | {"ingest": settings["ingest"] | {"margin_mm": 60.0}}
    (wide / "dataset.json").write_text(json.dumps(other))
    assert set(keys(store, plain)).isdisjoint(keys(wide, plain))


def test_a_foreign_volume_is_nobodys_scan_whatever_its_name(store: Path, scans: Path) -> None:
    sets = find_sets(str(store), {"maisi": str(scans)})
    (given,) = sets.synthetic
    assert [item.work_id for item in given.items] == [f"p{seed}_ct" for seed in range(NUM_SCANS)]
    patients = {item.patient_id for item in given.items}
    assert patients.isdisjoint(item.patient_id for item in sets.real.items)
    assert len(patients) == NUM_SCANS
    assert {(item.case_id, item.donor) for item in given.items} == {("", None)}


def test_a_folder_without_scans_is_refused(store: Path, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"found neither a lake nor NIfTI or MetaImage files"):
        keys(store, tmp_path)


def test_without_a_case_store_nobody_knows_the_way_to_the_grid(
    store: Path, plain: Path, tmp_path: Path
) -> None:
    moved = Path(shutil.copytree(store, tmp_path / "cases"))
    manifest = moved / "manifest.parquet"
    settings = json.loads((store / "dataset.json").read_text())
    (moved / "dataset.json").unlink()
    with pytest.raises(UsageError, match=r"maisi: found real volumes in 1 stores, .* 0 ways to"):
        keys(manifest, plain)
    other = settings | {"ingest": settings["ingest"] | {"grid": 64}}
    (moved / "dataset.json").write_text(json.dumps(other))
    with pytest.raises(UsageError, match=r"\(32, 32, 32\) voxels whose case store says 64\^3"):
        keys(manifest, plain)
    (moved / "dataset.json").write_text(json.dumps(settings | {"ingest": {"zoom": 1}}))
    with pytest.raises(StoreError, match=r"`ingest` settings that are not known"):
        keys(manifest, plain)
