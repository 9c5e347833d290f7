"""nnU-Net and MONAI find in an export what they look for, and no patient on both sides of a score."""

import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from exported_lakes import Made, export_in_process, make_lake, read_nifti, rows_of, set_rows

from jobs.export.job import export

SPLITS = ("train", "train", "train", "train", "val", "test")
SCORED = "no score is to be taken of it"


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Six cases with two volumes drawn into each; only to be read."""
    return make_lake(tmp_path_factory.mktemp("made"), SPLITS)


@pytest.fixture
def made(given: Made, tmp_path: Path) -> Made:
    """The same with a lake of its own."""
    return given.copied(tmp_path / "lake")


@pytest.fixture(autouse=True)
def begun(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of volumes as they are begun, in this process."""
    return export_in_process(monkeypatch)


def content(path: Path) -> Any:
    return json.loads(path.read_text())


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def patient_of(name: str) -> str:
    return name.split("_")[0]


def is_synthetic(name: str) -> bool:
    return "_" in name


def test_nnunet_gets_training_and_test_cases_under_the_names_that_it_looks_for(
    made: Made, tmp_path: Path
) -> None:
    out = export(str(made.lake), tmp_path / "Dataset501_Mix", "nnunet").out

    assert out.name == "Dataset501_Mix"
    assert names(out / "imagesTs") == ["c5_0000.nii.gz"]
    assert names(out / "labelsTs") == ["c5.nii.gz"]
    images, labels = names(out / "imagesTr"), names(out / "labelsTr")
    assert [name.replace("_0000.nii.gz", ".nii.gz") for name in images] == labels
    assert len(labels) == 4 * 3 + 1
    assert {patient_of(name.removesuffix(".nii.gz")) for name in labels} == {
        f"c{number}" for number in range(5)
    }


def test_nnunet_is_told_that_it_is_ct_and_what_the_labels_are(made: Made, tmp_path: Path) -> None:
    result = export(str(made.lake), tmp_path / "Dataset501_Mix", "nnunet")

    told = content(result.begin)
    assert told["channel_names"] == {"0": "CT"}
    assert told["labels"] == {"background": 0, "lung": 1, "nodule": 2}
    assert told["numTraining"] == 13
    assert told["file_ending"] == ".nii.gz"


def test_a_synthetic_volume_of_a_held_out_donor_neither_trains_nor_scores(
    made: Made, tmp_path: Path
) -> None:
    for kind in ("nnunet", "monai"):
        result = export(str(made.lake), tmp_path / kind, kind)

        assert len(result.left_out) == 4
        assert all(patient_of(name) in ("c4", "c5") for name in result.left_out)
        assert all(is_synthetic(name) and SCORED in why for name, why in result.left_out.items())


def test_each_label_lies_on_the_grid_of_its_image(made: Made, tmp_path: Path) -> None:
    out = export(str(made.lake), tmp_path / "Dataset501_Mix", "nnunet").out

    for label in names(out / "labelsTr"):
        layout, affine = read_nifti(out / "labelsTr" / label)
        ct, same = read_nifti(out / "imagesTr" / label.replace(".nii.gz", "_0000.nii.gz"))
        assert layout.shape == ct.shape
        assert set(np.unique(layout)) <= {0, 1, 2}
        np.testing.assert_array_equal(affine, same)


def test_in_no_fold_a_patient_trains_that_scores_as_itself_or_through_a_child(
    made: Made, tmp_path: Path
) -> None:
    out = export(str(made.lake), tmp_path / "Dataset501_Mix", "nnunet").out

    folds = content(out / "splits_final.json")
    assert len(folds) == 5
    for fold in folds:
        assert not {patient_of(name) for name in fold["train"]} & {
            patient_of(name) for name in fold["val"]
        }
        assert not any(map(is_synthetic, fold["val"]))
        assert any(map(is_synthetic, fold["train"]))
        assert len(set(fold["train"])) == len(fold["train"])


