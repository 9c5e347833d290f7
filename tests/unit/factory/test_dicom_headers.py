"""What one file says of itself, and that no file does harm."""

import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from dicom_files import IDENTIFIERS, write_series
from fuzzing import fuzz, mutated
from pydicom import Dataset, Sequence
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    RLELossless,
)

from factory.dicom import elements
from factory.dicom.elements import DicomError, has_mark, may_be_unmarked, read_start
from factory.dicom.find import find_series
from factory.dicom.headers import read_header
from factory.dicom.read import read_stack
from factory.errors import CaseError

CT = np.linspace(-1000, 400, 4 * 8 * 6).reshape(4, 8, 6).astype(np.int16)
SPACING = (2.5, 0.7, 0.8)


@pytest.fixture
def file_of(tmp_path):
    """Write a series and return its second slice."""

    def write(**changes):
        return write_series(tmp_path / "series", CT, SPACING, **changes).paths[1]

    return write


@pytest.mark.parametrize(
    "syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian]
)
def test_a_header_says_where_a_slice_lies_and_how_many_bytes_its_pixels_have(file_of, syntax):
    path = file_of(transfer_syntax=syntax)
    header = read_header(path)
    assert header.position == (-100.0, -80.0, -197.5)
    assert header.orientation == (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
    assert header.pixel_spacing == (0.7, 0.8)
    assert (header.rows, header.columns, header.num_frames) == (8, 6, 1)
    assert header.pixel_bytes == 8 * 6 * 2
    assert header.file_bytes == path.stat().st_size
    assert header.transfer_syntax == syntax
    assert header.image_type == ("ORIGINAL", "PRIMARY", "AXIAL")


def test_compressed_pixels_have_no_length_of_their_own(file_of):
    assert read_header(file_of(transfer_syntax=RLELossless)).pixel_bytes == -1


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian])
def test_an_old_file_without_preamble_is_read_as_well(file_of, syntax):
    path = file_of(transfer_syntax=syntax, preamble=False)
    assert not has_mark(read_start(path))
    assert may_be_unmarked(path, read_start(path))
    assert read_header(path).position == (-100.0, -80.0, -197.5)


def test_a_file_is_known_by_its_mark_whatever_it_is_called(file_of, tmp_path):
    path = file_of().rename(tmp_path / "scan.txt")
    assert has_mark(read_start(path))


def test_a_file_of_another_kind_is_not_taken_for_an_old_one(tmp_path):
    (tmp_path / "a.nii").write_bytes(b"\x08\0\x05\0CS\n\0ISO_IR 100")
    (tmp_path / "b").write_bytes(b"\x5c\x01\0\0" + bytes(344))
    (tmp_path / "c").write_bytes(b"")
    for name in ("a.nii", "b", "c"):
        assert not may_be_unmarked(tmp_path / name, read_start(tmp_path / name))


def test_an_element_that_cannot_be_converted_counts_as_absent(file_of):
    def spoil(k, data):
        data.add_new("PixelSpacing", "LO", "wide")
        data.add_new("NumberOfFrames", "SQ", [])

    header = read_header(file_of(edit=spoil))
    assert header.pixel_spacing == ()
    assert header.rows == 8


@pytest.mark.parametrize("text", ["nan", "inf", "1e999"])
def test_a_position_that_is_no_number_counts_as_absent(file_of, text):
    path = file_of(
        edit=lambda k, data: data.add_new("ImagePositionPatient", "LO", ["0", "0", text])
    )
    assert read_header(path).position == ()


def test_a_deflated_file_is_refused_before_it_grows(tmp_path, file_of):
    """A data set of zeros deflates a thousandfold, and pydicom would inflate all of it."""
    start = file_of().read_bytes()
    deflated = DeflatedExplicitVRLittleEndian.encode() + b"\0" * (
        len(DeflatedExplicitVRLittleEndian) % 2
    )
    explicit = ExplicitVRLittleEndian.encode() + b"\0"
    at = start.index(b"\x02\0\x10\0UI")
    head = start[: at + 6] + struct.pack("<H", len(deflated)) + deflated
    assert explicit in start
    packer = zlib.compressobj(wbits=-15)
    bomb = packer.compress(bytes(2**26)) + packer.flush()
    (tmp_path / "bomb").write_bytes(head + bomb)
    with pytest.raises(
        DicomError, match="found a deflated data set; expected one that is not zipped"
    ):
        read_header(tmp_path / "bomb")


def test_a_length_beyond_the_end_of_the_file_takes_no_memory(file_of, tmp_path):
    whole = file_of().read_bytes()
    at = whole.index(b"\x28\0\x30\0DS")
    torn = whole[:at] + b"\x28\0\x30\0UN\0\0\xfe\xff\xff\xff" + b"\x30"
    (tmp_path / "torn").write_bytes(torn)
    header = read_header(tmp_path / "torn")
    assert (header.rows, header.pixel_spacing, header.pixel_bytes) == (8, (0.0,), 0)


def test_sequences_without_end_are_refused(tmp_path, file_of):
    whole = file_of().read_bytes()
    at = whole.index(b"\x28\0\x10\0US")
    nested = (b"\x08\0\x15\x11SQ\0\0\xff\xff\xff\xff" + b"\xfe\xff\x00\xe0\xff\xff\xff\xff") * 3000
    (tmp_path / "deep").write_bytes(whole[:at] + nested)
    with pytest.raises(
        DicomError, match=r"cannot be read \(RecursionError\); expected a whole DICOM file"
    ):
        read_header(tmp_path / "deep")


