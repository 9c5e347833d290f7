"""Compressed slices: decoded apart from what holds cases, and refused where they are broken or far too large."""

import sys

import numpy as np
import pytest
from dicom_files import write_series
from dicom_stacks import SPACING, hu
from high_throughput import HU, write_high_throughput
from pydicom import dcmread
from pydicom.uid import (
    HTJ2K,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
)

from factory.dicom import decode
from factory.dicom import read as reading
from factory.dicom.codestream import coded_of
from factory.dicom.find import find_series
from factory.dicom.read import read_stack
from factory.errors import CaseError


def smooth_hu():
    """HU that compress well, in slices large enough to be broken in the middle."""
    return np.linspace(-1000, 900, 4 * 40 * 30).reshape(4, 40, 30).astype(np.int16)


@pytest.mark.parametrize(
    ("syntax", "name"),
    [
        ("1.2.840.10008.1.2.4.94", "JPIP Referenced"),
        ("1.2.840.10008.9.9", "transfer syntax 1.2.840.10008.9.9"),
        ("Doe", "no transfer syntax"),
    ],
)
def test_a_transfer_syntax_that_nothing_here_decodes_is_named(tmp_path, syntax, name):
    files = write_series(tmp_path, hu(3), SPACING)
    written = ExplicitVRLittleEndian.encode() + b"\0"
    for path in files.paths:
        content = path.read_bytes()
        at = content.index(written)
        coded = str(syntax).encode() + b"\0" * (len(syntax) % 2)
        length = len(coded).to_bytes(2, "little")
        path.write_bytes(content[: at - 2] + length + coded + content[at + len(written) :])
    (series,) = find_series(tmp_path).series
    with pytest.raises(CaseError, match=f"has pixels in {name} that cannot be decoded"):
        read_stack("a", series)


@pytest.mark.parametrize("syntax", [HTJ2K, HTJ2KLossless, HTJ2KLosslessRPCL])
def test_high_throughput_jpeg_2000_is_read_to_the_voxel(tmp_path, syntax):
    write_high_throughput(tmp_path, SPACING, syntax)
    (series,) = find_series(tmp_path).series
    np.testing.assert_array_equal(read_stack("a", series).ct_hu, HU)


def test_a_broken_high_throughput_slice_is_refused_by_its_name(tmp_path):
    files = write_high_throughput(tmp_path, SPACING, HTJ2KLossless)
    content = bytearray(files.paths[1].read_bytes())
    at = content.rindex(b"\xff\x93") + 2
    for n in range(at, len(content) - 8):
        content[n] ^= 0x5A
    files.paths[1].write_bytes(content)
    (series,) = find_series(tmp_path).series
    with pytest.raises(CaseError, match=r"has pixels in High-Throughput .* cannot be decoded"):
        read_stack("a", series)


def test_deflated_slices_are_left_out_with_the_way_out(tmp_path):
    files = write_series(tmp_path, hu(3), SPACING)
    content = files.paths[0].read_bytes()
    coded = DeflatedExplicitVRLittleEndian.encode()
    old = b"UI" + (20).to_bytes(2, "little") + ExplicitVRLittleEndian.encode() + b"\0"
    assert old in content
    new = b"UI" + len(coded).to_bytes(2, "little") + coded
    files.paths[0].write_bytes(content.replace(old, new))
    assert (
        find_series(tmp_path)
        .left_out[0]
        .reason.endswith("Store it as Explicit VR Little Endian (dcmconv)")
    )


@pytest.mark.parametrize("syntax", [JPEGLSLossless, JPEGLosslessSV1, JPEG2000Lossless])
def test_a_broken_compressed_slice_ends_as_an_error_and_no_process(tmp_path, syntax):
    """gdcm, which alone decodes JPEG lossless, aborts the process that it runs in."""
    ct = smooth_hu()
    files = write_series(tmp_path, ct, SPACING, transfer_syntax=syntax)
    content = bytearray(files.paths[1].read_bytes())
    at = content.rindex(b"\xfe\xff\x00\xe0") + 8
    for n in range(at + 20, len(content) - 8, 3):
        content[n] ^= 0x5A
    files.paths[1].write_bytes(content)
    (series,) = find_series(tmp_path).series
    with pytest.raises(
        CaseError, match=r"slice at z -198.00 mm (has pixels in|holds a compressed)"
    ):
        read_stack("a", series)


def test_gdcm_decodes_in_no_process_that_holds_cases():
    """What ends a process shows in a fuzzed file in a thousand, and in no test."""
    assert "gdcm" not in decode._PLUGINS.values()


def test_a_frame_that_is_no_image_is_refused_at_once(tmp_path):
    files = write_series(tmp_path, hu(3), SPACING, transfer_syntax=JPEGLosslessSV1)
    content = files.paths[1].read_bytes()
    at = content.rindex(b"\xfe\xff\x00\xe0") + 8
    files.paths[1].write_bytes(content[:at] + bytes(len(content) - 8 - at) + content[-8:])
    (series,) = find_series(tmp_path).series
    with pytest.raises(
        CaseError, match=r"slice at z -198.00 mm has .* cannot be decoded \(ValueError"
    ):
        read_stack("a", series)


