"""What a page takes from volumes themselves: slices of some, lung histograms of some more.

What cannot be read is told, and the page goes on without it.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from factory.errors import FactoryError
from factory.layouts import LUNG
from factory.volumes import Volume
from jobs.console import Tracker
from jobs.lakes import read_uri
from jobs.report.choose import Chosen, evenly
from jobs.report.packed import Packed, pack_slices

EDGES_HU = tuple(range(-1050, 151, 25))
"""Of the lungs' histogram: air to soft tissue."""

MOST_SAMPLED = 32
"""Synthetic volumes that a histogram is of, and as many donors at most."""

_READERS = 4
"""Volumes that are in memory at once."""

_UNREADABLE = (FactoryError, OSError, ValueError, TypeError, LookupError, MemoryError, RuntimeError)

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Shown:
    """A volume of the page."""

    chosen: Chosen
    packed: Packed | None
    """None where it could not be read."""
    remark: str
    """What is missing, and why."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LungHistogram:
    """HU of the lung voxels of several volumes; each volume counts alike."""

    shares: NDArray[np.float64]
    """(B,) share of lung voxels in each bin of `EDGES_HU`; what lies outside is in none."""
    outside: float
    """Share of lung voxels below the first edge or above the last."""
    num_volumes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Histograms:
    """Lungs of synthetic volumes, and of the very scans that these were drawn into."""

    real: LungHistogram | None
    synthetic: LungHistogram | None
    problems: Sequence[str]


def show(chosen: Chosen, donors: Mapping[str, Row]) -> Shown:
    """Read a volume with its reference, and pack slices of both.

    Args:
        chosen: Which.
        donors: Real rows by case id.
    """
    row = chosen.row
    try:
        volume = _read(row)
    except _UNREADABLE as error:
        return Shown(chosen, None, f"the volume cannot be read: {_told(error)}")
    reference, remark = _reference(row, volume, donors)
    return Shown(chosen, pack_slices(volume, reference, tuple(row["spacing_mm"])), remark)


def sampled(synthetic: pa.Table) -> list[Row]:
    """Return the rows that the histogram is of: evenly through the plan, without rejected ones."""
    kept = synthetic.filter(
        pc.invert(pc.fill_null(pc.equal(synthetic["qc_verdict"], "reject"), False))
    )
    places = evenly(kept.num_rows, MOST_SAMPLED)
    rows: list[Row] = kept.take(pa.array(places, pa.int64())).to_pylist()
    return rows


def histograms(rows: Sequence[Row], donors: Mapping[str, Row], tracker: Tracker) -> Histograms:
    """Count the HU of lungs, of synthetic volumes and of their donors.

    Args:
        rows: Synthetic rows.
        donors: Real rows by case id.
        tracker: Told how many volumes were read.
    """
    cases = sorted({row["case_id"] for row in rows} & donors.keys())
    asked = [*rows, *(donors[case] for case in cases)]
    problems, counted = list[str](), list[NDArray[np.float64] | None]()
    with ThreadPoolExecutor(_READERS) as pool:
        for one in pool.map(_caught(_lung_shares), asked):
            counted.append(None if isinstance(one, str) else one)
            problems += [one] if isinstance(one, str) else []
            tracker.update(len(counted))
    synthetic, real = counted[: len(rows)], counted[len(rows) :]
    drawn_into = {
        row["case_id"] for row, one in zip(rows, synthetic, strict=True) if one is not None
    }
    compared = [one for case, one in zip(cases, real, strict=True) if case in drawn_into]
    return Histograms(synthetic=_mean(synthetic), real=_mean(compared), problems=problems)


def _read(row: Row) -> Volume:
    volume = read_uri(row["image_uri"])
    if not volume.ct.shape == volume.layout.shape == tuple(row["shape"]) or not volume.ct.size:
        raise ValueError(
            f"found a CT of {volume.ct.shape} and a layout of {volume.layout.shape} voxels; expected "
            f"{tuple(row['shape'])}, as its row says. Make the volume again."
        )
    spacing = row["spacing_mm"]
    if len(spacing) != 3 or not all(math.isfinite(step) and step > 0 for step in spacing):
        raise ValueError(f"its row has a spacing of {spacing} mm; expected three, above 0")
    return volume


def _reference(row: Row, volume: Volume, donors: Mapping[str, Row]) -> tuple[Volume | None, str]:
    donor = donors.get(row["case_id"])
    if donor is None:
        return None, "its donor has no row here, so there is nothing to compare it with"
    try:
        found = _read(donor)
    except _UNREADABLE as error:
        return None, f"its donor cannot be read: {_told(error)}"
    if found.ct.shape != volume.ct.shape:
        return None, f"its donor has {found.ct.shape} voxels, and it {volume.ct.shape}"
    return found, ""


def _lung_shares(row: Row) -> NDArray[np.float64]:
    """Return the share of lung voxels in each bin; none where there is no lung."""
    volume = _read(row)
    lung = volume.ct[volume.layout == LUNG]
    found = np.histogram(lung, EDGES_HU)[0] / lung.size if lung.size else np.empty(0)
    return found.astype(np.float64)


def _caught(
    read: Callable[[Row], NDArray[np.float64]],
) -> Callable[[Row], NDArray[np.float64] | str]:
    def told(row: Row) -> NDArray[np.float64] | str:
        name = f"volume {row['work_id']}" if row["work_id"] else f"case {row['case_id']}"
        try:
            found = read(row)
        except _UNREADABLE as error:
            return f"{name}: {_told(error)}"
        return found if found.size else f"{name}: its layout has no lung"

    return told


def _mean(counted: Sequence[NDArray[np.float64] | None]) -> LungHistogram | None:
    found = [one for one in counted if one is not None]
    if not found:
        return None
    shares = np.mean(found, axis=0)
    return LungHistogram(
        shares=shares, outside=max(0.0, 1.0 - float(shares.sum())), num_volumes=len(found)
    )


def _told(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
