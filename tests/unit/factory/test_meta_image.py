import zlib
from pathlib import Path

import numpy as np
import pytest
from meta_images import meta_header

from factory.axes import ras_from_lps, ras_from_zyx
from factory.errors import CaseError
from factory.ingest import declared
from factory.ingest.nifti import has_orientation, read_ct, read_labels

SHAPE = (4, 5, 6)
HU = (np.arange(120).reshape(SHAPE) * 20 - 1000).astype("<i2")


def write(folder: Path, name: str = "a.mha", content: bytes | None = None, **fields: str) -> str:
    """Write a MetaImage; None takes a field away."""
    header: dict[str, str | None] = {
        "TransformMatrix": "1 0 0 0 1 0 0 0 1",
        "Offset": "-10 20 -300",
        "ElementSpacing": "0.7 0.8 2.5",
        "DimSize": "6 5 4",
        "ElementType": "MET_SHORT",
    }
    header |= fields
    data_file = header.pop("ElementDataFile", "LOCAL" if name.endswith(".mha") else "a.raw")
    text = meta_header(**header, ElementDataFile=data_file)
    voxels = HU.tobytes() if content is None else content
    if data_file == "LOCAL":
        text += voxels
    else:
        (folder / "a.raw").write_bytes(voxels)
    (folder / name).write_bytes(text)
    return str(folder / name)


@pytest.mark.parametrize("name", ["a.mha", "a.mhd"])
def test_a_ct_is_read_in_our_orientation_and_lies_where_itk_has_it(tmp_path, name):
    ct, affine = read_ct("a", write(tmp_path, name))
    # LPS grows to the left and to the back; ours to the right and to the front.
    np.testing.assert_array_equal(ct, HU[:, ::-1, ::-1])
    first = ras_from_zyx(affine, (0.0, 4.0, 5.0))
    np.testing.assert_allclose(first, ras_from_lps(np.array([-10.0, 20.0, -300.0])))
    assert has_orientation(write(tmp_path, name))


def test_each_row_of_the_matrix_is_the_direction_of_one_axis(tmp_path):
    path = write(tmp_path, TransformMatrix="0 1 0 0 0 1 1 0 0", DimSize="6 5 4")
    ct, affine = read_ct("a", path)
    # The fastest axis runs to the back, the second upwards, the slowest to the left.
    for k, j, i in ((0, 0, 0), (3, 1, 2), (1, 4, 5)):
        lps = np.array([-10.0 + 2.5 * k, 20.0 + 0.7 * i, -300.0 + 0.8 * j])
        index = np.linalg.inv(affine) @ [*ras_from_lps(lps), 1.0]
        x, y, z = np.rint(index[:3]).astype(int)
        assert ct[z, y, x] == HU[k, j, i]


@pytest.mark.parametrize("name", ["a.mha", "a.mhd"])
def test_compressed_voxels_are_read(tmp_path, name):
    path = write(tmp_path, name, zlib.compress(HU.tobytes()), CompressedData="True")
    np.testing.assert_array_equal(read_ct("a", path)[0], HU[:, ::-1, ::-1])


def test_bytes_in_the_other_order_are_read(tmp_path):
    path = write(tmp_path, content=HU.astype(">i2").tobytes(), BinaryDataByteOrderMSB="True")
    np.testing.assert_array_equal(read_ct("a", path)[0], HU[:, ::-1, ::-1])


def test_a_header_in_the_raw_file_is_skipped(tmp_path):
    path = write(tmp_path, "a.mhd", b"x" * 10 + HU.tobytes(), HeaderSize="10")
    np.testing.assert_array_equal(read_ct("a", path)[0], HU[:, ::-1, ::-1])


def test_of_a_raw_file_with_a_header_of_any_size_the_last_bytes_are_the_voxels(tmp_path):
    path = write(tmp_path, "a.mhd", b"x" * 77 + HU.tobytes(), HeaderSize="-1")
    np.testing.assert_array_equal(read_ct("a", path)[0], HU[:, ::-1, ::-1])
    with pytest.raises(CaseError, match="239 bytes of voxels, expected 240"):
        read_ct("a", write(tmp_path, "a.mhd", HU.tobytes()[1:], HeaderSize="-1"))


def test_labels_are_read(tmp_path):
    labels = (HU > 0).astype("u1") * 4
    path = write(tmp_path, content=labels.tobytes(), ElementType="MET_UCHAR")
    np.testing.assert_array_equal(read_labels("a", path, None)[0], labels[:, ::-1, ::-1])


