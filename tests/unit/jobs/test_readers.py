"""A manifest is read by torch, and by MONAI's dictionaries, without more than it takes."""

import json
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from mix_sources import AFFINE, SHAPE, case, drawn, make_source, volume_of
from torch.utils.data import DataLoader

from factory.axes import affine_from_zyx
from factory.digests import sha256_of_voxels
from factory.errors import StoreError, UsageError
from factory.lake import MANIFEST, Lake
from factory.volumes import Volume, write_volume
from jobs.readers import ManifestDataset, collate, load_item, monai_datalist, ray_dataset
from manifests.errors import ManifestError

ROWS = [
    case("A"),
    case("B", split="val"),
    drawn("A", 0, qc_verdict="accept"),
    drawn("A", 1, qc_verdict="review"),
    drawn("A", 2),
]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("made") / "lake"
    make_source(path, "lake", ROWS)
    return path


@pytest.fixture
def manifest(made: Path, tmp_path: Path) -> Path:
    """Of two cases and three children of the first, to be damaged."""
    return Path(shutil.copytree(made, tmp_path / "lake")) / MANIFEST


def test_an_item_is_the_ct_in_hu_its_layout_and_its_row(manifest: Path) -> None:
    dataset = ManifestDataset(manifest)
    assert len(dataset) == 5
    ct, layout, row = dataset[2]
    drawn_of = volume_of(str(ROWS[2]["work_id"]))
    assert (ct.dtype, layout.dtype) == (torch.int16, torch.uint8)
    np.testing.assert_array_equal(ct, drawn_of.ct)
    np.testing.assert_array_equal(layout, drawn_of.layout)
    assert (row["kind"], row["case_id"], row["plan_index"]) == ("synthetic", "A", 0)
    assert row["image_uri"] == f"{manifest.parent}/{ROWS[2]['image_uri']}"


def test_floats_hold_the_same_hu_and_half_precision_is_refused(manifest: Path) -> None:
    ct, _, _ = ManifestDataset(manifest, dtype=torch.float32)[0]
    assert ct.dtype == torch.float32
    np.testing.assert_array_equal(ct, volume_of("A").ct)
    with pytest.raises(
        UsageError, match=r"dtype: found torch\.float16; expected one of torch\.int"
    ):
        ManifestDataset(manifest, dtype=torch.float16)


def names(dataset: ManifestDataset) -> list[tuple[str, int | None]]:
    rows = [dataset.row(index) for index in range(len(dataset))]
    return [(row["case_id"], row["plan_index"]) for row in rows]


def test_only_what_is_asked_for_is_read(manifest: Path) -> None:
    assert names(ManifestDataset(manifest, kinds="real")) == [("A", None), ("B", None)]
    assert names(ManifestDataset(manifest, splits=["val", "test"])) == [("B", None)]
    accepted = ManifestDataset(manifest, splits="train", verdicts="accept")
    assert names(accepted) == [("A", None), ("A", 0)]
    assert names(ManifestDataset(manifest, kinds=["synthetic"], verdicts="review")) == [("A", 1)]
    assert len(ManifestDataset(manifest, splits="test")) == 0


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"kinds": "fake"}, "kinds: found 'fake'; expected some of real, synthetic"),
        ({"splits": ["train", "dev"]}, "splits: found 'dev'; expected some of train, val, test"),
        ({"verdicts": "good"}, "verdicts: found 'good'; expected some of accept, review, reject"),
    ],
)
def test_a_word_that_no_row_can_have_is_refused(
    manifest: Path, given: dict[str, str], text: str
) -> None:
    with pytest.raises(UsageError, match=text):
        ManifestDataset(manifest, **given)


def test_a_loop_over_the_dataset_ends_and_an_index_counts_from_either_side(manifest: Path) -> None:
    dataset = ManifestDataset(manifest)
    assert len(list(dataset)) == 5
    assert dataset[-1][2] == dataset[4][2]
    with pytest.raises(IndexError):
        dataset[5]


