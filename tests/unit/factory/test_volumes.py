import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import zarr
from ome_zarr.io import parse_url
from ome_zarr.reader import Reader
from ome_zarr_models.v05.image import Image
from ome_zarr_models.v05.image_label import ImageLabel

from factory.errors import StoreError
from factory.storage import Storage
from factory.volumes import ATTRIBUTES, Volume, inner_chunk, read_volume, write_volume

NAME = "a.1.ome.zarr"
SHARDS = {"ct": "0/c/0/0/0", "layout": "labels/layout/0/c/0/0/0"}
AFFINE = np.array(
    [[-0.6, 0.8, 0, -170.25], [0.8, 0.6, 0, 130.5], [0, 0, 2.5, -400.0], [0, 0, 0, 1.0]]
)


def volume_of(shape: tuple[int, int, int] = (32, 32, 32)) -> Volume:
    rng = np.random.default_rng(3)
    return Volume(
        ct=rng.integers(-1024, 3071, shape, np.int16, endpoint=True),
        layout=rng.integers(0, 2, shape, np.uint8, endpoint=True),
        affine=AFFINE,
    )


@pytest.fixture
def written(tmp_path) -> Storage:
    """A folder with one volume."""
    storage = Storage(tmp_path)
    write_volume(storage, NAME, volume_of())
    return storage


def file_of(storage: Storage, relative: str) -> Path:
    return Path(storage.child(NAME), relative)


@pytest.mark.parametrize("url", ["{tmp_path}", "memory://{tmp_path.name}"], ids=["local", "memory"])
def test_a_volume_comes_back_voxel_for_voxel(tmp_path, url):
    storage, volume = Storage(url.format(tmp_path=tmp_path)), volume_of((16, 24, 32))
    write_volume(storage, NAME, volume, work_id="abc", seed=3)
    found = read_volume(storage, NAME)
    np.testing.assert_array_equal(found.ct, volume.ct)
    np.testing.assert_array_equal(found.layout, volume.layout)
    np.testing.assert_array_equal(found.affine, volume.affine)
    assert (found.ct.dtype, found.layout.dtype) == (np.int16, np.uint8)
    storage.remove(NAME)


def test_the_ends_of_hu_and_volumes_of_one_value_come_back(tmp_path):
    storage = Storage(tmp_path)
    for name, hu in (("low", -1024), ("zero", 0), ("high", 3071)):
        empty = np.zeros((16, 16, 16), np.uint8)
        write_volume(
            storage,
            name,
            Volume(ct=empty.astype(np.int16) + np.int16(hu), layout=empty, affine=AFFINE),
        )
        found = read_volume(storage, name)
        assert (found.ct == hu).all()
        assert (found.layout == 0).all()


def test_attributes_say_units_orientation_and_whatever_the_writer_adds(tmp_path):
    write_volume(Storage(tmp_path), NAME, volume_of(), work_id="abc")
    attributes = zarr.open_group(tmp_path / NAME, mode="r").attrs[ATTRIBUTES]
    assert attributes == {
        "affine_ras": AFFINE.tolist(),
        "orientation": "RAS",
        "units": "HU",
        "work_id": "abc",
    }


@pytest.mark.parametrize(
    "affine",
    [
        np.full((4, 4), np.nan),
        np.diag([np.inf, 1, 1, 1]),
        np.diag([0.0, 2, 2, 1]),
        np.zeros((4, 4)),
        np.eye(4)[:3],
    ],
    ids=["nan", "infinite", "flat", "zero", "cut off"],
)
def test_an_affine_that_leads_nowhere_is_refused(written, affine):
    about = file_of(written, "zarr.json")
    content = json.loads(about.read_text())
    content["attributes"][ATTRIBUTES]["affine_ras"] = affine.tolist()
    about.write_text(json.dumps(content))
    with pytest.raises(StoreError, match=rf"volume .*{NAME}: found an affine of .*can be inverted"):
        read_volume(written, NAME)


@pytest.mark.parametrize("array", SHARDS)
def test_a_flipped_bit_anywhere_in_a_shard_is_noticed(written, array):
    shard = file_of(written, SHARDS[array])
    whole = shard.read_bytes()
    for position in np.linspace(0, len(whole) - 1, 25).astype(int):
        torn = bytearray(whole)
        torn[position] ^= 0b100
        shard.write_bytes(torn)
        with pytest.raises(StoreError, match=rf"volume .*{NAME}: found .*Make the volume again\."):
            read_volume(written, NAME)
    shard.write_bytes(whole)
    np.testing.assert_array_equal(read_volume(written, NAME).ct, volume_of().ct)


