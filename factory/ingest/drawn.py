"""What was drawn on a scan: a layout out of whatever holds its lungs and nodules.

segmentation | masks | LIDC-IDRI XML | DICOM SEG | RTSTRUCT     lungs and nodules, from the first that has them
                                       segmented from the CT    lungs, where none has
                                                      points    nodules, where none has

Each from one source alone: two readings of a nodule are not two nodules, and what a table of points
names a contour shows better. The notes say what was left unused.
"""

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from factory import geometry
from factory.axes import ras_from_zyx
from factory.counted import counted
from factory.errors import CaseError
from factory.ingest.lungs import segment_lungs
from factory.ingest.masks.annotation import Annotation
from factory.ingest.nifti import read_labels
from factory.ingest.points import draw_points
from factory.ingest.readings import Readings, read_consensus
from factory.ingest.scan import Scan
from factory.ingest.sources import SourceCase
from factory.layouts import BACKGROUND, LUNG, NODULE, compose_layout
from factory.nodules.bank import embedded_bank

Mask = NDArray[np.bool_]

THRESHOLD = "threshold"
"""How lungs are segmented by default: no network, no weights."""

_APART = 0.05
"""Of a voxel, by which the corners of a mask's grid may miss the CT's: headers and converters round."""

_OWN_ROLES = ((LUNG, LUNG), (NODULE, NODULE))
"""Of the labels of a layout."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Drawn:
    """The layout of a scan, on the scan's own grid."""

    layout: NDArray[np.uint8]
    """(z, y, x)."""
    readings: Readings | None
    """What LIDC-IDRI's readers thought of the nodules, where the nodules are theirs."""
    notes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Layer:
    """What one source draws; a part that it has not is None."""

    lung: Mask | None = None
    nodule: Mask | None = None
    readings: Readings | None = None
    notes: tuple[str, ...] = ()


@dataclass(slots=True)
class _Taken:
    """The parts of a layout, and where they came from."""

    masks: dict[str, Mask] = field(default_factory=dict)
    origin: dict[str, str] = field(default_factory=dict)
    unused: dict[str, list[str]] = field(default_factory=lambda: {"lung": [], "nodule": []})
    notes: list[str] = field(default_factory=list)
    readings: Readings | None = None

    def take(self, name: str, layer: _Layer) -> None:
        """Take from a layer what none before it had."""
        parts = (("lung", layer.lung), ("nodule", layer.nodule))
        drawn = [(part, mask) for part, mask in parts if mask is not None and mask.any()]
        for part, mask in drawn:
            if part in self.masks:
                self.unused[part].append(name)
            else:
                self.masks[part], self.origin[part] = mask, name
        # What draws nothing may still say why: marks without extent, structures left out.
        if name in self.origin.values() or not drawn:
            self.notes += layer.notes
        if self.origin.get("nodule") == name:
            self.readings = layer.readings

    def unused_notes(self) -> Iterator[str]:
        """Say which sources were not needed."""
        for part, names in self.unused.items():
            if names:
                yield f"{part}s from {self.origin[part]}; unused: {', '.join(names)}"


def draw_layout(source: SourceCase, scan: Scan, lungs: str = THRESHOLD) -> Drawn:
    """Compose the layout of a case.

    Args:
        source: Its files.
        scan: Its CT.
        lungs: How lungs that nobody drew are segmented; see `segment_lungs`.

    Raises:
        CaseError: A file is unusable, lies on another grid, or leaves no lung.
    """
    taken = _Taken()
    for name, read in _layers(source, scan):
        if len(taken.masks) == 2:
            taken.unused["nodule"].append(name)
        else:
            taken.take(name, read())
    if "lung" not in taken.masks:
        taken.masks["lung"] = _segmented(scan, lungs)
        by = "" if lungs == THRESHOLD else f" by {lungs}"
        taken.notes.append(f"lung mask segmented automatically{by}")
    if source.points and "nodule" in taken.masks:
        taken.unused["nodule"].append("points")
    elif source.points:
        taken.take("points", _from_points(source, scan))
    nodule = taken.masks.get("nodule", np.zeros(scan.ct.shape, dtype=bool))
    layout = compose_layout(taken.masks["lung"], nodule)
    _require(scan, layout == LUNG, f"the nodules{_named(source, taken)} cover all of the lungs")
    return Drawn(
        layout=layout,
        readings=taken.readings,
        notes=(*taken.notes, *taken.unused_notes()),
    )


def _named(source: SourceCase, taken: _Taken) -> str:
    """Return where the nodules come from, for a message."""
    origin = taken.origin.get("nodule", "")
    files = ", ".join(source.nodule) if origin == "masks" else ""
    return " " + files if files else f" from {origin}" if origin else ""


