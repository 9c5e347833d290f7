"""The trunk's wall: skin, fat, muscle and bone."""

import numpy as np

from factory.phantom.anatomy import Anatomy
from factory.phantom.canvas import (
    Canvas,
    Field,
    Point,
    Tube,
    intersection,
    ramp,
    smooth_union,
    superellipse,
)
from factory.phantom.chest import FAT_HU, MUSCLE_HU, Chest, chest_scale, spine_y

SKIN_HU = 10.0
CORTEX_HU = 620.0
MARROW_HU = 170.0
CARTILAGE_HU = 110.0
_SIDES = (1.0, -1.0)


def paint_wall(canvas: Canvas, anatomy: Anatomy, chest: Chest) -> None:
    """Paint skin, fat and muscle; the chest is painted into it afterwards."""
    body = _body(canvas, anatomy)
    canvas.paint(body, SKIN_HU)
    canvas.paint(body + 2.0, FAT_HU)
    core = _core(canvas, anatomy)
    canvas.paint(core, MUSCLE_HU)
    # Fat planes between the wall's muscles, here and there, and the axillae.
    angle = np.arctan2(canvas.y, canvas.x)
    plane = np.abs(chest.cavity - 14.0 - 4.0 * np.sin(5.0 * angle + canvas.z / 30.0)) - 1.2
    gaps = 3.0 * np.sin(7.0 * angle - canvas.z / 45.0)
    canvas.paint(intersection(plane, gaps, core + 3.0), -70.0)
    for side in _SIDES:
        axilla = canvas.ellipsoid((side * (anatomy.chest_x + 2.0), 2.0, 92.0), (20.0, 26.0, 34.0))
        canvas.paint(np.maximum(axilla, core + 2.0), FAT_HU)


def paint_bones(canvas: Canvas, anatomy: Anatomy) -> None:
    """Paint spine, ribs with their cartilage, sternum and shoulder girdle."""
    _paint_ribs(canvas, anatomy)
    _paint_sternum(canvas, anatomy)
    _paint_shoulders(canvas, anatomy)
    _paint_spine(canvas, anatomy)


def _body(canvas: Canvas, anatomy: Anatomy) -> Field:
    upper = ramp(canvas.z, 40.0, 150.0)
    trunk = superellipse(
        canvas.x,
        canvas.y + 14.0 * upper,
        anatomy.body_x * (1.0 - 0.04 * ramp(-canvas.z, 40.0, 140.0)),
        anatomy.body_y * (1.0 - 0.26 * upper),
        2.5,
    )
    if not anatomy.breast_mm:
        return trunk
    breasts = [
        canvas.ellipsoid(
            (side * 72.0, anatomy.body_y - 26.0, -8.0), (54.0, 26.0 + anatomy.breast_mm, 52.0)
        )
        for side in _SIDES
    ]
    return smooth_union([trunk, *breasts], blend_mm=16.0)


def _core(canvas: Canvas, anatomy: Anatomy) -> Field:
    """Return the distance to the muscles' outside; fat lies between it and the skin."""
    upper = ramp(canvas.z, 40.0, 150.0)
    return superellipse(
        canvas.x,
        canvas.y + 14.0 * upper,
        anatomy.body_x - anatomy.fat_mm - 2.0,
        (anatomy.body_y - 0.9 * anatomy.fat_mm - 2.0) * (1.0 - 0.26 * upper),
        2.35,
    )


def _paint_bone(canvas: Canvas, distance: Field, shell_mm: float) -> None:
    canvas.paint(distance, CORTEX_HU)
    canvas.paint(distance + shell_mm, MARROW_HU)


def _rib_path(
    anatomy: Anatomy, side: float, head_z: float, turn: tuple[float, float]
) -> list[Point]:
    """Return a rib's path round the chest; `turn` is in radians, 0 at the spine, pi in front."""
    angle = np.linspace(*turn, 18)
    z = head_z - (0.30 * (130.0 - head_z) + 46.0) * (1.0 - np.cos(0.85 * angle)) / 2.0
    scale = chest_scale(anatomy, z.astype(np.float32)).astype(np.float64)
    centre_y = anatomy.chest_centre_y - 0.30 * anatomy.chest_y * (1.0 - scale)
    x, y = np.sin(angle), -np.cos(angle)
    norm = (np.abs(x) ** 2.25 + np.abs(y) ** 2.25) ** (-1.0 / 2.25)
    x = side * (anatomy.chest_x * scale + 6.0) * x * norm
    y = centre_y + (anatomy.chest_y * scale + 6.0) * y * norm
    return [(float(a), float(b), float(c)) for a, b, c in zip(x, y, z, strict=True)]


