"""What the rib cage holds: mediastinum, diaphragm, upper abdomen and the lungs' shape."""

from dataclasses import dataclass

import numpy as np

from factory.phantom.anatomy import Anatomy
from factory.phantom.canvas import (
    Canvas,
    Field,
    Point,
    intersection,
    radial_distance,
    ramp,
    smooth_union,
    superellipse,
)

FAT_HU = -100.0
MUSCLE_HU = 50.0
LIVER_HU = 60.0
GAS_HU = -960.0

_SHOULDER_Z = -20.0
"""Height at which the chest begins to narrow towards the apex."""


@dataclass(frozen=True, slots=True)
class Chest:
    """Distances, in mm and negative inside, that the painting needs more than once."""

    cavity: Field
    """Inside of the rib cage."""

    below: Field
    """Underneath the diaphragm."""

    lungs: Field
    """Both lungs, with all that runs through them."""

    heart: Field
    great_vessels: Field
    airway: Field
    """Lumen of the trachea and the main bronchi."""


def chest_scale(anatomy: Anatomy, z: Field) -> Field:
    """Return the chest's width at height `z` relative to its widest."""
    top = anatomy.apex_z + 16.0
    upper = np.clip((z - _SHOULDER_Z) / (top - _SHOULDER_Z), 0.0, 0.995)
    lower = np.clip((_SHOULDER_Z - z) / 120.0, 0.0, 1.5)
    scale: Field = (1.0 - upper**2.3) ** (1.0 / 2.3) * (1.0 - 0.05 * lower**2)
    return scale


def spine_y(anatomy: Anatomy, z: Field) -> Field:
    """Return where the vertebral bodies' middle lies at height `z`: a gentle kyphosis."""
    y: Field = anatomy.spine_y + 14.0 * (z / 140.0) ** 2
    return y


def shape_chest(canvas: Canvas, anatomy: Anatomy) -> Chest:
    """Work out the chest's shapes; nothing is painted yet."""
    cavity = _cavity(canvas, anatomy)
    below = 0.8 * (canvas.z - _diaphragm_z(canvas, anatomy))
    heart = np.maximum(_heart(canvas, anatomy), -1.0 - below)
    great_vessels, airway = _great_vessels(canvas, anatomy), _airway(canvas)
    spine = _spine(canvas, anatomy)
    # The lungs nearly meet in front of the heart; this sheet keeps them two.
    sheet = np.maximum(np.abs(canvas.x + 3.0) - 2.0, -30.0 - canvas.y)
    oesophagus = _oesophagus(canvas, anatomy)
    mediastinum = smooth_union(
        [sheet, heart, great_vessels, airway - 3.0, spine, oesophagus], blend_mm=14.0
    )
    lungs = intersection(cavity, _apices(canvas, anatomy), 3.5 - mediastinum, -below)
    return Chest(cavity, below, lungs, heart, great_vessels, airway)


def paint_chest(canvas: Canvas, anatomy: Anatomy, chest: Chest) -> None:
    """Paint all that lies within the rib cage except the lungs."""
    canvas.paint(chest.cavity, FAT_HU + 8.0)
    _paint_abdomen(canvas, anatomy, chest)
    canvas.paint(np.abs(chest.below + 1.5) - 1.8 + 1e3 * (chest.cavity > 2.0), MUSCLE_HU)
    canvas.paint(_oesophagus(canvas, anatomy), 35.0)
    canvas.paint(chest.heart, 55.0)
    canvas.paint(chest.heart + 11.0, anatomy.blood_hu)
    canvas.paint(chest.great_vessels, anatomy.blood_hu)
    canvas.paint(chest.airway - 1.6, 20.0)


def _cavity(canvas: Canvas, anatomy: Anatomy) -> Field:
    scale = chest_scale(anatomy, canvas.z)
    # The upper ribs lean back: the chest's front recedes more than its back.
    centre_y = anatomy.chest_centre_y - 0.30 * anatomy.chest_y * (1.0 - scale)
    return superellipse(
        canvas.x, canvas.y - centre_y, anatomy.chest_x * scale, anatomy.chest_y * scale, 2.25
    )