def test_each_real_scan_of_training_scores_once_and_every_name_is_a_file(
    made: Made, tmp_path: Path
) -> None:
    out = export(str(made.lake), tmp_path / "Dataset501_Mix", "nnunet").out

    folds = content(out / "splits_final.json")
    assert sorted(name for fold in folds for name in fold["val"]) == [f"c{n}" for n in range(5)]
    files = {name.removesuffix(".nii.gz") for name in names(out / "labelsTr")}
    assert {name for fold in folds for side in fold.values() for name in side} == files
    for fold in folds:
        scored = {patient_of(name) for name in fold["val"]}
        assert set(fold["train"]) == {name for name in files if patient_of(name) not in scored}


def test_two_scans_of_one_patient_score_in_one_fold(made: Made, tmp_path: Path) -> None:
    same = {"c0": "p", "c1": "p"}
    set_rows(
        made.lake,
        [
            row | {"patient_id": same.get(row["case_id"], row["patient_id"])}
            for row in made.rows
            if row["kind"] == "real"
        ],
    )

    out = export(str(made.lake), tmp_path / "Dataset501_Mix", "nnunet").out

    folds = content(out / "splits_final.json")
    assert len(folds) == 4
    assert [fold["val"] for fold in folds if "c0" in fold["val"]] == [["c0", "c1"]]


def test_one_patient_makes_no_folds_and_old_ones_go(made: Made, tmp_path: Path) -> None:
    out = export(str(made.lake), tmp_path / "Dataset501_Mix", "nnunet").out
    assert (out / "splits_final.json").exists()
    set_rows(made.lake, [row for row in made.rows if row["case_id"] == "c0"])

    result = export(str(made.lake), tmp_path / "Dataset501_Mix", "nnunet")

    assert not (out / "splits_final.json").exists()
    assert "splits_final" not in result.next_step
    assert result.caveat.startswith("no splits_final.json: folds by patient need real scans of two")
    assert names(out / "labelsTr")[0] == "c0.nii.gz"
    assert content(out / "dataset.json")["numTraining"] == 3


def test_a_case_that_moves_from_training_to_test_leaves_no_copy_to_train_on(
    made: Made, tmp_path: Path
) -> None:
    out = export(str(made.lake), tmp_path / "Dataset501_Mix", "nnunet").out
    rows = [row | {"split": "test"} if row["case_id"] == "c0" else row for row in made.rows]
    set_rows(made.lake, rows)

    export(str(made.lake), tmp_path / "Dataset501_Mix", "nnunet")

    assert not [name for name in names(out / "imagesTr") if name.startswith("c0_")]
    assert not [name for name in names(out / "labelsTr") if name.startswith("c0")]
    assert names(out / "imagesTs") == ["c0_0000.nii.gz", "c5_0000.nii.gz"]


def test_a_folder_that_nnunet_would_not_find_gets_one_inside_that_it_does(
    made: Made, tmp_path: Path
) -> None:
    result = export(str(made.lake), tmp_path / "nnUNet_raw", "nnunet")

    assert result.out == tmp_path / "nnUNet_raw" / "Dataset500_CTFactory"
    assert "-d 500 " in result.next_step
    assert "-d 501 " in export(str(made.lake), tmp_path / "Dataset501_Mix", "nnunet").next_step