def test_a_dataset_goes_to_another_process_and_reads_there(
    manifest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(manifest.parents[1])
    dataset = ManifestDataset("lake/manifest.parquet", splits="val")
    monkeypatch.chdir("/")
    ct, _, row = pickle.loads(pickle.dumps(dataset))[0]
    assert row["case_id"] == "B"
    np.testing.assert_array_equal(ct, volume_of("B").ct)


def test_a_batch_has_a_channel_and_keeps_its_rows(manifest: Path) -> None:
    loader = DataLoader(ManifestDataset(manifest, kinds="real"), batch_size=2, collate_fn=collate)
    ((cts, layouts, rows),) = loader
    assert cts.shape == layouts.shape == (2, 1, *SHAPE)
    assert [row["case_id"] for row in rows] == ["A", "B"]
    np.testing.assert_array_equal(cts[1, 0], volume_of("B").ct)
    np.testing.assert_array_equal(layouts[1, 0], volume_of("B").layout)


def test_a_batch_of_two_shapes_names_both_volumes(manifest: Path) -> None:
    dataset = ManifestDataset(manifest)
    ct, layout, row = dataset[2]
    text = (
        rf"volume {row['work_id']} has \(2, 6, 8\) voxels .*, case A has \(4, 6, 8\); expected one"
    )
    with pytest.raises(StoreError, match=text):
        collate([dataset[0], (ct[:2], layout[:2], row)])


def test_a_volume_that_is_gone_is_named_with_its_row(manifest: Path) -> None:
    row = ROWS[3]
    shutil.rmtree(manifest.parent / str(row["image_uri"]))
    text = (
        rf"manifest\.parquet: volume {row['work_id']}: volume .*{row['work_id']}\.ome\.zarr: found"
    )
    with pytest.raises(StoreError, match=text):
        ManifestDataset(manifest)[3]


def test_a_place_that_cannot_be_read_is_named_with_its_row(
    manifest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: str) -> Volume:
        raise PermissionError("denied")

    monkeypatch.setattr("jobs.readers.rows.read_uri", refuse)
    with pytest.raises(
        StoreError, match=r"case A: found denied at /.*A\.ome\.zarr; expected a vol"
    ):
        ManifestDataset(manifest)[0]


@pytest.mark.parametrize("part", ["ct", "layout"])
def test_voxels_that_changed_later_are_found_on_request(manifest: Path, part: str) -> None:
    whole = volume_of("A")
    changed = {"ct": whole.ct.copy(), "layout": whole.layout.copy()}
    changed[part][0, 0, 0] += 1
    shutil.rmtree(manifest.parent / str(ROWS[0]["image_uri"]))
    write_volume(
        Lake(manifest.parent).storage,
        str(ROWS[0]["image_uri"]),
        Volume(ct=changed["ct"], layout=changed["layout"], affine=AFFINE),
    )
    np.testing.assert_array_equal(ManifestDataset(manifest)[0][0], changed["ct"])
    what = "image" if part == "ct" else "layout"
    text = (
        f"case A: .*: found {what} voxels with sha256 {sha256_of_voxels(changed[part])}; expected"
    )
    with pytest.raises(StoreError, match=text):
        ManifestDataset(manifest, verify=True)[0]
    assert ManifestDataset(manifest, verify=True)[1][2]["case_id"] == "B"


def test_a_manifest_that_is_not_there_is_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"none\.parquet: there is no such file"):
        ManifestDataset(tmp_path / "none.parquet")


@pytest.mark.parametrize("read", [ManifestDataset, monai_datalist, ray_dataset])
def test_a_url_with_credentials_is_refused_before_anything_reads_it(
    read: Callable[[str], object],
) -> None:
    with pytest.raises(UsageError, match=r"found a user, a password") as told:
        read("s3://AKID:hush@bucket/mix.parquet")
    assert "hush" not in str(told.value)


