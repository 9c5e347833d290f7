"""A case: one CT and its layout on one grid."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from factory.axes import Triple, spacing_zyx
from factory.digests import digest_json, sha256_of_voxels


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """One CT with its layout, on the model grid, orientation closest-canonical RAS."""

    case_id: str
    """Name of the case, unique in its store."""

    patient_id: str
    """Whose scan it is; splits are made by patient."""

    ct: NDArray[np.int16]
    """(z, y, x) HU."""

    layout: NDArray[np.uint8]
    """(z, y, x) labels of `factory.layouts`."""

    affine: NDArray[np.float64]
    """4x4, voxel (i, j, k) to RAS mm."""

    @property
    def spacing_mm(self) -> Triple:
        """Voxel size (z, y, x) in mm."""
        return spacing_zyx(self.affine)

    @property
    def image_sha256(self) -> str:
        """SHA-256 of the decoded HU, C order, little endian."""
        return sha256_of_voxels(self.ct)

    @property
    def layout_sha256(self) -> str:
        """SHA-256 of the decoded labels, C order, little endian."""
        return sha256_of_voxels(self.layout)


def case_digest(image_sha256: str, layout_sha256: str, affine: list[float]) -> str:
    """Return the digest of all that a case brings to a synthetic volume."""
    return digest_json({"image": image_sha256, "layout": layout_sha256, "affine": affine})