def _paint_ribs(canvas: Canvas, anatomy: Anatomy) -> None:
    bones: list[Tube] = []
    cartilages: list[Tube] = []
    for number in range(10):
        head_z = anatomy.apex_z - 2.0 - number * anatomy.vertebra_mm * 0.92
        for side in _SIDES:
            bones.append((_rib_path(anatomy, side, head_z, (0.22, 2.45)), 4.8))
            if number < 7:
                cartilages.append((_rib_path(anatomy, side, head_z, (2.45, 2.95)), 5.0))
    canvas.paint(canvas.tubes(*cartilages), CARTILAGE_HU)
    _paint_bone(canvas, canvas.tubes(*bones), 2.6)


def _paint_sternum(canvas: Canvas, anatomy: Anatomy) -> None:
    scale = chest_scale(anatomy, canvas.z)
    front = anatomy.chest_centre_y + anatomy.chest_y * (1.3 * scale - 0.3) + 7.0
    half_width = 13.0 + 8.0 * ramp(canvas.z, 30.0, 70.0)
    sternum = intersection(
        np.abs(canvas.x) - half_width,
        np.abs(canvas.y - front) - 6.0,
        np.abs(canvas.z - 20.0) - 62.0,
    )
    _paint_bone(canvas, sternum, 2.5)


def _paint_shoulders(canvas: Canvas, anatomy: Anatomy) -> None:
    for side in _SIDES:
        clavicle: list[Point] = [
            (side * 20.0, anatomy.chest_centre_y + 0.42 * anatomy.chest_y, anatomy.apex_z - 20.0),
            (side * 70.0, anatomy.chest_centre_y + 0.34 * anatomy.chest_y, anatomy.apex_z + 2.0),
            (side * (anatomy.body_x - 34.0), -20.0, anatomy.apex_z + 18.0),
        ]
        _paint_bone(canvas, canvas.tubes((clavicle, [7.5, 5.5, 6.0])), 2.4)
        scapula = canvas.ellipsoid(
            (side * (anatomy.chest_x - 8.0), anatomy.chest_centre_y - anatomy.chest_y + 6.0, 66.0),
            (36.0, 4.2, 58.0),
            turn_deg=side * 38.0,
        )
        canvas.paint(scapula, 380.0)
        head = canvas.ellipsoid((side * (anatomy.body_x - 34.0), -18.0, 142.0), (22.0, 22.0, 24.0))
        _paint_bone(canvas, head, 4.0)


def _paint_spine(canvas: Canvas, anatomy: Anatomy) -> None:
    pitch = anatomy.vertebra_mm
    from_middle = (canvas.z - anatomy.vertebra_phase + pitch / 2) % pitch - pitch / 2
    x, y = canvas.x, canvas.y - spine_y(anatomy, canvas.z)
    column = superellipse(x, y, 17.0, 14.0, 2.2)
    canal = np.hypot(x, y + 22.0) - 8.0
    canvas.paint(column, 85.0)
    body = np.maximum(column, np.abs(from_middle) - (pitch / 2 - 2.5))
    _paint_bone(canvas, body, 2.2)
    arch = np.maximum(canal - 5.5, np.abs(from_middle) - 0.32 * pitch)
    canvas.paint(arch, 520.0)
    processes: list[Tube] = []
    first = int(np.ceil((-175.0 - anatomy.vertebra_phase) / pitch))
    for level in range(first, first + 16):
        z = anatomy.vertebra_phase + level * pitch
        back = float(spine_y(anatomy, np.array(z, dtype=np.float32)))
        tip: Point = (0.0, back - 47.0, z - 18.0)
        processes.append(([(0.0, back - 33.0, z - 2.0), tip], [4.0, 3.2]))
        for side in _SIDES:
            tip = (side * 32.0, back - 27.0, z + 2.0)
            processes.append(([(side * 12.0, back - 20.0, z), tip], [5.5, 4.5]))
    canvas.paint(canvas.tubes(*processes), 450.0)
    canvas.paint(canal, 30.0)
