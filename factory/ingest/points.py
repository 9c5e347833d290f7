"""Nodules that are known by centre and diameter alone, drawn with shapes of a bank.

annotations.csv --read_points--> rows of a series --draw_points--> mask on the scan's grid
"""

import csv
import hashlib
import io
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from factory.axes import Triple, ras_from_lps, spacing_zyx, zyx_from_ras
from factory.errors import CaseError, FactoryError
from factory.nodules.bank import NoduleBank, largest_piece
from factory.nodules.turn import draw_rotation, half_width, overlap, turned_mean
from factory.refused import found_of

if TYPE_CHECKING:
    from factory.ingest.sources.case import SourceCase

COLUMNS = ("seriesuid", "coordX", "coordY", "coordZ", "diameter_mm")
_MAX_BYTES = 256 * 2**20
_MAX_DIAMETER_MM = 100.0
_MAX_COORDINATE_MM = 10_000.0
_MAX_BOX_VOXELS = 2**26
"""Around one nodule, which are sorted at once: 100 mm at 0.4 mm have fewer."""

Mask = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True, slots=True)
class NodulePoint:
    """One row of a table of nodules."""

    center_lps_mm: Triple
    """Centre (left, posterior, superior) in mm, as ITK and LUNA16 have it."""

    diameter_mm: float
    """Of the sphere of the same volume."""


Points = Mapping[str, list[NodulePoint]]


def read_points(path: Path) -> dict[str, list[NodulePoint]]:
    """Read a CSV of nodules in the form of LUNA16's `annotations.csv`.

    Args:
        path: Columns `seriesuid` (of a DICOM series, or the id of another case), `coordX`,
            `coordY`, `coordZ` in LPS mm and `diameter_mm`, in any order, among others.

    Returns:
        The nodules of each series or case, in the order of their rows; one that is written
        twice, once.

    Raises:
        FactoryError: The file cannot be read, has other columns, or a row that is no nodule.
    """
    reader = csv.DictReader(io.StringIO(_text(path), newline=""), skipinitialspace=True)
    try:
        return _points_of(reader, path)
    except csv.Error as error:
        raise FactoryError(
            f"points {path}, line {reader.line_num}: found what is no CSV ({error}); expected "
            f"{', '.join(COLUMNS)}. Correct the line."
        ) from error


def _text(path: Path) -> str:
    try:
        num_bytes = path.stat().st_size
        if num_bytes > _MAX_BYTES:
            raise FactoryError(
                f"points {path}: found {num_bytes >> 20} MiB; expected a table of at most "
                f"{_MAX_BYTES >> 20}. Keep the nodules of these cases."
            )
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise FactoryError(
            f"points {path}: found {found_of(error)}; expected a CSV of nodules. Check the path."
        ) from error
    except UnicodeDecodeError as error:
        raise FactoryError(
            f"points {path}: found bytes that are no text ({error.reason}); expected a CSV in UTF-8. "
            "Save it again as CSV UTF-8."
        ) from error


def _points_of(reader: "csv.DictReader[str]", path: Path) -> dict[str, list[NodulePoint]]:
    columns = reader.fieldnames or []
    if not set(COLUMNS) <= set(columns):
        raise FactoryError(
            f"points {path}: found columns {', '.join(columns)[:200] or 'none'}; expected "
            f"{', '.join(COLUMNS)}, with commas between. Correct the first line."
        )
    points: dict[str, list[NodulePoint]] = defaultdict(list)
    for row in reader:
        name = (row["seriesuid"] or "").strip()
        x, y, z, diameter_mm = (_number(row[column]) for column in COLUMNS[1:])
        is_place = all(abs(part) <= _MAX_COORDINATE_MM for part in (x, y, z))
        if not name or not is_place or not 0.0 < diameter_mm <= _MAX_DIAMETER_MM:
            raise FactoryError(
                f"points {path}, line {reader.line_num}: found {_quoted(row)}; expected a series, a "
                f"centre in mm and a diameter above 0 and up to {_MAX_DIAMETER_MM:g} mm. Correct or "
                "remove the line."
            )
        point = NodulePoint(center_lps_mm=(x, y, z), diameter_mm=diameter_mm)
        if point not in points[name]:
            points[name].append(point)
    return dict(points)


def _number(text: str | None) -> float:
    try:
        return float(text or "nan")
    except ValueError:
        return math.nan


def _quoted(row: Mapping[str, str | None]) -> str:
    return ", ".join(f"{column} {(row[column] or '')[:40]!r}" for column in COLUMNS[1:])


