"""Pixels of a slice in HU, in every way that scanners and archives store them."""

import sys

import numpy as np
import pytest
from dicom_files import IDENTIFIERS, write_series
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from factory.dicom import decode
from factory.dicom import read as reading
from factory.dicom.codestream import size_of
from factory.dicom.find import find_series
from factory.dicom.read import read_stack
from factory.errors import CaseError

SPACING = (2.0, 0.7, 0.8)
ROWS, COLUMNS = 10, 12


def hu(num=6, *, seed=0, rows=ROWS, columns=COLUMNS):
    return np.random.default_rng(seed).integers(-1000, 1500, (num, rows, columns)).astype(np.int16)


def smooth_hu():
    """HU that compress well, in slices large enough to be broken in the middle."""
    return np.linspace(-1000, 900, 4 * 40 * 30).reshape(4, 40, 30).astype(np.int16)


@pytest.fixture
def stack_of(tmp_path):
    """Write a series, find it and read it."""

    def write_and_read(ct, affine=SPACING, **changes):
        write_series(tmp_path, ct, affine, **changes)
        (series,) = find_series(tmp_path).series
        return read_stack("a", series)

    return write_and_read


def problem(stack_of, *given, **changes):
    with pytest.raises(CaseError) as caught:
        stack_of(*given, **changes)
    return str(caught.value)


@pytest.mark.parametrize(
    "syntax",
    [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, RLELossless, JPEGLSLossless,
     JPEGLosslessSV1, JPEG2000Lossless],
)  # fmt: skip
@pytest.mark.parametrize("signed", [False, True])
def test_hu_are_those_of_the_scanner_in_every_transfer_syntax(stack_of, syntax, signed):
    ct = hu()
    stack = stack_of(
        ct, transfer_syntax=syntax, signed=signed, bits_stored=12, intercept=0 if signed else -1024
    )
    np.testing.assert_array_equal(stack.ct_hu, ct)
    assert stack.ct_hu.dtype == np.int16
    assert stack.notes == ()


def test_an_old_file_without_preamble_is_read(stack_of):
    ct = hu()
    np.testing.assert_array_equal(stack_of(ct, preamble=False).ct_hu, ct)


def test_each_slice_has_its_own_slope_and_intercept(stack_of):
    """PET and some CT scanners scale every slice for itself."""
    ct = np.full((4, ROWS, COLUMNS), -1000, np.int16)

    def rescale(k, data):
        data.PixelData = np.full((ROWS, COLUMNS), 100, "<u2").tobytes()
        data.RescaleSlope, data.RescaleIntercept = 0.5 * (k + 1), -1000

    stack = stack_of(ct, edit=rescale)
    assert stack.ct_hu[:, 0, 0].tolist() == [-950, -900, -850, -800]


def test_values_are_rounded_and_clipped_to_what_scanners_store(stack_of):
    ct = np.full((4, ROWS, COLUMNS), -1000, np.int16)

    def extreme(k, data):
        stored = np.full((ROWS, COLUMNS), 1000, "<u2")
        stored[0, :4] = (0, 65535, 1501, 1503)
        data.PixelData = stored.tobytes()
        data.RescaleSlope, data.RescaleIntercept = 0.75, -2000

    stack = stack_of(ct, edit=extreme)
    assert stack.ct_hu[0, 0, :4].tolist() == [-1024, 3071, -874, -873]


def test_unused_high_bits_are_no_part_of_a_value(stack_of):
    """Old scanners drew their overlays into them."""
    ct = hu()

    def overlay(k, data):
        stored = np.frombuffer(data.PixelData, "<u2") | 0xA000
        data.PixelData = stored.astype("<u2").tobytes()

    np.testing.assert_array_equal(stack_of(ct, bits_stored=12, edit=overlay).ct_hu, ct)


@pytest.mark.parametrize("written", [63536, -2000])
def test_padding_outside_the_scan_circle_becomes_air(stack_of, written):
    """GE writes -2000, often with its sign lost, and it must not count as the darkest voxel."""
    ct = hu()

    def pad(k, data):
        stored = np.frombuffer(data.PixelData, "<i2").copy()
        stored[:5] = -2000
        data.PixelData = stored.tobytes()
        data.add_new("PixelPaddingValue", "US" if written > 0 else "SS", written)

    stack = stack_of(ct, signed=True, intercept=0, edit=pad)
    assert stack.ct_hu[1, 0, :5].tolist() == [-1024] * 5
    np.testing.assert_array_equal(stack.ct_hu[:, 1:], ct[:, 1:])


def test_a_padding_value_that_is_written_with_a_sign_is_found_among_values_without(stack_of):
    def pad(k, data):
        stored = np.frombuffer(data.PixelData, "<u2").copy()
        stored[:5] = 65536 - 2000
        data.PixelData = stored.tobytes()
        data.add_new("PixelPaddingValue", "SS", -2000)

    assert stack_of(hu(), edit=pad).ct_hu[0, 0, :5].tolist() == [-1024] * 5


def test_padding_is_no_air_that_would_make_a_volume_look_like_hu(stack_of):
    def pad(k, data):
        stored = np.frombuffer(data.PixelData, "<i2").copy()
        stored[:5] = -2000
        data.PixelData = stored.tobytes()
        data.add_new("PixelPaddingValue", "SS", -2000)

    bright = np.abs(hu())
    said = problem(stack_of, bright, signed=True, intercept=0, edit=pad)
    assert f"slices have values from {bright.min()} to {bright.max()}; expected HU" in said