def test_nnunets_own_check_finds_nothing_wrong(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        monkeypatch.setenv(variable, str(tmp_path))
    check = pytest.importorskip(
        "nnunetv2.experiment_planning.verify_dataset_integrity", reason="nnunetv2 is not installed"
    )
    out = export(str(made.lake), tmp_path / "Dataset501_Mix", "nnunet").out

    check.verify_dataset_integrity(str(out), 1)


def test_monai_loads_each_section_with_files_that_are_there(made: Made, tmp_path: Path) -> None:
    load = pytest.importorskip("monai.data", reason="monai is not installed")

    begin = export(str(made.lake), tmp_path / "out", "monai").begin

    sections = {
        key: load.load_decathlon_datalist(str(begin), True, key)
        for key in ("training", "validation", "test")
    }
    assert {key: len(items) for key, items in sections.items()} == {
        "training": 12,
        "validation": 1,
        "test": 1,
    }
    for item, listed in zip(sections["training"], content(begin)["training"], strict=True):
        # MONAI takes texts for paths where they may be some: these it leaves as they are.
        assert item == listed | {key: item[key] for key in ("image", "label")}
        assert Path(item["image"]).is_file()
        assert Path(item["label"]).is_file()
        assert item["kind"] == ("synthetic" if is_synthetic(item["name"]) else "real")


@pytest.mark.parametrize("splits", [("train",), ("test",)])
def test_what_monai_is_asked_next_runs_also_where_nothing_is_to_train_on(
    splits: tuple[str, ...], made: Made, tmp_path: Path
) -> None:
    pytest.importorskip("monai", reason="monai is not installed")
    result = export(str(made.lake), tmp_path / "it's out", "monai", splits=splits)
    python, *words = shlex.split(result.next_step)
    assert python == "python"
    ended = subprocess.run(
        [sys.executable, *words], capture_output=True, text=True, check=False, timeout=120
    )
    assert ended.returncode == 0, ended.stderr
    assert ("'case_id': 'c0'" in ended.stdout) == (splits == ("train",))


@pytest.mark.filterwarnings("ignore:NvImgCodecPydicomReader")
def test_monai_reads_the_hu_the_labels_and_the_affine(made: Made, tmp_path: Path) -> None:
    transforms = pytest.importorskip("monai.transforms", reason="monai is not installed")
    load = pytest.importorskip("monai.data").load_decathlon_datalist
    begin = export(str(made.lake), tmp_path / "out", "monai").begin
    rows = {"_".join(filter(None, (row["case_id"], row["work_id"]))): row for row in made.rows}

    read = transforms.LoadImaged(["image", "label"], reader="NibabelReader")
    for item in load(str(begin), True, "training")[::4]:
        found = read(item)
        volume = made.volume_of(rows[item["name"]])
        assert np.array_equal(found["image"].numpy(), volume.ct.transpose(2, 1, 0))
        assert np.array_equal(found["label"].numpy(), volume.layout.transpose(2, 1, 0))
        np.testing.assert_allclose(found["image"].affine.numpy(), volume.affine, atol=1e-4)
        np.testing.assert_allclose(item["affine"], volume.affine, atol=1e-6)


def test_a_datalist_names_no_section_that_monai_could_not_read(made: Made, tmp_path: Path) -> None:
    begin = export(str(made.lake), tmp_path / "out", "monai", splits=["train"]).begin

    assert "test" not in content(begin)
    assert "validation" not in content(begin)
    assert content(begin)["numTest"] == 0
    assert {item["split"] for item in content(begin)["training"]} == {"train"}


def test_the_folder_of_a_datalist_can_be_moved(made: Made, tmp_path: Path) -> None:
    out = export(str(made.lake), tmp_path / "out", "monai").out
    moved = out.rename(tmp_path / "elsewhere")

    for item in content(moved / "datalist.json")["training"]:
        assert (moved / item["image"]).is_file()
        assert not Path(item["label"]).is_absolute()


@pytest.mark.parametrize(("kind", "images"), [("nnunet", "imagesTr"), ("monai", "images")])
def test_a_scan_that_nobody_read_is_no_scan_without_nodules(
    made: Made, tmp_path: Path, kind: str, images: str
) -> None:
    unread = {"layout_origin": "none"}
    rows = rows_of(made.lake)
    set_rows(made.lake, [row | unread if row["case_id"] == "c1" else row for row in rows])
    result = export(str(made.lake), tmp_path / "Dataset501_Mix", kind)

    assert "nobody has read it for nodules" in result.left_out["c1"]
    assert "ingest it again with an empty nodule mask" in result.left_out["c1"]
    assert not any(name.startswith(("c1.", "c1_0000.")) for name in names(result.out / images))
    # As files alone it is one like the others.
    assert "c1" not in export(str(made.lake), tmp_path / "files", "nifti").left_out
