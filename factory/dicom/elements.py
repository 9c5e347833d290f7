"""Read chosen elements of one DICOM file, whatever bytes it has.

It ends with the elements or with a `DicomError`; memory stays below the size of the file, or the
70 MiB that the parts of a header may take.
"""

import os
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filereader import read_dataset
from pydicom.tag import BaseTag
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from factory.errors import FactoryError

_FILE_BYTES_AT_MOST = 2**30
"""What one element of undefined length could fill the memory with."""

_PARTS_AT_MOST = 100_000
"""Elements and sequence items that are parsed of one file; each takes half a kilobyte."""

_VALUE_BYTES_AT_MOST = 2 * 2**20
"""Of one element that is no pixel data; a sequence can have an item every eight bytes."""

_FIRST_PIXEL_GROUP = 0x7FE0
_PART_BYTES = 8
_ITEM_TAGS = (b"\xfe\xff\x00\xe0", b"\xff\xfe\xe0\x00")
"""Little and big endian."""

_PREAMBLE_BYTES = 128
_FIRST_GROUPS = (b"\x02\x00", b"\x08\x00")
"""Of a file without preamble, little endian: file meta information, or what identifies it."""

_OTHER_SUFFIX = re.compile(
    r"\.(nii|gz|mha|mhd|raw|zraw|nrrd|npy|npz|mat|h5|pt|pth|csv|tsv|xlsx?|xml|json|toml|ya?ml|txt|md|log"
    r"|html?|pdf|docx?|png|jpe?g|tiff?|bmp|gif|svg|zip|tar|tgz|7z|py|sh|exe|dll|jar|inf|ini|db|parquet)",
    re.IGNORECASE,
)


class DicomError(FactoryError):
    """One file cannot be read as DICOM. Its message says why, and names neither file nor patient."""


def tags_of(*keywords: str) -> tuple[int, ...]:
    """Return the tags of these keywords, as the plain numbers that pydicom compares fastest."""
    return tuple(int(pydicom.tag.Tag(keyword)) for keyword in keywords)


def read_start(path: Path) -> bytes:
    """Return the first bytes of a file, which tell whether it is DICOM.

    Raises:
        OSError: The file cannot be read.
    """
    with open(path, "rb") as file:
        return file.read(_PREAMBLE_BYTES + 4)


def has_mark(start: bytes) -> bool:
    """Tell whether a file that starts so has the `DICM` mark after its preamble."""
    return start[_PREAMBLE_BYTES:] == b"DICM"


def may_be_unmarked(path: Path, start: bytes) -> bool:
    """Tell whether a file that starts so may be DICOM as it was before there were preambles.

    It then begins with its first element: a group as a number, and a length or two letters.
    That is little to know it by, so a name that says something else counts.
    """
    if _OTHER_SUFFIX.fullmatch(path.suffix):
        return False
    return start[:2] in _FIRST_GROUPS and (start[4:6].isalpha() or start[6:8] == b"\0\0")


def count_items(content: bytes) -> int:
    """Return how many sequence items the bytes of a data set can have, in either byte order."""
    return sum(content.count(tag) for tag in _ITEM_TAGS)


def read_elements(
    path: Path,
    tags: Sequence[int],
    stop_when: Callable[[BaseTag, str | None, int], bool] | None = None,
) -> tuple[Dataset, str]:
    """Read these elements of a DICOM file; every other is skipped.

    Args:
        path: A file, with or without preamble and file meta information.
        tags: Of the elements.
        stop_when: Called with tag, VR and length of each element; true ends the reading.

    Returns:
        The elements, and the transfer syntax.

    Raises:
        DicomError: It cannot be read as DICOM, or has more elements than its kind ever has.
    """
    try:
        with quiet_pydicom(), open(path, "rb") as opened:
            if (size := os.fstat(opened.fileno()).st_size) > _FILE_BYTES_AT_MOST:
                raise DicomError(
                    f"found {size} bytes in one file; expected at most {_FILE_BYTES_AT_MOST}. "
                    "Store one slice in each file"
                )
            file = cast(BinaryIO, _Counted(opened))
            meta, syntax = _read_meta(file)
            data = read_dataset(
                file,
                syntax == ImplicitVRLittleEndian,
                syntax != ExplicitVRBigEndian,
                stop_when=stop_when,
                specific_tags=list(tags),
            )
            _check_values(data)
            data.file_meta = meta
    except DicomError:
        raise
    except Exception as error:  # pydicom has no error of its own for most of what bytes can be
        # It wraps what it meets at an item.
        refused = error.__context__
        raise refused if isinstance(refused, DicomError) else unreadable(error) from None
    return data, syntax


