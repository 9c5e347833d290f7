"""Phantom thoraxes: CTs of nobody, with lungs and nodules that are known exactly.

They stand in for patients in tests, demonstrations and benchmarks. A phantom shows
what a chest CT shows (fat, muscle, bone, heart and great vessels, airways, branching
vessels, diaphragm, nodules, noise) and is no substitute for one in any result.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from factory.axes import affine_from_zyx
from factory.errors import UsageError
from factory.intensity import HU_MAX, HU_MIN
from factory.phantom.anatomy import Anatomy, draw_anatomy
from factory.phantom.canvas import AIR_HU, Canvas, Field
from factory.phantom.chest import GAS_HU, paint_chest, shape_chest
from factory.phantom.nodules import paint_nodules
from factory.phantom.vessels import paint_vessels
from factory.phantom.wall import paint_bones, paint_wall

__all__ = ["FIELD_OF_VIEW_MM", "Phantom", "draw_phantom"]

FIELD_OF_VIEW_MM = (300.0, 270.0, 360.0)
"""Extent (z, y, x) of a phantom scan whose spacing is not given, in mm."""

_DEPENDENT_HU_PER_MM = 0.35
"""How much denser the lung gets towards the back of a patient who lies on it."""


@dataclass(frozen=True, slots=True, eq=False)
class Phantom:
    """A phantom CT with its ground truth, on one (z, y, x) grid in RAS orientation."""

    ct: NDArray[np.int16]
    """(z, y, x) HU."""

    lung: NDArray[np.bool_]
    """(z, y, x) both lungs with their vessels and nodules, without the main bronchi."""

    nodule: NDArray[np.uint8]
    """(z, y, x) 0 outside, 1 to n inside the n nodules."""

    affine: NDArray[np.float64]
    """(4, 4) voxel (i, j, k) = (x, y, z) index to RAS mm."""

    spacing_mm: tuple[float, float, float]
    """Voxel spacing (z, y, x) in mm."""


def draw_phantom(
    seed: int,
    *,
    size: tuple[int, int, int] = (60, 96, 128),
    spacing_mm: tuple[float, float, float] | None = None,
) -> Phantom:
    """Draw the thorax of one phantom patient.

    The seed fixes the patient, in millimetres; size and spacing only say how finely
    and how much of the patient is scanned. The same arguments give the same voxels.

    Args:
        seed: Names the patient; 0 or more.
        size: Voxels (z, y, x).
        spacing_mm: Voxel spacing (z, y, x) in mm; by default such that `size` voxels
            span `FIELD_OF_VIEW_MM`. The field of view is centred on the chest.

    Returns:
        The CT and its exact lungs and nodules (one to four, 6 to 25 mm, inside the lungs).

    Raises:
        UsageError: Seed, size or spacing cannot be meant, or no lung is in view.
    """
    spacing_mm = spacing_mm or _spacing_over_field_of_view(size)
    _check(seed, size, spacing_mm)
    patient, texture, vessels, nodules, noise = np.random.default_rng(seed).spawn(5)
    anatomy = draw_anatomy(patient)
    canvas = Canvas(size, spacing_mm, anatomy.rotation, anatomy.shift_mm)
    chest = shape_chest(canvas, anatomy)
    lung = chest.lungs < 0.0
    if not lung.any():
        extent_mm = tuple(round(num * mm) for num, mm in zip(size, spacing_mm, strict=True))
        raise UsageError(
            f"phantom {seed}: found no lung voxel in the {extent_mm} mm (z, y, x) field of view; "
            f"expected about {FIELD_OF_VIEW_MM} mm. Take more voxels or a larger spacing."
        )
    paint_wall(canvas, anatomy, chest)
    paint_chest(canvas, anatomy, chest)
    paint_bones(canvas, anatomy)
    canvas.paint(chest.lungs, _lung_hu(canvas, anatomy, texture))
    paint_vessels(canvas, anatomy, chest.lungs, vessels)
    canvas.paint(chest.airway, GAS_HU)
    labels = paint_nodules(canvas, chest.lungs, nodules)
    ct = _scan(canvas.hu, anatomy.noise_hu, noise)
    return Phantom(ct, lung, labels, _affine(size, spacing_mm), spacing_mm)


def _spacing_over_field_of_view(size: tuple[int, int, int]) -> tuple[float, float, float]:
    z, y, x = (mm / max(num, 1) for mm, num in zip(FIELD_OF_VIEW_MM, size, strict=True))
    return (z, y, x)


def _check(seed: int, size: tuple[int, int, int], spacing_mm: tuple[float, float, float]) -> None:
    if seed < 0:
        raise UsageError(f"phantom seed is {seed}; expected 0 or more. Give a whole number.")
    if min(size) < 1:
        raise UsageError(
            f"phantom {seed}: size (z, y, x) is {size} voxels; expected at least 1 along each axis."
        )
    if not all(0.0 < mm < np.inf for mm in spacing_mm):
        raise UsageError(
            f"phantom {seed}: spacing (z, y, x) is {spacing_mm} mm; expected more than 0 mm."
        )


def _lung_hu(canvas: Canvas, anatomy: Anatomy, rng: np.random.Generator) -> Field:
    """Return aerated lung: denser at the back, mottled over a few millimetres."""
    dependent = -(canvas.y - anatomy.chest_centre_y) * _DEPENDENT_HU_PER_MM
    mottling = rng.standard_normal(canvas.hu.shape, dtype=np.float32)
    sigma = 3.0 / canvas.voxel_mm
    smooth = ndimage.gaussian_filter(mottling, sigma)
    smooth *= 12.0 / max(float(smooth.std()), 1e-6)
    return np.asarray(anatomy.lung_hu + dependent + smooth, dtype=np.float32)


def _scan(hu: Field, noise_hu: float, rng: np.random.Generator) -> NDArray[np.int16]:
    """Return what a scanner would show: slightly blurred in plane, with correlated noise."""
    blurred = ndimage.gaussian_filter(hu, (0.0, 0.45, 0.45))
    noise = rng.standard_normal(hu.shape, dtype=np.float32)
    noise = ndimage.gaussian_filter(noise, (0.0, 0.55, 0.55))
    noise *= noise_hu / max(float(noise.std()), 1e-6)
    # Fewer photons are lost in air, so there is less noise in it.
    noise *= np.clip((blurred - 2.0 * AIR_HU) / -AIR_HU, 0.4, 1.5) - 0.6
    return np.asarray(np.clip(np.rint(blurred + noise), HU_MIN, HU_MAX), dtype=np.int16)


def _affine(
    size: tuple[int, int, int], spacing_mm: tuple[float, float, float]
) -> NDArray[np.float64]:
    """Return the affine of a scan whose field of view is centred on RAS (0, 0, 0)."""
    z, y, x = (-(num - 1) / 2 * mm for num, mm in zip(size, spacing_mm, strict=True))
    return affine_from_zyx(spacing_mm, (z, y, x))