def test_a_datalist_is_plain_json_without_nulls(manifest: Path) -> None:
    items = monai_datalist(manifest, split="train", verdicts="accept")
    assert json.loads(json.dumps(items)) == items
    assert [item["work_id"] for item in items] == ["", ROWS[2]["work_id"]]
    assert all(value is not None for item in items for value in item.values())
    image = f"{manifest.parent}/{ROWS[0]['image_uri']}"
    assert (items[0]["image"], items[0]["label"]) == (image, f"{image}/labels/layout")
    np.testing.assert_array_equal(items[0]["affine"], AFFINE)


def test_an_item_is_read_as_nifti_would_be(manifest: Path) -> None:
    item = load_item(monai_datalist(manifest, split="val")[0])
    z, y, x = SHAPE
    assert item["image"].shape == item["label"].shape == (1, x, y, z)
    assert (item["image"].dtype, item["label"].dtype) == (np.float32, np.uint8)
    whole = volume_of("B")
    assert item["image"][0, 7, 5, 3] == whole.ct[3, 5, 7]
    assert item["label"][0, 1, 2, 3] == whole.layout[3, 2, 1]
    # Voxel (i, j, k) = (1, 0, 0) is one step along x.
    world = item["affine"] @ [1, 0, 0, 1]
    np.testing.assert_array_equal(
        world, affine_from_zyx((2.5, 2, 1.5), (-300, 80, 90)) @ [1, 0, 0, 1]
    )
    assert world[:3].tolist() == [91.5, 80.0, -300.0]


class Dictionaries(torch.utils.data.Dataset):  # type: ignore[type-arg]
    """What `monai.data.Dataset` does: a list and a transform."""

    def __init__(self, data: list[dict[str, object]], transform: object) -> None:
        self.data, self.transform = data, transform

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> object:
        return self.transform(self.data[index])  # type: ignore[operator]


def test_items_make_batches_with_the_loaders_own_collate(manifest: Path) -> None:
    dataset = Dictionaries(monai_datalist(manifest), load_item)
    (batch,) = DataLoader(dataset, batch_size=5)
    z, y, x = SHAPE
    assert batch["image"].shape == (5, 1, x, y, z)
    assert batch["kind"] == ["real"] * 2 + ["synthetic"] * 3
    assert batch["affine"].shape == (5, 4, 4)


def test_an_item_that_is_gone_is_named(manifest: Path) -> None:
    items = monai_datalist(manifest, kinds="real")
    shutil.rmtree(items[1]["image"])
    with pytest.raises(StoreError, match=r"datalist: case B: volume .*B\.ome\.zarr: found"):
        load_item(items[1])


def test_readers_load_no_library_until_they_are_used() -> None:
    code = (
        "import sys, jobs.readers\n"
        "print([name for name in ('torch', 'ray', 'pyarrow', 'zarr') if name in sys.modules])\n"
        "from jobs.readers import monai_datalist, ray_dataset\n"
        "print([name for name in ('torch', 'ray') if name in sys.modules])"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout == "[]\n[]\n"


def test_a_reader_that_there_is_not_is_an_attribute_error() -> None:
    import jobs.readers

    with pytest.raises(AttributeError, match=r"jobs\.readers' has no attribute 'nnunet'"):
        jobs.readers.nnunet  # noqa: B018


def test_a_volume_that_lies_elsewhere_than_its_row_says_is_refused(manifest: Path) -> None:
    about = next((manifest.parent / "volumes").glob("A.ome.zarr")) / "zarr.json"
    content = json.loads(about.read_text())
    moved = np.array(content["attributes"]["ct_factory"]["affine_ras"])
    moved[0] /= 2
    content["attributes"]["ct_factory"]["affine_ras"] = moved.tolist()
    about.write_text(json.dumps(content))
    with pytest.raises(
        StoreError, match=r"case A: .*found an affine of .*; expected .* as its row"
    ):
        ManifestDataset(manifest, verify=True)[0]