@contextmanager
def quiet_pydicom() -> Iterator[None]:
    """Keep pydicom from warning and logging: it quotes the values that it finds strange."""
    silent, pydicom.config.logger.disabled = pydicom.config.logger.disabled, True
    try:
        with warnings.catch_warnings(), pydicom.config.disable_value_validation():
            warnings.simplefilter("ignore")
            yield
    finally:
        pydicom.config.logger.disabled = silent


class _Counted:
    """A file that can be read up to so many elements and items.

    pydicom makes objects of every sequence of undefined length, whether or not it was asked for.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._num_parts = 0
        self.seek, self.tell = file.seek, file.tell

    def read(self, num_bytes: int = -1) -> bytes:
        if num_bytes == _PART_BYTES:
            self._num_parts += 1
            if self._num_parts > _PARTS_AT_MOST:
                raise _too_much(f"more than {_PARTS_AT_MOST} elements and sequence items")
        return self._file.read(num_bytes)


def _check_values(data: Dataset) -> None:
    """Refuse values that would become far larger when they are converted."""
    for element in data.values():
        value = element.value
        if element.tag >> 16 >= _FIRST_PIXEL_GROUP or not isinstance(value, bytes):
            continue
        if len(value) > _VALUE_BYTES_AT_MOST:
            raise _too_much(f"a value of {len(value)} bytes")
        if (num_items := count_items(value)) > _PARTS_AT_MOST:
            raise _too_much(f"a sequence of {num_items} items")


def _too_much(found: str) -> DicomError:
    return DicomError(
        f"found {found} beside the pixels; expected at most {_PARTS_AT_MOST} elements, of up to "
        f"{_VALUE_BYTES_AT_MOST >> 20} MiB. Export it again without private elements"
    )


def _read_meta(file: BinaryIO) -> tuple[FileMetaDataset, UID]:
    """Read the file meta information, and leave the file where the data set starts."""
    if file.read(_PREAMBLE_BYTES + 4)[_PREAMBLE_BYTES:] != b"DICM":
        file.seek(0)
    meta = FileMetaDataset(read_dataset(file, False, True, stop_when=_ends_meta))
    if "TransferSyntaxUID" in meta:
        syntax = UID(str(meta.TransferSyntaxUID))
    else:
        letters = file.read(6)[4:]
        file.seek(-6, os.SEEK_CUR)
        syntax = ExplicitVRLittleEndian if letters.isalpha() else ImplicitVRLittleEndian
        meta.TransferSyntaxUID = syntax
    if syntax == DeflatedExplicitVRLittleEndian:
        # pydicom would inflate it whole, whatever it grows to.
        raise DicomError(
            "found a deflated data set; expected one that is not zipped. Store it as Explicit VR "
            "Little Endian (dcmconv)"
        )
    return meta, syntax


def _ends_meta(tag: BaseTag, vr: str | None, length: int) -> bool:
    return tag >> 16 != 2


def unreadable(error: Exception) -> DicomError:
    """Return the error for what pydicom raises at bytes that are no DICOM."""
    # Not its text: pydicom quotes what it cannot read, and that may be a name.
    return DicomError(
        f"cannot be read ({type(error).__name__}); expected a whole DICOM file. Copy or export it again"
    )