def test_a_decoder_that_hangs_is_ended(tmp_path, monkeypatch):
    write_series(tmp_path, hu(3), SPACING, transfer_syntax=JPEGLosslessSV1)
    (series,) = find_series(tmp_path).series
    started = []

    def sleeper(*given, **options):
        started.append(real([sys.executable, "-c", "import time; time.sleep(60)"], **options))
        return started[-1]

    real = decode.subprocess.Popen
    monkeypatch.setattr(decode.subprocess, "Popen", sleeper)
    monkeypatch.setattr(decode, "_SECONDS_AT_MOST", 0.2)
    with pytest.raises(
        CaseError, match=r"First-Order Prediction.* cannot be decoded \(TimeoutError\)"
    ):
        read_stack("a", series)
    assert [process.returncode for process in started] == [-9]


def test_no_decoder_outlives_its_series(tmp_path, monkeypatch):
    write_series(tmp_path, hu(3), SPACING, transfer_syntax=JPEGLosslessSV1)
    started = []

    def noted(*given, **options):
        started.append(real(*given, **options))
        return started[-1]

    real = decode.subprocess.Popen
    monkeypatch.setattr(decode.subprocess, "Popen", noted)
    read_stack("a", find_series(tmp_path).series[0])
    assert len(started) == 1
    assert started[0].returncode is not None


@pytest.mark.parametrize("syntax", [JPEGLSLossless, JPEGLosslessSV1, JPEG2000Lossless])
def test_a_compressed_image_of_another_size_is_refused_before_it_is_decoded(tmp_path, syntax):
    """Its decoder makes room for what the image says, not for what the header says."""
    files = write_series(tmp_path, hu(3), SPACING, transfer_syntax=syntax)
    sizes = {
        JPEG2000Lossless: ((12).to_bytes(4, "big") + (10).to_bytes(4, "big"), b"\0\0\xff\xff" * 2),
    }.get(syntax, ((10).to_bytes(2, "big") + (12).to_bytes(2, "big"), b"\xff\xff" * 2))
    content = files.paths[1].read_bytes()
    at = content.rindex(b"\xfe\xff\x00\xe0")
    assert sizes[0] in content[at:]
    files.paths[1].write_bytes(content[:at] + content[at:].replace(*sizes, 1))
    (series,) = find_series(tmp_path).series
    with pytest.raises(
        CaseError, match=r"slice at z -198.00 mm holds a compressed image of 65535 x 65535"
    ):
        read_stack("a", series)


@pytest.mark.parametrize("syntax", [JPEGLSLossless, JPEGLosslessSV1, JPEG2000Lossless])
def test_a_compressed_image_of_more_bits_than_its_header_says_is_refused(tmp_path, syntax):
    """A decoder would give the lowest of them, as other HU."""
    files = write_series(tmp_path, hu(3), SPACING, transfer_syntax=syntax)
    for path in files.paths:
        data = dcmread(path)
        data.BitsAllocated, data.BitsStored, data.HighBit = 8, 8, 7
        data.save_as(path)
    (series,) = find_series(tmp_path).series
    with pytest.raises(
        CaseError, match="holds a compressed image of 16 bits a sample; expected at"
    ):
        read_stack("a", series)


def test_what_no_image_says_of_itself_is_not_known():
    assert coded_of(b"") is None
    assert coded_of(b"\xff\xd8\xff\xe0\x00\x10JFIF") is None
    assert coded_of(b"\xff\xd8" + b"\xff\x01" * 50) is None
    assert coded_of(b"\xff\x4f\xff\x51\x00") is None


def test_what_a_jpeg_says_of_itself_stands_behind_other_segments_and_filling():
    app = b"\xff\xe0\x00\x06" + b"\xff\xc3\x00\x01"
    frame = b"\xff\xc3\x00\x0b\x10\x01\x02\x03\x04\x01\x00\x11\x00"
    assert coded_of(b"\xff\xd8" + app + b"\xff\xff" + frame) == (0x102, 0x304, 16)


@pytest.mark.parametrize(
    ("size", "said"),
    [
        (65535, "the slices declare 3 x 65535 x 65535 voxels; expected at most 1073741824"),
        (4096, "slice at z -200.00 mm declares 4096 x 4096 pixels and has 240 bytes of them"),
    ],
)
def test_declared_voxels_are_checked_before_there_is_room_for_them(
    tmp_path, monkeypatch, size, said
):
    write_series(tmp_path, hu(3), SPACING, tags={"Rows": size, "Columns": size})
    (series,) = find_series(tmp_path).series
    room = []
    monkeypatch.setattr(reading.np, "empty", lambda *given: room.append(given))
    with pytest.raises(CaseError, match=said):
        read_stack("a", series)
    assert not room