def _apices(canvas: Canvas, anatomy: Anatomy) -> Field:
    """Return the distance to two domes that round off the top of each lung."""
    beside = np.abs(canvas.x) - 42.0
    ahead = canvas.y - (anatomy.chest_centre_y - 10.0)
    above = np.clip(canvas.z - _SHOULDER_Z, 0.0, None)
    height = anatomy.apex_z - _SHOULDER_Z
    relative = (
        np.abs(beside / (anatomy.chest_x - 36.0)) ** 2.4
        + np.abs(ahead / (anatomy.chest_y + 14.0)) ** 2.4
        + (above / height) ** 2.4
    ) ** (1.0 / 2.4)
    return radial_distance(relative, np.sqrt(beside**2 + ahead**2 + above**2), height)


def _diaphragm_z(canvas: Canvas, anatomy: Anatomy) -> Field:
    """Return the diaphragm's height: two domes that fall towards the wall, most at the back."""
    top = anatomy.dome_left_z + ramp(canvas.x, -30.0, 30.0) * (
        anatomy.dome_right_z - anatomy.dome_left_z
    )
    beside = (np.abs(canvas.x) - 0.46 * anatomy.chest_x) / (0.58 * anatomy.chest_x)
    ahead = (canvas.y - anatomy.chest_centre_y - 12.0) / anatomy.chest_y
    fall = np.sqrt(1.0 + (beside**2 + ahead**2) * 2.2) - 1.0
    height: Field = top - 48.0 * fall - 10.0 * np.clip(-ahead, 0.0, None)
    return height


def _heart(canvas: Canvas, anatomy: Anatomy) -> Field:
    size, y, turn = anatomy.heart, anatomy.chest_centre_y, anatomy.heart_turn_deg
    base_z = 0.5 * (anatomy.dome_left_z + anatomy.dome_right_z)
    z = base_z + 32.0
    # x is negative on the patient's left, where the ventricles and the apex lie.
    ventricles = canvas.ellipsoid(
        (-24.0, y + 20.0, z - 4.0), (40.0 * size, 54.0 * size, 44.0 * size), turn_deg=-turn
    )
    right_atrium = canvas.ellipsoid(
        (20.0, y + 14.0, z + 4.0), (26.0 * size, 30.0 * size, 36.0 * size)
    )
    left_atrium = canvas.ellipsoid(
        (0.0, y - 12.0, z + 16.0), (32.0 * size, 19.0 * size, 20.0 * size)
    )
    cava = canvas.tubes(([(20.0, y - 4.0, -150.0), (20.0, y + 2.0, z)], 10.0), reach_mm=24.0)
    return smooth_union([ventricles, right_atrium, left_atrium, cava], blend_mm=10.0)


def _great_vessels(canvas: Canvas, anatomy: Anatomy) -> Field:
    y, arch, wide = anatomy.chest_centre_y, anatomy.arch_z, anatomy.aorta_mm
    back = anatomy.spine_y + 16.0
    aorta: list[Point] = [
        (-4.0, y + 20.0, -12.0),
        (8.0, y + 26.0, 12.0),
        (10.0, y + 24.0, arch - 20.0),
        (2.0, y + 14.0, arch - 8.0),
        (-12.0, y - 4.0, arch - 6.0),
        (-22.0, back + 8.0, arch - 12.0),
        (-25.0, back - 2.0, arch - 30.0),
        (-24.0, back - 3.0, -40.0),
        (-12.0, back + 10.0, -160.0),
    ]
    trunk: list[Point] = [(-24.0, y + 36.0, -8.0), (-22.0, y + 22.0, 14.0), (-16.0, y + 6.0, 20.0)]
    right: list[Point] = [(-16.0, y + 6.0, 20.0), (14.0, y, 14.0), (40.0, y - 6.0, 8.0)]
    left: list[Point] = [(-16.0, y + 6.0, 20.0), (-34.0, y - 8.0, 24.0), (-46.0, y - 20.0, 16.0)]
    cava: list[Point] = [(18.0, y + 12.0, 90.0), (24.0, y + 14.0, 50.0), (26.0, y + 10.0, -10.0)]
    neck: list[Point] = [(4.0, y + 10.0, arch - 6.0), (24.0, y, 100.0), (34.0, y - 6.0, 150.0)]
    carotid: list[Point] = [(-8.0, y, arch - 4.0), (-20.0, y - 8.0, 100.0), (-26.0, y - 8.0, 150.0)]
    narrowing = wide - np.array([0.0, 0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 4.5])
    return canvas.tubes(
        (aorta, narrowing.tolist()),
        (trunk, [14.0, 13.0, 11.0]),
        (right, [10.0, 9.5, 8.0]),
        (left, [10.5, 9.5, 8.0]),
        (cava, 8.5),
        (neck, [6.0, 5.0, 4.5]),
        (carotid, [4.5, 4.0, 4.0]),
        reach_mm=20.0,
    )


