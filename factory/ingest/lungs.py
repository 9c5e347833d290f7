"""Lung masks from HU alone, for scans that come without one.

    HU --coarsen--> air in the body --minus airway--> left, right --close--> mask --refine--> HU grid

Air is found by a threshold, as is usual since Hu, Hoffman and Reinhardt (IEEE TMI 2001).
What makes air a lung is where it lies: inside the body, outside airway and bowel.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from factory.ingest.lung_models import segment_by_model
from factory.ingest.pleura import DENT_MM, wall_masses

LUNG_HU = -320
"""Lung and other air lie below, soft tissue above."""

BORDER_HU = -200
"""Experts draw the pleura about here: half of a border voxel's volume is still lung."""

MIN_LUNG_ML = 50.0
"""Less air than this inside a body is not taken for lungs."""

Mask = NDArray[np.bool_]
Labels = NDArray[np.integer[Any]]
Spacing = tuple[float, float, float]

_LUMEN_HU = -600
_WORKING_MM = 2.0
_TABLE_MM = 6.0
_CLOSING_MM = 8.0
_TRACHEA_MM2 = (50.0, 750.0)
_BRONCHI_MM2 = (40.0, 900.0)
_MIN_AIRWAY_MM = 30.0
_SECOND_LUNG_SHARE = 0.10
_IN_PLANE = ndimage.generate_binary_structure(3, 1) & np.array([False, True, False])[:, None, None]


def segment_lungs(
    ct_hu: NDArray[np.int16], spacing_mm: Spacing, method: str = "threshold"
) -> NDArray[np.uint8]:
    """Return a mask of both lungs, with the vessels and nodules inside and at their border.

    Trachea, main bronchi, bowel gas and the air around the body are left out. Consolidated
    lung, effusions, masses at the mediastinum, and those wider than about 30 mm at the chest
    wall are found in part or not at all.

    Args:
        ct_hu: (z, y, x) HU in RAS orientation: z grows upwards, y to the front.
        spacing_mm: Voxel spacing (z, y, x) in mm; 0.5 to 5 mm.
        method: `threshold`, or one of `LUNG_MODELS` that is installed, `lungmask` or
            `totalsegmentator`.

    Returns:
        (z, y, x) uint8, 1 inside the lungs.

    Raises:
        ValueError: The array is no volume, the spacing is none, or there is no lung.
        FactoryError: The method is not known, or not installed.
    """
    _check(ct_hu, spacing_mm)
    if method != "threshold":
        return segment_by_model(method, ct_hu, spacing_mm)
    coarse_hu, coarse_mm, steps = _coarsened(ct_hu, spacing_mm)
    body = _body(coarse_hu, coarse_mm)
    air = (coarse_hu < LUNG_HU) & body
    airway = _airway(air & (coarse_hu < _LUMEN_HU), body, coarse_mm)
    sides = _lung_sides(air & ~airway, coarse_hu, coarse_mm)
    lungs = np.zeros_like(air)
    middle = float(np.nonzero(body)[2].mean())
    for side in sides:
        closed = _closed(side, coarse_mm, _CLOSING_MM)
        wide = _closed(side, coarse_mm, DENT_MM)
        lungs |= closed | wall_masses(closed, wide, coarse_hu, middle, coarse_mm)
    lungs &= ~airway
    return _refined(lungs, air, airway, ct_hu, steps).astype(np.uint8)


def _check(ct_hu: NDArray[np.int16], spacing_mm: Spacing) -> None:
    if ct_hu.ndim != 3 or 0 in ct_hu.shape:
        raise ValueError(
            f"found an array of shape {ct_hu.shape}, expected a CT of shape (z, y, x). "
            "Pass one volume, without channels."
        )
    if len(spacing_mm) != 3 or not all(0.0 < mm < np.inf for mm in spacing_mm):
        raise ValueError(
            f"found spacing (z, y, x) {spacing_mm} mm, expected three lengths above 0 mm. "
            "Take them from the scan's affine."
        )


