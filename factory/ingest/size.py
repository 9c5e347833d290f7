"""How large a scan says that it is, from its header alone."""

import math
import warnings
from typing import Any, cast

from factory.axes import Triple, spacing_zyx
from factory.ingest.declared import check_offset, check_regular
from factory.ingest.meta_image import header_values

Size = tuple[tuple[int, ...], Triple | None]

UNKNOWN: Size = ((), None)

_META_IMAGE = (".mhd", ".mha")


def declared_size(path: str) -> Size:
    """Return the shape and voxel size (z, y, x) that the header of an image file declares.

    Nothing where it cannot be read: its reader will say why.
    """
    try:
        check_regular("", path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            shape, spacing_mm = (
                _of_meta_image(path) if path.endswith(_META_IMAGE) else _of_nifti(path)
            )
    except Exception:  # whatever bytes there are
        return UNKNOWN
    if len(shape) != 3 or min(shape) < 1 or not all(map(math.isfinite, spacing_mm)):
        return UNKNOWN
    return shape, spacing_mm


def _of_nifti(path: str) -> tuple[tuple[int, ...], Triple]:
    import nibabel as nib

    check_offset("", path)
    image = cast(Any, nib.load(path))
    return tuple(map(int, image.shape[:3]))[::-1], spacing_zyx(image.affine)


def _of_meta_image(path: str) -> tuple[tuple[int, ...], Triple]:
    values = header_values(path)
    x_mm, y_mm, z_mm = map(float, values["ElementSpacing"].split())
    return tuple(map(int, values["DimSize"].split()))[::-1], (z_mm, y_mm, x_mm)
