"""One case from its files to the model grid."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from factory import geometry
from factory.axes import spacing_zyx
from factory.case import Case
from factory.counted import counted
from factory.errors import CaseError, RecipeError
from factory.ingest.drawn import THRESHOLD, draw_layout
from factory.ingest.readings import count_nodules, nodule_rows
from factory.ingest.scan import Scan, read_scan
from factory.ingest.sources import SourceCase
from factory.intensity import HU_MIN
from factory.layouts import LUNG

FIELDS_OF_VIEW = ("lungs", "scan")

_CUT = 0.1
"""Of the lungs' largest area in a slice, which the scan's first or last slice may show of them."""


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
    nodules: list[dict[str, Any]]
    """The manifest's table of the layout's nodules, with what readers thought of them."""
    notes: list[str]
    """What a reader of the dataset should know of how this case was made."""


def prepare_case(source: SourceCase, config: IngestConfig, lungs: str = THRESHOLD) -> PreparedCase:
    """Read, check and resample one case.

    Args:
        source: Its files.
        config: Grid and field of view.
        lungs: How lungs that nobody drew are segmented; see `segment_lungs`.

    Raises:
        CaseError: A file is unusable or does not fit the others; the message names
            the case, what was found, what was expected and the way out.
    """
    scan = read_scan(source)
    drawn = draw_layout(source, scan, lungs)
    grid = _grid(drawn.layout, scan.affine, config)
    case = Case(
        case_id=source.case_id,
        patient_id=source.patient_id,
        ct=geometry.resample_hu(scan.ct, grid, air_hu=HU_MIN),
        layout=geometry.resample_labels(drawn.layout, grid),
        affine=grid.affine(scan.affine),
    )
    if not (case.layout == LUNG).any():
        raise CaseError(
            source.case_id,
            f"no lung is left on the {config.grid}^3 grid; expected lung voxels at a spacing of "
            f"{geometry.describe_spacing(case.affine)}. Use a finer --grid.",
        )
    nodules = nodule_rows(case.layout, case.affine, drawn.readings, grid)
    return PreparedCase(
        case=case,
        source_shape=scan.ct.shape,
        source_affine=scan.affine,
        nodules=nodules,
        notes=[
            *source.notes,
            *scan.notes,
            *drawn.notes,
            *_cut_off(drawn.layout, scan),
            *_lost(count_nodules(drawn.layout), len(nodules)),
        ],
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


def _cut_off(layout: NDArray[np.uint8], scan: Scan) -> list[str]:
    """Note lungs that the scan ends within: of a few slices the model grid makes a whole field of view."""
    areas = np.count_nonzero(layout, axis=(1, 2))
    cut = [
        end for end, area in (("bottom", areas[0]), ("top", areas[-1])) if area > _CUT * areas.max()
    ]
    if not cut:
        return []
    length_mm = len(areas) * scan.spacing_mm[0]
    return [
        f"the lungs are cut off at the {' and the '.join(cut)} of the scan, {length_mm:.0f} mm long"
    ]


def _lost(before: int, after: int) -> list[str]:
    """Note nodules that the model grid is too coarse for, or where two became one."""
    return (
        [f"{counted(before, 'nodule')} in the scan, {after} on the model grid"]
        if after != before
        else []
    )
