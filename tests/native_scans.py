"""Scans as scanners store them, a lake drawn into their cases, and what comes out on their grid."""

import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
from exported_lakes import Made, child_names, drawn_lake, ingested, read_nifti, set_rows
from meta_images import meta_header
from support import SCAN_SIZE

from factory.axes import to_orientation
from factory.phantom import draw_phantom

NUM_CASES = 3


def write_turned(folder: Path, number: int) -> None:
    """Write a phantom as scanners store them: x to the patient's left, y to the back."""
    drawn = draw_phantom(number, size=SCAN_SIZE)
    affine = drawn.affine.copy()
    for axis, length in ((0, SCAN_SIZE[2]), (1, SCAN_SIZE[1])):
        affine[:3, 3] += affine[:3, axis] * (length - 1)
        affine[:3, axis] *= -1
    folder.mkdir(parents=True, exist_ok=True)
    for name, voxels in (
        ("ct", drawn.ct),
        ("lung", drawn.lung.astype(np.uint8)),
        ("nodule", drawn.nodule),
    ):
        stored = to_orientation(voxels, "SPL").transpose(2, 1, 0)
        nib.save(nib.Nifti1Image(stored, affine), folder / f"c{number}_{name}.nii.gz")


def make_native(folder: Path) -> Made:
    """Make three cases of turned scans with a volume drawn into each."""
    for number in range(NUM_CASES):
        write_turned(folder / "scans", number)
    cases = ingested(folder / "scans", folder / "cases")
    lake = drawn_lake(cases, folder / "lake", draws=1)
    return Made(scans=folder / "scans", cases=cases, lake=lake)


def with_own_scans(given: Made, folder: Path) -> Made:
    """Return a copy whose lake and scans are to be damaged."""
    scans = Path(shutil.copytree(given.scans, folder / "scans"))
    made = given.copied(folder / "lake")
    rows = [
        row | {"source_uri": str(scans / Path(row["source_uri"]).name)}
        if row["kind"] == "real"
        else row
        for row in made.rows
    ]
    set_rows(made.lake, rows)
    return Made(scans=scans, cases=made.cases, lake=made.lake)


def child_of(made: Made, case_id: str) -> str:
    """Return the name of the files of a case's first synthetic volume."""
    return child_names(made.lake, case_id)[0]


def pair(out: Path, name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the HU and the labels of an exported volume, and the affine that both have."""
    ct, affine = read_nifti(out / "images" / f"{name}.nii.gz")
    layout, same = read_nifti(out / "layouts" / f"{name}.nii.gz")
    np.testing.assert_array_equal(affine, same)
    return ct, layout, affine


def meta_image(image: nib.Nifti1Image) -> bytes:
    """Return the bytes of a MetaImage file with the voxels and the place of a NIfTI image."""
    voxels = np.asarray(image.dataobj)
    # LPS, and an axis of the array a line.
    axes = (np.diag([-1.0, -1.0, 1.0]) @ image.affine[:3, :3]).T
    spacing = np.linalg.norm(axes, axis=1)
    origin = image.affine[:3, 3] * [-1.0, -1.0, 1.0]
    header = meta_header(
        TransformMatrix=" ".join(map(repr, (axes / spacing[:, None]).ravel().tolist())),
        Offset=" ".join(map(repr, origin.tolist())),
        ElementSpacing=" ".join(map(repr, spacing.tolist())),
        DimSize=" ".join(map(str, voxels.shape)),
        ElementType={"int16": "MET_SHORT", "uint8": "MET_UCHAR"}[voxels.dtype.name],
        ElementDataFile="LOCAL",
    )
    return header + voxels.tobytes(order="F")
