"""Read MetaImage, the format of ITK and LUNA16: NAME.mhd with NAME.raw, or both in NAME.mha."""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.spatialimages import SpatialImage
from numpy.typing import NDArray

from factory.axes import affine_from_dicom, ijk_from_zyx
from factory.ingest.declared import check_size

_MAX_HEADER_BYTES = 64 * 2**10
_DTYPES = {
    "MET_CHAR": "i1",
    "MET_UCHAR": "u1",
    "MET_SHORT": "i2",
    "MET_USHORT": "u2",
    "MET_INT": "i4",
    "MET_UINT": "u4",
    "MET_LONG": "i4",
    "MET_ULONG": "u4",
    "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}
_LAST_KEY = "ElementDataFile"


@dataclass(frozen=True, slots=True)
class _Header:
    values: Mapping[str, str]
    num_bytes: int
    """Up to the voxels, where they follow in the same file."""

    def is_true(self, *keys: str) -> bool:
        # By its first letter, as ITK has it.
        return any(self.values.get(key, "")[:1].lower() in ("t", "1") for key in keys)

    def numbers(self, keys: tuple[str, ...], count: int, default: str) -> NDArray[np.float64]:
        """Return the numbers of the first key that is there."""
        text = next((self.values[key] for key in keys if key in self.values), default)
        numbers = np.array(text.split()[: count + 1], dtype=np.float64)
        if len(numbers) != count:
            raise ValueError(f"{keys[0]} has {len(numbers)} numbers, expected {count}")
        return numbers


def read_meta_image(case_id: str, path: str) -> SpatialImage:
    """Read a three-dimensional MetaImage.

    Its world is LPS, as ITK's; the image's affine is to RAS, as nibabel's.

    Raises:
        CaseError: It declares more voxels than there may be, or than its file holds.
        ValueError: The header is none, or of an image of another kind.
        OSError: A file cannot be read.
        zlib.error: Compressed voxels are broken.
    """
    header = _header(path)
    if (
        header.values.get("NDims", "3") != "3"
        or header.values.get("ElementNumberOfChannels", "1") != "1"
    ):
        raise ValueError("expected three dimensions and one channel")
    if "BinaryData" in header.values and not header.is_true("BinaryData"):
        raise ValueError("BinaryData = False, expected binary voxels")
    shape = tuple(int(num) for num in header.numbers(("DimSize",), 3, "").tolist())
    order = ">" if header.is_true("BinaryDataByteOrderMSB", "ElementByteOrderMSB") else "<"
    kind = header.values.get("ElementType", "")
    if kind not in _DTYPES:
        raise ValueError(f"ElementType {kind[:32]}, expected one of {', '.join(_DTYPES)}")
    dtype = np.dtype(order + _DTYPES[kind])
    content = _voxels(case_id, path, header, shape, dtype.itemsize)
    volume = np.frombuffer(content, dtype).reshape(shape[::-1])
    native = volume.astype(dtype.newbyteorder("="), copy=False)
    return nib.Nifti1Image(  # type: ignore[no-untyped-call]
        ijk_from_zyx(native), _affine(header)
    )


def names_orientation(path: str) -> bool:
    """Tell whether a MetaImage's header says how the scan lies in the patient."""
    return not {"TransformMatrix", "Rotation", "Orientation"}.isdisjoint(_header(path).values)


def header_values(path: str) -> Mapping[str, str]:
    """Return what a MetaImage's header says, by key.

    Raises:
        ValueError: The header is none.
        OSError: The file cannot be read.
    """
    return _header(path).values


def _header(path: str) -> _Header:
    with open(path, "rb") as file:
        start = file.read(_MAX_HEADER_BYTES)
    values: dict[str, str] = {}
    num_bytes = 0
    for line in start.splitlines(keepends=True):
        num_bytes += len(line)
        key, equals, value = line.decode("ascii").partition("=")
        if not equals:
            break
        values[key.strip()] = value.strip()
        if key.strip() == _LAST_KEY:
            return _Header(values, num_bytes)
    raise ValueError(f"no {_LAST_KEY} in its header")


def _affine(header: _Header) -> NDArray[np.float64]:
    directions = header.numbers(
        ("TransformMatrix", "Rotation", "Orientation"), 9, "1 0 0 0 1 0 0 0 1"
    ).reshape(3, 3)
    x_mm, y_mm, z_mm = header.numbers(("ElementSpacing", "ElementSize"), 3, "1 1 1").tolist()
    return affine_from_dicom(
        position=header.numbers(("Offset", "Position", "Origin"), 3, "0 0 0"),
        orientation=directions[:2].ravel(),
        pixel_spacing=(y_mm, x_mm),
        step=directions[2] * z_mm,
    )


def _voxels(
    case_id: str, path: str, header: _Header, shape: tuple[int, ...], itemsize: int
) -> bytes:
    """Return the bytes of all voxels, read only once there is room for them and they are there."""
    name = header.values[_LAST_KEY]
    is_local = name.upper() == "LOCAL"
    if not is_local and (name in ("LIST", "", ".", "..") or set(name) & set("/\\%*\0")):
        raise ValueError(
            f"{_LAST_KEY} {name[:64]!r}, expected LOCAL or one file in the same folder"
        )
    file = Path(path) if is_local else Path(path).with_name(name)
    num_bytes = itemsize * int(np.prod([float(num) for num in shape]))
    is_deflated = header.is_true("CompressedData")
    size = file.stat().st_size
    start = header.num_bytes if is_local else int(header.values.get("HeaderSize", "0"))
    if start == -1 and not is_deflated:
        # The voxels are the last bytes of the file, whatever comes before them.
        start = max(0, size - num_bytes)
    if start < 0:
        raise ValueError(
            f"HeaderSize {start}, expected 0 or more, or -1 where nothing is compressed"
        )
    stored = size - start
    check_size(case_id, path, shape, num_bytes, stored if is_deflated else None)
    if not is_deflated and stored < num_bytes:
        raise ValueError(f"{stored} bytes of voxels, expected {num_bytes}")
    with file.open("rb") as content:
        content.seek(start)
        if not is_deflated:
            return content.read(num_bytes)
        inflate = zlib.decompressobj()
        # A deflated file is a little larger than what it holds at the most.
        voxels = inflate.decompress(content.read(num_bytes + num_bytes // 8 + 1024), num_bytes)
    if len(voxels) != num_bytes:
        raise ValueError(f"{len(voxels)} bytes of voxels, expected {num_bytes}")
    return voxels
