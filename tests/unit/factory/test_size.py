"""Headers say how large a scan is, before anything is read of it."""

import gzip
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from endless import KINDS, not_for_ever, write_endless
from support import save_nifti

from factory.ingest.size import UNKNOWN, declared_size

MHD = "NDims = 3\nDimSize = 64 48 30\nElementSpacing = 0.7 0.8 2.5\nElementDataFile = a.raw\n"


def test_sizes_are_in_the_order_of_our_arrays(tmp_path: Path) -> None:
    nifti = save_nifti(
        tmp_path / "a.nii.gz", np.zeros((3, 4, 5), np.int16), np.diag([0.7, 0.8, 2.5, 1])
    )
    shape, spacing_mm = declared_size(str(nifti))
    assert shape == (3, 4, 5)
    assert spacing_mm == pytest.approx((2.5, 0.8, 0.7))
    (tmp_path / "a.mhd").write_text(MHD)
    assert declared_size(str(tmp_path / "a.mhd")) == ((30, 48, 64), (2.5, 0.8, 0.7))


def test_a_size_is_read_without_what_a_header_hides_before_its_voxels(tmp_path: Path) -> None:
    """64 MiB of a header extension, deflated to nothing: a thousand such files are a bomb."""
    hidden = 64 * 2**20
    plain = save_nifti(tmp_path / "a.nii", np.zeros((3, 4, 5), np.int16), np.eye(4)).read_bytes()
    header = bytearray(plain[:348])
    struct.pack_into("<f", header, 108, 352.0 + hidden)
    extension = struct.pack("<ii", hidden, 6) + bytes(hidden - 8)
    with gzip.open(tmp_path / "a.nii.gz", "wb", compresslevel=1) as file:
        file.write(bytes(header) + b"\1\0\0\0" + extension + bytes(120))
    tracemalloc.start()
    found = declared_size(str(tmp_path / "a.nii.gz"))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found == UNKNOWN
    assert peak < 16 * 2**20


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("torn.nii.gz", b"\x1f\x8b"),
        ("text.nii.gz", gzip.compress(b"no image", mtime=0)),
        ("flat.mhd", MHD.replace("64 48 30", "64 48").encode()),
        ("text.mhd", b"nothing"),
        ("odd.mha", MHD.replace("0.7", "nan").encode()),
        ("absent.nii", b""),
    ],
)
def test_a_header_that_cannot_be_read_declares_nothing(
    tmp_path: Path, name: str, content: bytes
) -> None:
    if content:
        (tmp_path / name).write_bytes(content)
    assert declared_size(str(tmp_path / name)) == UNKNOWN


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.mha", "a.mhd"])
def test_what_is_no_file_has_no_size_and_keeps_nobody_waiting(
    tmp_path: Path, name: str, kind: str
) -> None:
    with not_for_ever():
        assert declared_size(str(write_endless(tmp_path / name, kind))) == UNKNOWN