def test_padding_above_all_tissue_becomes_air_too(stack_of):
    def pad(k, data):
        stored = np.frombuffer(data.PixelData, "<u2").copy()
        stored[:3] = (65535, 65530, 65000)
        data.PixelData = stored.tobytes()
        data.PixelPaddingValue, data.PixelPaddingRangeLimit = 65535, 65530

    stack = stack_of(hu(), edit=pad)
    assert stack.ct_hu[0, 0, :3].tolist() == [-1024, -1024, 3071]


def test_a_padding_value_that_is_water_does_not_hollow_out_the_patient(stack_of):
    ct = np.where(hu() > 0, 0, -1000).astype(np.int16)
    stack = stack_of(
        ct,
        signed=True,
        intercept=0,
        edit=lambda k, data: data.add_new("PixelPaddingValue", "SS", 0),
    )
    np.testing.assert_array_equal(stack.ct_hu, ct)
    assert stack.notes == ("PixelPaddingValue is the HU of tissue, and is left as it is",)


def test_values_without_rescale_are_taken_as_hu_where_they_look_like_hu(stack_of):
    tags = {"RescaleSlope": None, "RescaleIntercept": None}
    ct = hu()
    stack = stack_of(ct, signed=True, intercept=0, tags=tags)
    np.testing.assert_array_equal(stack.ct_hu, ct)
    assert stack.notes == ("values without rescale slope or intercept are taken as HU",)


def test_values_that_cannot_be_hu_are_refused(stack_of):
    tags = {"RescaleSlope": None, "RescaleIntercept": None}
    said = problem(stack_of, hu(), tags=tags)
    assert said.startswith("case a: slices have values from 24 to 25")
    assert "expected HU, with air near -1000. Export the original slices" in said


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ({"RescaleSlope": 0}, "has rescale slope 0 and intercept -1024; expected what turns"),
        ({"RescaleIntercept": "1e300"}, "has rescale slope 1 and intercept 1e+300; expected"),
        ({"RescaleType": "Z_EFF"}, "has a RescaleType that is not HU: a map of dual energy"),
        (
            {"PhotometricInterpretation": "MONOCHROME1"},
            "found colours, or grey values that are bright",
        ),
        ({"SamplesPerPixel": 3}, "found colours, or grey values that are bright"),
        ({"BitsStored": 17}, "has 17 bits in 16; expected 8, 16 or 32"),
        ({"HighBit": 11}, "has 16 bits in 16; expected 8, 16 or 32 with the lowest of them used"),
        ({"BitsAllocated": 12}, "has 16 bits in 12; expected 8, 16 or 32"),
        ({"BitsAllocated": None}, "has pixels that cannot be read (AttributeError)"),
    ],
)
def test_a_slice_that_is_no_plain_ct_is_refused_with_its_place(stack_of, tags, expected):
    said = problem(stack_of, hu(), tags=tags)
    assert said.startswith(f"case a: slice at z -200.00 mm {expected}")
    assert said.endswith(".")


def test_a_slice_that_was_cut_short_is_refused_with_its_place(stack_of):
    def cut(k, data):
        if k == 2:
            data.PixelData = data.PixelData[:-20]

    assert problem(stack_of, hu(), edit=cut) == (
        "case a: slice at z -196.00 mm has 220 bytes of pixels; expected 240 for 10 x 12. It was cut "
        "short: copy it again."
    )


def test_a_file_that_ends_within_its_pixels_is_refused(tmp_path):
    files = write_series(tmp_path, hu(), SPACING)
    files.paths[3].write_bytes(files.paths[3].read_bytes()[:-1])
    (series,) = find_series(tmp_path).series
    with pytest.raises(
        CaseError, match=r"slice at z -194.00 mm has 239 bytes of pixels; expected 240"
    ):
        read_stack("a", series)


@pytest.mark.parametrize(
    ("syntax", "name"),
    [
        (HTJ2KLossless, r"High-Throughput JPEG 2000 Image Compression \(Lossless Only\)"),
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


def test_the_size_of_no_image_is_not_known():
    assert size_of(b"") is None
    assert size_of(b"\xff\xd8\xff\xe0\x00\x10JFIF") is None
    assert size_of(b"\xff\xd8" + b"\xff\x01" * 50) is None
    assert size_of(b"\xff\x4f\xff\x51\x00") is None


def test_the_size_of_a_jpeg_stands_behind_other_segments_and_filling():
    app = b"\xff\xe0\x00\x06" + b"\xff\xc3\x00\x01"
    frame = b"\xff\xc3\x00\x0b\x10\x01\x02\x03\x04\x01\x00\x11\x00"
    assert size_of(b"\xff\xd8" + app + b"\xff\xff" + frame) == (0x102, 0x304)


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


def test_a_slope_that_is_no_number_is_refused(stack_of):
    said = problem(stack_of, hu(), edit=lambda k, data: data.add_new("RescaleSlope", "LO", "steep"))
    assert "slice at z -200.00 mm has pixels that cannot be read (ValueError); expected" in said


def test_no_identifier_is_in_an_error(stack_of):
    def spoil(k, data):
        data.RescaleSlope, data.RescaleType = 1, "Doe"
        data.PhotometricInterpretation = "Jane"
        data.add_new("RescaleIntercept", "LO", "Ward 9")

    said = problem(stack_of, hu(), patient_id="MRN-4711", edit=spoil)
    for text in (*IDENTIFIERS, "MRN-4711", ".dcm"):
        assert text not in said