@pytest.mark.parametrize("array", SHARDS)
def test_a_lost_shard_is_noticed(written, array):
    file_of(written, SHARDS[array]).unlink()
    with pytest.raises(StoreError, match=r"found 32,768 voxels never written .*missing"):
        read_volume(written, NAME)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
@pytest.mark.parametrize("array", SHARDS)
def test_a_truncated_shard_is_noticed(written, array, share):
    shard = file_of(written, SHARDS[array])
    whole = shard.read_bytes()
    shard.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(StoreError, match=rf"volume .*{NAME}: found "):
        read_volume(written, NAME)


@pytest.mark.parametrize(
    "lost", ["zarr.json", "0", "0/zarr.json", "labels", "labels/layout/0/zarr.json", "."]
)
def test_a_group_that_is_not_whole_is_named_with_the_way_out(written, lost):
    path = file_of(written, lost)
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(StoreError, match=rf"{NAME}: found .*; expected a whole OME-Zarr group"):
        read_volume(written, NAME)


def test_torn_metadata_is_noticed(written):
    for relative in ("zarr.json", "0/zarr.json"):
        path = file_of(written, relative)
        whole = path.read_text()
        for torn in ("", whole[: len(whole) // 2], "[]"):
            path.write_text(torn)
            with pytest.raises(StoreError, match=rf"{NAME}: found "):
                read_volume(written, NAME)
        path.write_text(whole)


def test_a_group_of_another_program_is_refused(tmp_path):
    for name, ours in (("none", {}), ("other", {ATTRIBUTES: "mine"}), ("empty", {ATTRIBUTES: {}})):
        write_volume(Storage(tmp_path), name, volume_of((16, 16, 16)))
        group = zarr.open_group(tmp_path / name, mode="a")
        del group.attrs[ATTRIBUTES]
        group.attrs.update(ours)
        with pytest.raises(StoreError, match=f"and a `{ATTRIBUTES}` attribute"):
            read_volume(Storage(tmp_path), name)


@pytest.mark.parametrize(
    ("size", "chunk"), [(16, 16), (32, 32), (48, 48), (64, 64), (96, 48), (128, 64)]
)
def test_a_shard_holds_whole_chunks_of_at_most_64_voxels(size, chunk):
    assert inner_chunk(size) == chunk
    assert size % inner_chunk(size) == 0


@pytest.mark.parametrize("shape", [(32, 48, 96), (16, 64, 128)])
def test_one_file_holds_each_array_in_checked_chunks(tmp_path, shape):
    volume = volume_of(shape)
    write_volume(Storage(tmp_path), NAME, volume)
    root = zarr.open_group(tmp_path / NAME, mode="r")
    for path, data in (("0", volume.ct), ("labels/layout/0", volume.layout)):
        array = root[path]
        assert array.shards == shape
        assert array.chunks == tuple(inner_chunk(n) for n in shape)
        assert type(array.compressors[-1]).__name__ == "Crc32cCodec"
        assert array.metadata.dimension_names == ("z", "y", "x")
        np.testing.assert_array_equal(array[:], data)
        assert [p.name for p in Path(tmp_path, NAME, path).rglob("*") if p.is_file()].count(
            "0"
        ) == 1


def test_a_volume_is_a_valid_ome_zarr_0_5_image_with_its_label(written):
    root = zarr.open_group(written.child(NAME), mode="r")
    image = Image.from_zarr(root)
    label = ImageLabel.from_zarr(root["labels/layout"])
    for multiscale in (image.attributes.ome.multiscales[0], label.attributes.ome.multiscales[0]):
        assert [(axis.name, axis.type, axis.unit) for axis in multiscale.axes] == [
            (name, "space", "millimeter") for name in "zyx"
        ]
        scale, translation = multiscale.datasets[0].coordinateTransformations
        assert scale.scale == pytest.approx([2.5, 1.0, 1.0])
        assert translation.translation == pytest.approx([-400.0, 130.5, -170.25])
    assert root["labels"].attrs["ome"] == {"version": "0.5", "labels": ["layout"]}
    colours = label.attributes.ome.image_label.colors
    assert [colour.label_value for colour in colours] == [1, 2]


def test_the_ome_zarr_reader_finds_the_image_and_its_label(written):
    nodes = [node for node in Reader(parse_url(written.child(NAME)))() if node.data]
    image, label = nodes
    np.testing.assert_array_equal(np.asarray(image.data[0]), volume_of().ct)
    np.testing.assert_array_equal(np.asarray(label.data[0]), volume_of().layout)


def test_a_volume_is_never_written_over_another(written):
    with pytest.raises(StoreError, match=r"found a folder of this name; expected none"):
        write_volume(written, NAME, volume_of())
    np.testing.assert_array_equal(read_volume(written, NAME).ct, volume_of().ct)