def _layers(source: SourceCase, scan: Scan) -> Iterator[tuple[str, Callable[[], _Layer]]]:
    """Yield the sources that a case has, in the order in which they count; reading is left for later."""
    if source.labels:
        yield "segmentation", lambda: _from_labels(source, scan)
    if source.lung or source.nodule:
        yield "masks", lambda: _from_masks(source, scan)
    if scan.stack is None:
        return
    # Loaded late: most workers never read DICOM.
    from factory.ingest.masks.dicom_seg import read_dicom_seg
    from factory.ingest.masks.rtstruct import read_rtstruct

    if source.lidc_xml:
        yield "LIDC-IDRI XML", lambda: _from_readers(source, scan)
    if source.seg:
        yield "DICOM SEG", lambda: _from_annotations(source.seg, read_dicom_seg, scan)
    if source.rtstruct:
        yield "RTSTRUCT", lambda: _from_annotations(source.rtstruct, read_rtstruct, scan)


def _from_labels(source: SourceCase, scan: Scan) -> _Layer:
    roles = dict(source.label_roles or _OWN_ROLES)
    allowed = None if source.label_roles else frozenset({BACKGROUND, *roles})
    labels = _on_grid(scan, source.labels, allowed)
    masks = {
        role: np.isin(labels, [label for label, of in roles.items() if of == role])
        for role in set(roles.values())
    }
    if LUNG in masks:
        named = ", ".join(str(label) for label, role in roles.items() if role == LUNG)
        _require(scan, masks[LUNG], f"{source.labels} has no lung (label {named})")
    return _Layer(lung=masks.get(LUNG), nodule=masks.get(NODULE))


def _from_masks(source: SourceCase, scan: Scan) -> _Layer:
    nodule = _union(scan, source.nodule) if source.nodule else None
    if not source.lung:
        return _Layer(nodule=nodule)
    lung = _union(scan, source.lung)
    _require(scan, lung, f"the lung mask {', '.join(source.lung)} is empty")
    return _Layer(lung=lung, nodule=nodule)


def _from_readers(source: SourceCase, scan: Scan) -> _Layer:
    assert scan.stack is not None, "readers marked the slices of a series"
    readings = read_consensus(scan.case_id, source.lidc_xml, scan.stack)
    return _Layer(nodule=readings.labels > 0, readings=readings, notes=readings.notes)


def _from_annotations(
    paths: tuple[str, ...], read: Callable[..., Annotation], scan: Scan
) -> _Layer:
    """Unite files of one kind: one may hold the lungs, and each of the others a nodule."""
    stack = scan.stack
    assert stack is not None, "segmentations refer to the slices of a series"
    found = [read(scan.case_id, path, stack) for path in paths]

    def united(masks: list[Mask]) -> Mask | None:
        return stack.canonical(np.logical_or.reduce(masks)) if masks else None

    return _Layer(
        lung=united([one.lung for one in found if one.lung is not None]),
        nodule=united([one.nodule for one in found if one.nodule is not None]),
        notes=tuple(dict.fromkeys(note for one in found for note in one.notes)),
    )


def _from_points(source: SourceCase, scan: Scan) -> _Layer:
    return _Layer(
        nodule=draw_points(
            scan.case_id, source.points, scan.ct.shape, scan.affine, embedded_bank()
        ),
        notes=(
            f"{counted(len(source.points), 'nodule')} drawn from points, with shapes of a bank",
        ),
    )


def _segmented(scan: Scan, method: str) -> Mask:
    try:
        return segment_lungs(scan.ct, scan.spacing_mm, method).astype(bool)
    except ValueError as error:
        raise CaseError(
            scan.case_id,
            f"has no lung mask, and none could be segmented ({error}). "
            f"Add {scan.case_id}_lung.nii.gz.",
        ) from error


def _union(scan: Scan, paths: tuple[str, ...]) -> Mask:
    mask = np.zeros(scan.ct.shape, dtype=bool)
    for path in paths:
        mask[_on_grid(scan, path, None) != BACKGROUND] = True
    return mask


def _on_grid(scan: Scan, path: str, allowed: frozenset[int] | None) -> NDArray[np.uint8]:
    """Read a mask that must lie on the CT's grid."""
    labels, affine = read_labels(scan.case_id, path, allowed)
    if labels.shape != scan.ct.shape or _apart_mm(affine, scan) > _APART * min(scan.spacing_mm):
        raise CaseError(
            scan.case_id,
            f"mask {path} has shape (z, y, x) {labels.shape} at {_place(affine)}, but the CT has "
            f"{scan.ct.shape} at {_place(scan.affine)}; expected one grid. Resample the mask onto the "
            "CT.",
        )
    return labels


def _apart_mm(affine: NDArray[np.float64], scan: Scan) -> float:
    """Return how far the corners of another grid of the same shape lie from the scan's."""
    corners = list(itertools.product(*((0, num - 1) for num in scan.ct.shape)))
    pairs = ((ras_from_zyx(affine, at), ras_from_zyx(scan.affine, at)) for at in corners)
    return max(math.dist(*pair) for pair in pairs)


def _place(affine: NDArray[np.float64]) -> str:
    origin = "({:.1f}, {:.1f}, {:.1f}) mm".format(*affine[:3, 3])
    return f"{geometry.describe_spacing(affine)} from {origin}"


def _require(scan: Scan, mask: Mask, problem: str) -> None:
    if not mask.any():
        raise CaseError(
            scan.case_id,
            f"{problem}; expected at least one lung voxel. Draw the lungs, or remove the mask to "
            "have them segmented.",
        )