def _airway(canvas: Canvas) -> Field:
    carina: Point = (3.0, -14.0, 26.0)
    trachea: list[Point] = [(0.0, 2.0, 170.0), (2.0, -8.0, 80.0), carina]
    right: list[Point] = [carina, (20.0, -18.0, 8.0), (38.0, -20.0, -4.0)]
    left: list[Point] = [carina, (-20.0, -20.0, 8.0), (-44.0, -24.0, -2.0)]
    return canvas.tubes(
        (trachea, [8.5, 8.5, 9.0]),
        (right, [7.0, 6.0, 5.0]),
        (left, [6.5, 5.5, 4.5]),
        reach_mm=20.0,
    )


def _spine(canvas: Canvas, anatomy: Anatomy) -> Field:
    """Return the distance to the vertebral column and the muscle that flanks its arches."""
    behind = spine_y(anatomy, canvas.z) - canvas.y
    bodies = superellipse(canvas.x, behind, 18.0, 16.0, 2.0)
    arches = superellipse(canvas.x, behind - 34.0, 23.0, 24.0, 2.0)
    return np.minimum(bodies, arches)


def _oesophagus(canvas: Canvas, anatomy: Anatomy) -> Field:
    y = anatomy.spine_y + 24.0
    path: list[Point] = [(-4.0, y, 160.0), (-5.0, y, 20.0), (-8.0, y + 6.0, -60.0)]
    return canvas.tubes(([*path, (-18.0, y + 20.0, -100.0)], 6.5), reach_mm=20.0)


def _paint_abdomen(canvas: Canvas, anatomy: Anatomy, chest: Chest) -> None:
    under = np.maximum(chest.below + 4.0, chest.cavity + 4.0)
    y, z = anatomy.chest_centre_y, anatomy.dome_left_z
    # The left lobe reaches across the midline in front only, and ends higher.
    edge = -30.0 + 0.5 * np.clip(anatomy.dome_right_z - canvas.z, 0.0, None)
    edge = edge - 0.9 * (canvas.y - y) + 0.006 * (canvas.y - y) ** 2
    liver = np.maximum(0.8 * (edge - canvas.x), anatomy.spine_y + 24.0 - canvas.y)
    liver = np.minimum(liver, canvas.ellipsoid((75.0, y - 20.0, z - 30.0), (62.0, 62.0, 90.0)))
    canvas.paint(np.maximum(under, liver), LIVER_HU)
    spleen = canvas.ellipsoid((-84.0, y - 42.0, z - 34.0), (30.0, 44.0, 42.0))
    canvas.paint(np.maximum(under, spleen), 52.0)
    stomach = canvas.ellipsoid((-62.0, y + 26.0, z - 40.0), (36.0, 38.0, 44.0))
    canvas.paint(np.maximum(under, stomach), 30.0)
    gas = canvas.ellipsoid((-62.0, y + 40.0, z - 36.0), (anatomy.gas_mm, 13.0, anatomy.gas_mm))
    canvas.paint(np.maximum(under + 3.0, gas), GAS_HU)
