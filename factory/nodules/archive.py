"""Arrays of an `.npz` that somebody else made: read whole, or refused with what to do."""

import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from factory.errors import StoreError


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
        StoreError: The file is missing, torn, holds pickled objects, or is a single array.
    """
    try:
        with open(path, "rb") as file:
            archive = np.load(file, allow_pickle=False)
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise StoreError(
                    f"{where}: found a single array of shape {archive.shape}, {expected}. "
                    "Save it with np.savez under its key."
                )
            with archive:
                return {key: archive[key] for key in keys if key in archive}, archive.files
    except FileNotFoundError:
        raise StoreError(f"{where}: no such file, expected an .npz. {advice}") from None
    except (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise StoreError(
            f"{where}: cannot be read ({error}), expected a whole .npz of plain "
            "arrays. Copy or download it again, or save it again without pickled objects."
        ) from error


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
