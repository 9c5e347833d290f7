"""Whether one DICOM file may be a slice of a CT, and why not."""

import re

from factory.dicom.headers import Header
from factory.dicom.order import Plane
from factory.geometry import VOXEL_MM

OFF_AXIAL_DEGREES = 30.0
"""Gantries tilt no further; beyond it lie scouts, and coronal or sagittal reformats."""

_POSITION_MM = 1e5
"""Nothing in a scanner is further from its centre."""

_CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"
_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
_ENHANCED = ("1.2.840.10008.5.1.4.1.1.2.1", "1.2.840.10008.5.1.4.1.1.2.2")
_DIRECTORY = "1.2.840.10008.1.3.10"

_SCOUT = frozenset(("LOCALIZER", "SCOUT", "TOPOGRAM", "SCANOGRAM"))
_REFORMATTED = frozenset(("MPR", "REFORMATTED", "CURVED", "CSMPR"))
_PROJECTED = frozenset(
    (
        "MIP",
        "MINIP",
        "MIN_IP",
        "MAX_IP",
        "PROJECTION IMAGE",
        "VRT",
        "VOLUME RENDERED",
        "RENDERED",
        "SSD",
    )
)


def is_directory(header: Header) -> bool:
    """Tell whether a file is a DICOMDIR: it lists files that the tree holds anyway."""
    return header.sop_class_uid == _DIRECTORY or header.path.name.upper() == "DICOMDIR"


def why_not_ct(header: Header) -> str:
    """Return why a file is no slice of an axial CT and was never meant as one; empty where it may be."""
    if header.modality != "CT" and header.sop_class_uid != _CT_IMAGE:
        return f"not CT but {_known(header.modality)}" if header.modality else ""
    if header.sop_class_uid.startswith(_SECONDARY_CAPTURE):
        return "a secondary capture"
    if _SCOUT & set(header.image_type):
        return "a localiser"
    # Siemens writes CT_SOM5 MIP; but CT_SOM5 MPR is on slices that its scanner reconstructs.
    if _PROJECTED & {*header.image_type, *(word.split(" ")[-1] for word in header.image_type)}:
        return "a projection of slices (its ImageType says so)"
    if _REFORMATTED & set(header.image_type):
        return "a reformat of other slices (its ImageType says so)"
    plane = Plane.of(header.orientation)
    if plane is not None and (degrees := plane.degrees_off_axial) > OFF_AXIAL_DEGREES:
        return (
            f"slices lie {degrees:.0f} degrees off axial; expected at most {OFF_AXIAL_DEGREES:.0f}: a "
            "scout, or a coronal or sagittal reformat"
        )
    return ""


def why_broken(header: Header) -> str:
    """Return why a file that means to be a slice of a CT cannot be used; empty where it can."""
    if not header.modality and not header.sop_class_uid:
        return "found neither Modality nor SOPClassUID; expected a DICOM object. Export it again"
    if header.sop_class_uid in _ENHANCED or header.num_frames != 1:
        return (
            f"found {header.num_frames} frames in one file (enhanced CT); expected one slice a file. "
            "Convert it to classic CT, or to NIfTI with dcm2niix"
        )
    if not header.pixel_bytes:
        return "found no pixel data; expected a slice. Export it again with its pixels"
    if not header.series_uid:
        return "found no SeriesInstanceUID; expected one. Export it again"
    if problem := _geometry_problem(header):
        return f"{problem}. Export the original slices"
    return ""


def _geometry_problem(header: Header) -> str:
    if min(header.rows, header.columns) < 2:
        return f"found {header.rows} rows and {header.columns} columns; expected at least 2 of each"
    if len(header.position) != 3 or max(map(abs, header.position)) > _POSITION_MM:
        return "found no usable ImagePositionPatient; expected three numbers in mm"
    if Plane.of(header.orientation) is None:
        return "found no usable ImageOrientationPatient; expected two unit vectors at a right angle"
    low, high = VOXEL_MM
    if len(header.pixel_spacing) != 2 or not all(low <= mm <= high for mm in header.pixel_spacing):
        return f"found no usable PixelSpacing; expected two numbers from {low:g} to {high:g} mm"
    return ""


def _known(modality: str) -> str:
    # Whatever else stands there may be anything, a name too.
    return modality if re.fullmatch("[A-Z]{2,10}", modality) else "of no known modality"
