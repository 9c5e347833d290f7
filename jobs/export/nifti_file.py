"""One array as a NIfTI file: the same voxels give the same bytes, whole or not there."""

import gzip
import os
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from factory.axes import ijk_from_zyx

_LEVEL = 4
"""Of deflate: 6, the default, takes twice the time on HU for two percent of their size."""

_OFF_MM = 1e-3
_SCANNER = 1
"""Code of a header's coordinates: those of the scanner."""


def write_nifti(
    path: Path, volume: NDArray[Any], affine: NDArray[np.float64], *, aside: Path
) -> None:
    """Write a (z, y, x) array as `.nii.gz`, or replace it.

    Args:
        path: File; its folder is made.
        volume: int16 HU or uint8 labels, written as they are, unscaled.
        affine: 4x4, voxel (i, j, k) to RAS mm. The header keeps it as float32.
        aside: Folder on the same disk for what is not whole yet.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    aside.mkdir(parents=True, exist_ok=True)
    draft = aside / f"{uuid.uuid4().hex}.unfinished"
    image = _image(volume, affine)
    try:
        with open(draft, "wb") as file:
            # No name and no time in the header: a file written again has the same bytes.
            with gzip.GzipFile("", "wb", _LEVEL, file, mtime=0) as packed:
                image.to_stream(packed)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        with suppress(FileNotFoundError):
            draft.unlink()


def _image(volume: NDArray[Any], affine: NDArray[np.float64]) -> Any:
    image: Any = nib.Nifti1Image(ijk_from_zyx(volume), affine)  # type: ignore[no-untyped-call]
    image.header.set_xyzt_units("mm")
    image.set_sform(affine, _SCANNER)
    image.set_qform(affine, _SCANNER)
    if not np.allclose(image.get_qform(), affine, rtol=0, atol=_OFF_MM):
        # A quaternion cannot say that axes are sheared, as a tilted gantry's are.
        image.set_qform(None, 0)
    return image
