"""Arrays of an `.npz` that somebody else made: read whole, or refused with what to do."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.lib.format import MAGIC_PREFIX
from numpy.typing import NDArray

from factory.errors import StoreError

_BYTES_AT_MOST = 2**31
"""Of the arrays together, unpacked; 17,000 nodules of 50 x 50 x 50 voxels."""


def read_arrays(
    path: str | Path, keys: Sequence[str], *, where: str, expected: str, advice: str
) -> tuple[dict[str, NDArray[Any]], list[str]]:
    """Return those of `keys` that a file has, and all keys of the file.

    Args:
        path: An `.npz` of plain arrays.
        keys: What is wanted of it.
        where: Names the file in errors.
        expected: What it should hold, for errors.
        advice: What to do where there is no such file.

    Raises:
        StoreError: The file is missing, torn, locked, too large, holds pickled objects, or is a
            single array.
    """
    try:
        with open(path, "rb") as file:
            _check_kind(file, path, where, expected)
            with np.load(file, allow_pickle=False) as archive:
                _check_size(archive, keys, where)
                return {key: archive[key] for key in keys if key in archive}, archive.files
    except StoreError:
        raise
    except FileNotFoundError:
        raise StoreError(f"{where}: no such file, expected an .npz. {advice}") from None
    except Exception as error:  # zip, its packers and numpy's headers each have their own
        raise StoreError(
            f"{where}: cannot be read ({error or type(error).__name__}), expected a whole .npz of plain "
            "arrays. Copy or download it again, or save it again without pickled objects."
        ) from error


def _check_kind(file: BinaryIO, path: str | Path, where: str, expected: str) -> None:
    """Refuse a single array, and leave the file where it starts."""
    is_single = file.read(len(MAGIC_PREFIX)) == MAGIC_PREFIX
    file.seek(0)
    if is_single:
        # Mapped, for whatever shape it declares would be taken from memory.
        shape = np.load(path, mmap_mode="r", allow_pickle=False).shape
        raise StoreError(
            f"{where}: found a single array of shape {shape}, {expected}. "
            "Save it with np.savez under its key."
        )


def _check_size(archive: np.lib.npyio.NpzFile, keys: Sequence[str], where: str) -> None:
    # A reader of the zip stops at the size that it declares.
    members = archive.zip.infolist() if archive.zip else []
    num_bytes = sum(
        member.file_size for member in members if member.filename.removesuffix(".npy") in keys
    )
    if num_bytes > _BYTES_AT_MOST:
        raise StoreError(
            f"{where}: unpacks to {num_bytes} bytes, expected at most {_BYTES_AT_MOST}. Crop the "
            "masks to their nodules, or split the file."
        )


def isotropic_mm(spacing: NDArray[Any], where: str) -> float:
    """Return the one spacing that an array of one or three numbers says; else StoreError."""
    values = np.unique(spacing) if spacing.dtype.kind in "uif" else np.array([])
    if values.size != 1 or not 0.0 < float(values[0]) < np.inf:
        raise StoreError(
            f"{where}: `spacing_mm` is {spacing.tolist()}, expected one positive "
            "number of mm for all axes. Resample the masks to isotropic voxels first."
        )
    return float(values[0])


def names_of(names: NDArray[Any], num_masks: int, where: str) -> list[str]:
    """Return the name of each mask; StoreError unless there is one for each."""
    if names.shape != (num_masks,):
        raise StoreError(
            f"{where}: `names` has shape {names.shape}, expected ({num_masks},): one "
            "name for each mask. Save names and masks from the same list."
        )
    return [str(name) for name in names]
