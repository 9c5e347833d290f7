"""Files of what readers drew on a scan: lungs and nodules as SEG, RTSTRUCT, NIfTI and LIDC-XML."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from annotation_files import LUNG_TYPE, NODULE_TYPE, circles, write_rtstruct, write_seg
from dicom_scans import DicomScan
from lidc_xml import lidc_text, read_of, reads_of, ring
from support import save_nifti

from factory.lidc.reads import Contour, LidcReads, Ratings, ReadNodule


def write_drawn(folder: Path, scan: DicomScan) -> dict[str, str]:
    """Write lungs as SEG and RTSTRUCT, nodules as SEG, and both as NIfTI; return paths by name."""
    stack = scan.stack
    lung, nodule = scan.stored(scan.drawn.lung), scan.stored(scan.drawn.nodule > 0)
    write_seg(folder / "lung.dcm", stack, {"lung": (LUNG_TYPE, lung)})
    write_seg(folder / "nodule.dcm", stack, {"nodule": (NODULE_TYPE, nodule)})
    write_seg(folder / "both.dcm", stack, {"l": (LUNG_TYPE, lung), "n": (NODULE_TYPE, nodule)})
    write_rtstruct(folder / "gtv.dcm", stack, {"GTV": circles(stack, 12.0)})
    save_nifti(folder / "lung.nii.gz", scan.drawn.lung.astype(np.uint8), scan.drawn.affine)
    save_nifti(folder / "nodule.nii.gz", scan.drawn.nodule, scan.drawn.affine)
    (folder / "reads.xml").write_text(lidc_text(reads(scan)))
    return {path.name: str(path) for path in folder.iterdir()}


def reads(scan: DicomScan) -> LidcReads:
    """Return what two readers outlined: the first nodule of the phantom, as a box of its extent."""

    def outlined(malignancy: int) -> ReadNodule:
        inside = scan.stored(scan.drawn.nodule == 1)
        z, y, x = (np.unique(at) for at in np.nonzero(inside))
        edge = ring(y[0], x[0], len(y), len(x))
        ratings = Ratings(malignancy=malignancy, texture=5)
        return read_of(
            *(
                Contour(z_mm=0.0, sop_uid=scan.files.sop_uids[k], inclusion=True, edge=edge)
                for k in z
            ),
            ratings=ratings,
        )

    marked = reads_of(
        [outlined(5)], [outlined(4)], [], [], series_uid=scan.files.series_uid, num_small=2
    )
    return replace(marked, study_uid=scan.files.study_uid)