def points_of(case: "SourceCase", points: Points) -> tuple[str, tuple[NodulePoint, ...]]:
    """Return the name under which a table has a case, and the case's nodules.

    A DICOM series is known by its SeriesInstanceUID; another case by its id or by the name of
    its CT's file without the endings of the format. Nothing, twice, if the table lacks it.
    """
    file = Path(case.ct).name
    names = (case.series_uid, case.case_id, file, file.split(".nii")[0], Path(file).stem)
    known = next((name for name in names if name and name in points), "")
    return known, tuple(points.get(known, ()))


def draw_points(
    case_id: str,
    points: Iterable[NodulePoint],
    shape: tuple[int, ...],
    affine: NDArray[np.float64],
    bank: NoduleBank,
) -> Mask:
    """Draw nodules around their centres, with shapes of a bank.

    Each gets the shape whose diameter is nearest to its own, scaled to it and turned at random;
    its volume is that of the sphere, to half a voxel and at least one. Case and point decide the
    turn, so the same nodule is the same on every machine, whatever else the table has.

    Args:
        case_id: Of the scan.
        points: Its nodules.
        shape: (z, y, x) of the scan.
        affine: 4x4, voxel (i, j, k) to RAS mm.
        bank: Shapes to choose from.

    Returns:
        (z, y, x) mask of all of them, cut off where they leave the scan.

    Raises:
        CaseError: A centre lies outside of the scan, or a nodule has too many of its voxels.
    """
    mask = np.zeros(shape, dtype=np.bool_)
    for point in points:
        at = zyx_from_ras(affine, ras_from_lps(np.array(point.center_lps_mm)))
        if (at < -0.5).any() or (at > np.array(shape) - 0.5).any():
            raise CaseError(
                case_id,
                f"a nodule's centre ({', '.join(f'{part:.1f}' for part in point.center_lps_mm)}) mm lies "
                "outside of the scan; expected it within, in LPS mm as ITK has it. Check whether the "
                "table is of this scan, or in RAS or voxels.",
            )
        _draw(case_id, mask, at, point, np.array(spacing_zyx(affine)), bank)
    return mask


def _rng(case_id: str, point: NodulePoint) -> np.random.Generator:
    numbers = (*point.center_lps_mm, point.diameter_mm)
    text = "\0".join([case_id, *(f"{number:.4f}" for number in numbers)])
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "little")
    return np.random.Generator(np.random.PCG64(seed))


def _draw(
    case_id: str,
    mask: Mask,
    at: NDArray[np.float64],
    point: NodulePoint,
    spacing: NDArray[np.float64],
    bank: NoduleBank,
) -> None:
    """Draw one nodule around the fractional voxel (z, y, x) `at`."""
    # The nearest by ratio: a shape of 5 mm serves 6 mm worse than one of 20 serves 21.
    index = int(np.argmin(np.abs(np.log(bank.diameters_mm / point.diameter_mm))))
    shape = bank.masks[index]
    voxels = np.argwhere(shape)
    source_mm = bank.spacing_mm * point.diameter_mm / float(bank.diameters_mm[index])
    rotation = draw_rotation(_rng(case_id, point))
    nearest = np.rint(at).astype(np.intp)
    # `turned_mean` puts a point of the shape on a voxel's centre, so the part of a voxel by which
    # the nodule lies beside that is taken from the shape's own centre.
    aside_mm = (at - nearest) * spacing
    center = voxels.mean(axis=0) - rotation.T @ aside_mm / source_mm
    half = half_width(voxels, center, source_mm, spacing)
    _check_box(case_id, point, half)
    coverage = turned_mean(shape.astype(np.float32), center, source_mm, rotation, spacing, half)
    volume_mm3 = math.pi / 6.0 * point.diameter_mm**3
    drawn = _fullest(coverage, max(1, round(volume_mm3 / float(spacing.prod()))))
    window, inner = overlap(nearest - half, drawn.shape, mask.shape)
    mask[window] |= drawn[inner]


def _check_box(case_id: str, point: NodulePoint, half: NDArray[np.intp]) -> None:
    num_voxels = float(np.prod(2.0 * half + 1.0))
    if num_voxels > _MAX_BOX_VOXELS:
        raise CaseError(
            case_id,
            f"a nodule of {point.diameter_mm:g} mm takes a box of {num_voxels:.0f} voxels; expected at "
            f"most {_MAX_BOX_VOXELS}. Check the diameter and the scan's spacing, or downsample the "
            "scan.",
        )


def _fullest(coverage: NDArray[np.float32], num_voxels: int) -> Mask:
    """Return the voxels that a shape covers most, in one piece."""
    drawn = np.zeros(coverage.shape, dtype=np.bool_)
    # Whole steps and a stable sort: equal voxels go by their index on every machine.
    ranked = np.argsort(-np.rint(coverage * 4096).astype(np.int32), axis=None, kind="stable")
    drawn.ravel()[ranked[:num_voxels]] = True
    return largest_piece(drawn)