def test_a_header_without_directions_says_so(tmp_path):
    assert not has_orientation(write(tmp_path, TransformMatrix=None))


@pytest.mark.parametrize(
    "elsewhere",
    ["../a.raw", "/etc/passwd", "sub/a.raw", "..", "LIST", "a%03d.raw 1 4 1", r"..\a.raw"],
)
def test_voxels_are_never_read_from_another_folder(tmp_path, elsewhere):
    inner = tmp_path / "inner"
    inner.mkdir()
    (tmp_path / "a.raw").write_bytes(HU.tobytes())
    path = write(inner, "a.mhd", ElementDataFile=elsewhere)
    with pytest.raises(
        CaseError, match=r"ElementDataFile .*, expected LOCAL or one file in the sa"
    ):
        read_ct("a", path)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"DimSize": "6 5 5"}, "240 bytes of voxels, expected 300"),
        (
            {"DimSize": "60000 60000 60000"},
            r"declares a shape of \(60000, 60000, 60000\); expected up",
        ),
        ({"DimSize": "-6 5 -4"}, r"declares a shape of \(-6, 5, -4\); expected up to"),
        ({"DimSize": "6 5"}, "DimSize has 2 numbers, expected 3"),
        ({"DimSize": "6 5 inf"}, "cannot be read"),
        ({"NDims": "4"}, "expected three dimensions and one channel"),
        ({"ElementNumberOfChannels": "3"}, "expected three dimensions and one channel"),
        ({"ElementType": "MET_STRING"}, "ElementType MET_STRING, expected one of MET_CHAR"),
        ({"BinaryData": "False"}, "BinaryData = False, expected binary voxels"),
        ({"ElementSpacing": "700 800 2500"}, r"has voxels of 700 x 800 x 2500 mm; expected"),
        ({"TransformMatrix": "1 0 0 1 0 0 0 0 1"}, "an affine that cannot be inverted"),
        ({"Offset": "nan 0 0"}, "an affine that cannot be inverted"),
    ],
)
def test_a_header_that_cannot_be_meant_is_refused(tmp_path, fields, words):
    with pytest.raises(CaseError, match=rf"^case a: .*a\.mha .*{words}"):
        read_ct("a", write(tmp_path, **fields))


@pytest.mark.parametrize(
    ("size", "compressed"), [("-1", "True"), ("-2", "False")], ids=["compressed", "below"]
)
def test_a_header_size_that_says_nothing_is_refused(tmp_path, size, compressed):
    path = write(tmp_path, "a.mhd", HeaderSize=size, CompressedData=compressed)
    with pytest.raises(CaseError, match=rf"HeaderSize {size}, expected 0 or more, or -1 where"):
        read_ct("a", path)


def test_a_file_that_would_unpack_to_more_than_it_can_is_refused_before_it_is_unpacked(tmp_path):
    bomb = zlib.compress(bytes(1_000_000))
    path = write(tmp_path, content=bomb, CompressedData="True", DimSize="1000 1000 1000")
    with pytest.raises(CaseError, match=r"declares 2000000000 bytes of voxels and has 991 bytes"):
        read_ct("a", path)


def test_of_a_stream_that_goes_on_only_the_voxels_are_unpacked(tmp_path):
    path = write(
        tmp_path, content=zlib.compress(HU.tobytes() + bytes(10**6)), CompressedData="True"
    )
    np.testing.assert_array_equal(read_ct("a", path)[0], HU[:, ::-1, ::-1])


def test_the_limit_on_voxels_holds(tmp_path, monkeypatch):
    monkeypatch.setattr(declared, "MAX_VOXELS", 119)
    with pytest.raises(
        CaseError, match=r"declares a shape of \(6, 5, 4\); expected up to 119 voxel"
    ):
        read_ct("a", write(tmp_path))


def test_real_patches_lie_where_their_headers_say(ct_dir):
    path = sorted((ct_dir / "nodules" / "patches").glob("*111258527*_dcm_0.mha"))[0]
    ct, affine = read_ct("a", str(path))
    assert ct.shape == (50, 50, 50)
    np.testing.assert_allclose(
        ras_from_zyx(affine, (0.0, 49.0, 49.0)), (142.399994, -15.2, -159.75), atol=1e-4
    )
