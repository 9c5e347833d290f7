"""One case from its files to the model grid."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from factory import geometry
from factory.axes import spacing_zyx
from factory.case import Case
from factory.errors import CaseError, RecipeError
from factory.ingest.lungs import segment_lungs
from factory.ingest.nifti import has_orientation, read_ct, read_labels
from factory.ingest.sources import SourceCase
from factory.intensity import HU_MIN
from factory.layouts import BACKGROUND, LUNG, NODULE, compose_layout
from factory.nodules.measure import measure_nodules

FIELDS_OF_VIEW = ("lungs", "scan")


@dataclass(frozen=True, kw_only=True, slots=True)
class IngestConfig:
    """Settings of the `ingest` job."""

    grid: int = 128
    """Voxels along each edge of the model grid; a multiple of 16."""

    field_of_view: str = "lungs"
    """What the grid covers: the `lungs`' box plus a margin, or the whole `scan`."""

    margin_mm: float = 20.0
    """Margin around the lungs' box, where the scan reaches that far."""

    spacing_mm: float = 0.0
    """Edge of an isotropic grid voxel, centred on the lungs; 0 fits the grid to the field of view."""

    def __post_init__(self) -> None:
        if self.grid < 16 or self.grid % 16:
            raise RecipeError(
                f"[ingest] grid: found {self.grid}; expected a multiple of 16. Take 64 or 128."
            )
        if self.field_of_view not in FIELDS_OF_VIEW:
            raise RecipeError(
                f"[ingest] field_of_view: found {self.field_of_view!r}; expected one of "
                f"{', '.join(FIELDS_OF_VIEW)}."
            )
        for name in ("margin_mm", "spacing_mm"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise RecipeError(
                    f"[ingest] {name}: found {getattr(self, name)}; expected 0 or more, in mm. Correct "
                    "the recipe."
                )


@dataclass(frozen=True, kw_only=True, slots=True)
class PreparedCase:
    """A case on the model grid, with what leads back to its scan."""

    case: Case
    source_shape: tuple[int, ...]
    """(z, y, x) of the scan in closest-canonical orientation."""
    source_affine: NDArray[np.float64]
    """4x4, voxel (i, j, k) of that array to RAS mm."""
    notes: list[str]
    """What a reader of the dataset should know of how this case was made."""


def prepare_case(source: SourceCase, config: IngestConfig) -> PreparedCase:
    """Read, check and resample one case.

    Raises:
        CaseError: A file is unusable or does not fit the others; the message names
            the case, what was found, what was expected and the way out.
    """
    ct, affine = read_ct(source.case_id, source.ct)
    notes = [] if has_orientation(source.ct) else ["no orientation in the header: assumed"]
    layout = _layout(source, ct, affine, notes)
    grid = _grid(layout, affine, config)
    case = Case(
        case_id=source.case_id,
        patient_id=source.patient_id,
        ct=geometry.resample_hu(ct, grid, air_hu=HU_MIN),
        layout=geometry.resample_labels(layout, grid),
        affine=grid.affine(affine),
    )
    if not (case.layout == LUNG).any():
        raise CaseError(
            source.case_id,
            f"no lung is left on the {config.grid}^3 grid; expected lung voxels at a spacing of "
            f"{geometry.describe_spacing(case.affine)}. Use a finer --grid.",
        )
    _note_lost_nodules(layout, affine, case, notes)
    return PreparedCase(
        case=case,
        source_shape=ct.shape,
        source_affine=affine,
        notes=notes,
    )


def _layout(
    source: SourceCase, ct: NDArray[np.int16], affine: NDArray[np.float64], notes: list[str]
) -> NDArray[np.uint8]:
    if source.labels:
        labels = _on_grid(source, source.labels, frozenset({0, LUNG, NODULE}), ct, affine)
        _require(source, labels == LUNG, f"{source.labels} has no lung (label {LUNG})")
        return labels
    nodule = _union(source, source.nodule, ct, affine)
    if source.lung:
        lung = _union(source, source.lung, ct, affine)
        _require(source, lung, f"the lung mask {', '.join(source.lung)} is empty")
    else:
        lung = _segmented(source, ct, affine)
        notes.append("lung mask segmented automatically")
    layout = compose_layout(lung, nodule)
    _require(
        source, layout == LUNG, f"the nodules {', '.join(source.nodule)} cover all of the lungs"
    )
    return layout


def _segmented(
    source: SourceCase, ct: NDArray[np.int16], affine: NDArray[np.float64]
) -> NDArray[np.bool_]:
    try:
        return segment_lungs(ct, spacing_zyx(affine)).astype(bool)
    except ValueError as error:
        raise CaseError(
            source.case_id,
            f"has no lung mask, and none could be segmented ({error}). "
            f"Add {source.case_id}_lung.nii.gz.",
        ) from error


def _union(
    source: SourceCase,
    paths: tuple[str, ...],
    ct: NDArray[np.int16],
    affine: NDArray[np.float64],
) -> NDArray[np.bool_]:
    mask = np.zeros(ct.shape, dtype=bool)
    for path in paths:
        mask[_on_grid(source, path, None, ct, affine) != BACKGROUND] = True
    return mask


def _on_grid(
    source: SourceCase,
    path: str,
    allowed: frozenset[int] | None,
    ct: NDArray[np.int16],
    affine: NDArray[np.float64],
) -> NDArray[np.uint8]:
    """Read a mask that must lie on the CT's grid."""
    labels, mask_affine = read_labels(source.case_id, path, allowed)
    # A hundredth of a millimetre: headers store float32, and converters round.
    if labels.shape != ct.shape or not np.allclose(mask_affine, affine, atol=1e-2):
        raise CaseError(
            source.case_id,
            f"mask {path} has shape (z, y, x) {labels.shape} at {_place(mask_affine)}, but the CT has "
            f"{ct.shape} at {_place(affine)}; expected one grid. Resample the mask onto the CT.",
        )
    return labels


def _place(affine: NDArray[np.float64]) -> str:
    origin = "({:.1f}, {:.1f}, {:.1f}) mm".format(*affine[:3, 3])
    return f"{geometry.describe_spacing(affine)} from {origin}"


def _require(source: SourceCase, mask: NDArray[np.bool_], problem: str) -> None:
    if not mask.any():
        raise CaseError(
            source.case_id,
            f"{problem}; expected at least one lung voxel. Draw the lungs, or remove the mask to "
            "have them segmented.",
        )


def _grid(
    layout: NDArray[np.uint8], affine: NDArray[np.float64], config: IngestConfig
) -> geometry.ModelGrid:
    spacing = spacing_zyx(affine)
    # The nodules are left out: a stray contour far from the lungs must not stretch the grid.
    lung = layout == LUNG
    if config.spacing_mm:
        return geometry.grid_at_spacing(
            lung, spacing, size=config.grid, target_mm=config.spacing_mm
        )
    if config.field_of_view == "scan":
        return geometry.grid_over_scan(layout.shape, size=config.grid)
    return geometry.grid_over_box(lung, spacing, size=config.grid, margin_mm=config.margin_mm)


def _note_lost_nodules(
    layout: NDArray[np.uint8], affine: NDArray[np.float64], case: Case, notes: list[str]
) -> None:
    before = len(measure_nodules(layout, affine))
    after = len(measure_nodules(case.layout, case.affine))
    if after != before:
        notes.append(f"{before} nodules in the scan, {after} on the model grid")