def _with_items(path, whole: bytes, tag: bytes, num: int, *, is_ended: bool) -> None:
    """Write a slice again, with a sequence of empty items before its rows."""
    items = num * b"\xfe\xff\x00\xe0\0\0\0\0"
    length = struct.pack("<I", len(items)) if is_ended else b"\xff\xff\xff\xff"
    end = b"" if is_ended else b"\xfe\xff\xdd\xe0\0\0\0\0"
    at = whole.index(b"\x28\0\x10\0US")
    path.write_bytes(whole[:at] + tag + b"SQ\0\0" + length + items + end + whole[at:])


@pytest.mark.parametrize("tag", [b"\x08\0\x15\x11", b"\x08\0\x40\x11"])
@pytest.mark.parametrize("is_ended", [True, False])
def test_more_items_than_a_header_has_are_refused_before_they_take_memory(
    tmp_path, file_of, monkeypatch, tag, is_ended
):
    """Of a sequence that is asked for, and of one that is not; what is skipped costs nothing."""
    monkeypatch.setattr(elements, "_PARTS_AT_MOST", 3000)
    whole = file_of().read_bytes()
    _with_items(tmp_path / "some", whole, tag, 2000, is_ended=is_ended)
    assert read_header(tmp_path / "some").rows == 8
    _with_items(tmp_path / "many", whole, tag, 200_000, is_ended=is_ended)
    if is_ended and tag == b"\x08\0\x40\x11":
        assert read_header(tmp_path / "many").rows == 8
        return
    tracemalloc.start()
    with pytest.raises(DicomError, match="items beside the pixels; expected at most 3000"):
        read_header(tmp_path / "many")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10 * 2**20


def test_items_in_big_endian_are_counted_as_well(file_of, monkeypatch):
    monkeypatch.setattr(elements, "_PARTS_AT_MOST", 60)

    def fill(k, data):
        data.ReferencedSeriesSequence = [Dataset() for _ in range(61)]

    path = file_of(edit=fill, transfer_syntax=ExplicitVRBigEndian)
    with pytest.raises(DicomError, match="found a sequence of 61 items"):
        read_header(path)


def test_a_value_that_would_become_a_million_numbers_is_refused(file_of):
    path = file_of(edit=lambda k, data: data.add_new("ImageType", "UT", "1\\" * 1_100_000))
    with pytest.raises(DicomError, match=r"found a value of 2200000 bytes .* of up to 2 MiB"):
        read_header(path)


def test_the_contents_of_a_segmentation_are_not_read_to_sort_it(file_of, monkeypatch):
    monkeypatch.setattr(elements, "_PARTS_AT_MOST", 200)

    def fill(k, data):
        frames = Sequence([Dataset() for _ in range(300)])
        frames.is_undefined_length = True
        data.PerFrameFunctionalGroupsSequence = frames
        data["PerFrameFunctionalGroupsSequence"].is_undefined_length = True
        data.Modality = "SEG"

    assert read_header(file_of(edit=fill)).modality == "SEG"


def test_a_file_that_cannot_be_opened_is_refused_without_its_name(tmp_path):
    with pytest.raises(DicomError, match=r"cannot be read \(FileNotFoundError\)") as caught:
        read_header(tmp_path / "Doe_Jane.dcm")
    assert "Doe" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_header_shows_nothing_of_what_it_holds(file_of):
    shown = repr(read_header(file_of(patient_id="MRN-4711")))
    for text in (*IDENTIFIERS, "MRN-4711", "1.2.826"):
        assert text not in shown


def test_reading_says_nothing_of_odd_values(file_of, caplog, capfd, recwarn):
    def spoil(k, data):
        data.add_new("SOPInstanceUID", "UI", "not a uid of Doe")
        data.add_new("StudyInstanceUID", "UI", "9" * 80)
        data.SpecificCharacterSet = "ISO_IR 100"

    path = file_of(edit=spoil)
    path.write_bytes(path.read_bytes().replace(b"ISO_IR 100", b"DOE_IR 100"))
    caplog.clear()
    recwarn.clear()
    header = read_header(path)
    assert (header.sop_uid, header.patient_id) == ("not a uid of Doe", "P1")
    assert not caplog.records
    assert not recwarn.list
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "syntax",
    [ImplicitVRLittleEndian, ExplicitVRLittleEndian, RLELossless, JPEG2000Lossless],
)
def test_fuzzed_bytes_end_as_a_stack_or_as_a_reason(tmp_path, syntax):
    files = write_series(tmp_path, CT, SPACING, patient_id="MRN-4711", transfer_syntax=syntax)
    original = files.paths[1].read_bytes()

    def check(content):
        files.paths[1].write_bytes(content)
        found = find_series(tmp_path)
        said = [left.reason for left in found.left_out]
        for series in found.series:
            try:
                stack = read_stack("c", series)
            except CaseError as error:
                said.append(str(error))
            else:
                said += stack.notes
                assert stack.ct_hu.shape == (len(stack.sop_uids), *series.shape[1:])
                assert np.isfinite(stack.canonical_affine).all()
        for text in (*IDENTIFIERS, "MRN-4711"):
            assert text not in "\n".join(said)

    fuzz(mutated(original), check, examples=60)