def _coarsened(
    ct_hu: NDArray[np.int16], spacing_mm: Spacing
) -> tuple[NDArray[np.float32], Spacing, tuple[int, int, int]]:
    """Return block means of about `_WORKING_MM`, their spacing and the blocks' (z, y, x) size."""
    z, y, x = (max(1, round(_WORKING_MM / mm)) for mm in spacing_mm)
    steps = (z, y, x)
    padding = [(0, -num % step) for num, step in zip(ct_hu.shape, steps, strict=True)]
    padded = np.pad(ct_hu, padding, mode="edge") if any(p[1] for p in padding) else ct_hu
    num_z, num_y, num_x = (num // step for num, step in zip(padded.shape, steps, strict=True))
    mean = np.zeros((num_z, num_y, num_x), dtype=np.float32)
    for corner in np.ndindex(steps):
        mean += padded[corner[0] :: z, corner[1] :: y, corner[2] :: x]
    mean /= z * y * x
    return mean, (spacing_mm[0] * z, spacing_mm[1] * y, spacing_mm[2] * x), steps


def _body(hu: NDArray[np.float32], spacing_mm: Spacing) -> Mask:
    """Return the body with all it holds, without the air, table and blankets around it."""
    tissue = hu > LUNG_HU
    if not tissue.any():
        return np.zeros_like(tissue)
    # Flat thin things behind the patient are the table's shell, which may enclose foam. In
    # front, a lean patient's chest wall can be as thin.
    back = slice(0, int(np.nonzero(tissue)[1].mean()))
    num_thin = round(_TABLE_MM / spacing_mm[1])
    tissue[:, back] = ndimage.binary_opening(
        tissue[:, back], np.ones((1, num_thin + 1, 1), dtype=np.bool_)
    )
    gaps, _ = ndimage.label(~tissue, _IN_PLANE)
    num_voxels = np.bincount(gaps.ravel())
    num_at_border = _counts_at_border(gaps, len(num_voxels))
    # A scan cropped to the lungs has lung at its border too, but only where it bulges.
    is_outside = num_at_border > np.sqrt(num_voxels)
    is_outside[0] = False
    return ~is_outside[gaps]


def _counts_at_border(labels: Labels, num_labels: int) -> NDArray[np.int64]:
    """Return for each label how many of its voxels lie at the border of their slice."""
    border = np.concatenate(
        [labels[:, [0, -1]].ravel(), labels[:, 1:-1, [0, -1]].ravel()],
    )
    return np.bincount(border, minlength=num_labels)


def _is_mostly(what: Mask, labels: Labels, num_voxels: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return for each label whether more than half of its voxels are `what`."""
    num_such = np.bincount(labels[what], minlength=len(num_voxels))
    mostly: NDArray[np.bool_] = 2 * num_such > num_voxels
    return mostly


def _airway(lumen: Mask, body: Mask, spacing_mm: Spacing) -> Mask:
    """Return trachea and main bronchi with their walls, followed from the top downwards."""
    airway = np.zeros_like(lumen)
    for top in range(lumen.shape[0] - 1, lumen.shape[0] // 3, -1):
        for start in _round_lumens(lumen[top], body[top], spacing_mm):
            path = _followed(lumen, top, start, spacing_mm)
            if len(path) * spacing_mm[0] < _MIN_AIRWAY_MM:
                continue
            for depth, section in enumerate(path):
                airway[top - depth] |= section
            num_wall = max(1, round(2.0 / spacing_mm[2]))
            return ndimage.binary_dilation(airway, _IN_PLANE, iterations=num_wall)
    return airway


def _round_lumens(lumen: Mask, body: Mask, spacing_mm: Spacing) -> list[Mask]:
    """Return the sections of one slice that could be a trachea's: midline, round, 8-30 mm."""
    if not body.any():
        return []
    parts, num_parts = ndimage.label(lumen)
    middle = float(np.nonzero(body)[1].mean())
    found: list[Mask] = []
    for part, (rows, columns) in enumerate(ndimage.find_objects(parts, num_parts), start=1):
        height_mm = (rows.stop - rows.start) * spacing_mm[1]
        width_mm = (columns.stop - columns.start) * spacing_mm[2]
        off_mm = abs((columns.start + columns.stop - 1) / 2 - middle) * spacing_mm[2]
        if max(height_mm, width_mm) > 2.5 * min(height_mm, width_mm) or off_mm > 30.0:
            continue
        section = parts == part
        if _TRACHEA_MM2[0] <= section.sum() * spacing_mm[1] * spacing_mm[2] <= _TRACHEA_MM2[1]:
            found.append(section)
    return found


def _followed(lumen: Mask, top: int, section: Mask, spacing_mm: Spacing) -> list[Mask]:
    """Return an airway's sections from slice `top` down, through the fork, to the lungs."""
    path = [section]
    for z in range(top - 1, -1, -1):
        parts, _ = ndimage.label(lumen[z])
        touched = np.unique(parts[ndimage.binary_dilation(path[-1])])
        areas_mm2 = np.bincount(parts.ravel()) * spacing_mm[1] * spacing_mm[2]
        low, high = _BRONCHI_MM2
        kept = [part for part in touched if part and low <= areas_mm2[part] <= high]
        if not kept:
            break
        path.append(np.isin(parts, kept))
    return path


def _lung_sides(air: Mask, hu: NDArray[np.float32], spacing_mm: Spacing) -> list[Mask]:
    """Return one mask per lung, or one for both where they cannot be told apart.

    Raises:
        ValueError: There is not enough air for a lung.
    """
    cores, chosen = _cores(air)
    voxel_ml = float(np.prod(spacing_mm)) / 1000.0
    found_ml = float(np.isin(cores, chosen).sum()) * voxel_ml
    if found_ml < MIN_LUNG_ML:
        raise ValueError(
            f"found {found_ml:.0f} ml of air within the body, expected at least "
            f"{MIN_LUNG_ML:.0f} ml of lung below {LUNG_HU} HU. Check that the values are HU and "
            "that the scan shows the chest."
        )
    kept = _without_gas(cores, chosen, hu)
    nearest = _nearest_core(cores)
    parts, _ = ndimage.label(air & kept[nearest])
    lungs = np.isin(parts, np.unique(parts[np.isin(cores, chosen)]))
    owner = _nearest_core(np.where(np.isin(cores, chosen), cores, 0))
    return [lungs & (owner == core) for core in chosen]


def _cores(air: Mask) -> tuple[Labels, list[int]]:
    """Return labelled parts of the eroded air, and which of them are the lungs' cores."""
    # Eroded, lungs let go of bowel gas under a thin diaphragm and of each other.
    cores, _ = ndimage.label(ndimage.binary_erosion(air, border_value=1))
    volumes = np.bincount(cores.ravel())
    volumes[0] = 0
    largest = np.argsort(-volumes, kind="stable")[:2]
    chosen = [int(core) for core in largest if volumes[core] > _SECOND_LUNG_SHARE * volumes.max()]
    return cores, chosen


def _without_gas(cores: Labels, chosen: list[int], hu: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return for each core whether it is lung: gas is emptier than the lungs of its patient."""
    lung_hu = np.median(hu[cores == chosen[0]])
    is_gas = _is_mostly(hu < (lung_hu - 1000.0) / 2.0, cores, np.bincount(cores.ravel()))
    is_gas[chosen] = False
    return ~is_gas


def _nearest_core(cores: Labels) -> Labels:
    indices = ndimage.distance_transform_edt(
        cores == 0, return_distances=False, return_indices=True
    )
    nearest: Labels = cores[tuple(indices)]
    return nearest


def _closed(lung: Mask, spacing_mm: Spacing, radius_mm: float) -> Mask:
    """Return a lung with the vessels and nodules that a ball of this radius cannot enter."""
    margins = [int(np.ceil(radius_mm / mm)) + 1 for mm in spacing_mm]
    box = ndimage.find_objects(lung.astype(np.int8))[0]
    wide = np.pad(lung[box], [(margin, margin) for margin in margins])
    dilated = ndimage.distance_transform_edt(~wide, sampling=spacing_mm) <= radius_mm
    closed = ndimage.distance_transform_edt(dilated, sampling=spacing_mm) > radius_mm
    inner = tuple(slice(margin, -margin) for margin in margins)
    filled = lung.copy()
    filled[box] |= closed[inner]
    return ndimage.binary_fill_holes(filled)


def _refined(
    lungs: Mask, air: Mask, airway: Mask, ct_hu: NDArray[np.int16], steps: tuple[int, int, int]
) -> Mask:
    """Return the lungs on the scan's own grid, their border drawn by the scan's own HU.

    Only the rim moves, one coarse voxel either way: outwards through partial volume, and
    inwards where what was aerated as a block is tissue in full resolution.
    """
    around = ndimage.binary_dilation(lungs)
    box = tuple(
        slice(part.start * step, min(part.stop * step, num))
        for part, step, num in zip(
            ndimage.find_objects(around.astype(np.int8))[0], steps, ct_hu.shape, strict=True
        )
    )
    is_border_air = ct_hu[box] < BORDER_HU
    rim = lungs & air & ~ndimage.binary_erosion(lungs, border_value=1)
    fine = _finer(lungs & ~rim, steps, box)
    fine |= _finer((around & ~lungs & ~airway) | rim, steps, box) & is_border_air
    mask = np.zeros(ct_hu.shape, dtype=np.bool_)
    mask[box] = fine
    return mask


def _finer(coarse: Mask, steps: tuple[int, int, int], box: tuple[slice, ...]) -> Mask:
    """Return the part of a coarse mask that lies in a box of the fine grid, on that grid."""
    z, y, x = (
        np.arange(part.start, part.stop) // step for part, step in zip(box, steps, strict=True)
    )
    fine: Mask = coarse[z][:, y][:, :, x]
    return fine
