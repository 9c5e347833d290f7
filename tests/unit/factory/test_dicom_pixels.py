"""Pixels of a slice in HU, in every way that scanners and archives store them."""

import numpy as np
import pytest
from dicom_files import IDENTIFIERS, write_series
from dicom_stacks import COLUMNS, ROWS, SPACING, hu, problem
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from factory.dicom.find import find_series
from factory.dicom.read import read_stack
from factory.errors import CaseError


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
