"""What LIDC-IDRI's readers thought of the nodules of a layout, for the manifest's table.

XML --consensus--> labels on the scan --model grid--> which nodule of the layout is whose
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from factory.dicom.stack import Stack
from factory.geometry import ModelGrid, resample_labels
from factory.layouts import NODULE
from factory.nodules.measure import TOUCHING, measure_nodules

if TYPE_CHECKING:
    from factory.lidc.table import LidcNodule

Score = int | float | list[int] | None


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Readings:
    """The nodules that readers agree on."""

    labels: NDArray[np.unsignedinteger[Any]]
    """(z, y, x) on the scan's canonical grid: 0, or the number of a nodule."""
    scores: dict[int, dict[str, Score]]
    """Columns of the manifest's nodule table, by the number of a nodule."""
    notes: tuple[str, ...]


def read_consensus(case_id: str, paths: tuple[str, ...], stack: Stack) -> Readings:
    """Read what the readers of a series agree on: voxels that at least half of a nodule's readers drew.

    Where several files speak of one series, the one of most readers counts.

    Raises:
        CaseError: A file is unusable, or of another series.
    """
    from factory.lidc.consensus import ConsensusConfig, consensus
    from factory.lidc.parse import read_lidc_xml

    reads = [read_lidc_xml(path, case_id) for path in sorted(paths)]
    most = max(reads, key=lambda one: len(one.readers))
    agreed = consensus(most, stack, ConsensusConfig())
    notes = [f"LIDC-IDRI: {note}" for note in agreed.notes]
    if len(reads) > 1:
        notes.append(f"LIDC-IDRI: {len(reads)} files of one series, that of most readers was taken")
    if agreed.num_small or agreed.num_non_nodules:
        notes.append(
            f"LIDC-IDRI: {agreed.num_small} marks under 3 mm and {agreed.num_non_nodules} of "
            "non-nodules, which have no extent"
        )
    return Readings(
        labels=stack.canonical(agreed.labels),
        scores={nodule.label: _scores(nodule) for nodule in agreed.nodules},
        notes=tuple(notes),
    )


def _scores(nodule: "LidcNodule") -> dict[str, Score]:
    return {
        "num_readers": nodule.num_readers,
        "malignancy": nodule.median("malignancy"),
        "texture": nodule.median("texture"),
        "malignancy_scores": nodule.given("malignancy"),
        "texture_scores": nodule.given("texture"),
    }


def nodule_rows(
    layout: NDArray[np.uint8],
    affine: NDArray[np.float64],
    readings: Readings | None,
    grid: ModelGrid,
) -> list[dict[str, Any]]:
    """Measure the nodules of a layout on the model grid; the manifest's table, largest first.

    A nodule takes the scores of the readers' nodule that it shares most voxels with.

    Args:
        layout: (z, y, x) labels on the model grid.
        affine: 4x4 of the model grid, voxel (i, j, k) to RAS mm.
        readings: On the scan's grid; None without readers.
        grid: From the scan's grid to the model's.
    """
    rows = [nodule.as_row() for nodule in measure_nodules(layout, affine)]
    if readings is None:
        return rows
    labels = resample_labels(readings.labels, grid)
    pieces, num_pieces = ndimage.label(layout == NODULE, structure=TOUCHING)
    # The order of `measure_nodules`: by volume, then by first voxel.
    num_voxels = np.bincount(pieces.ravel(), minlength=num_pieces + 1)[1:]
    for row, piece in zip(rows, np.argsort(-num_voxels, kind="stable"), strict=True):
        shared = np.bincount(labels[pieces == piece + 1])
        # What is no reader's nodule at all stays without scores, as label 0 has none.
        shared[0] = 0
        row.update(readings.scores.get(int(shared.argmax()), {}))
    return rows


def count_nodules(layout: NDArray[np.uint8]) -> int:
    """Return how many connected nodules a layout has."""
    (window,) = ndimage.find_objects((layout == NODULE).view(np.uint8)) or (None,)
    if window is None:
        return 0
    _, num_nodules = ndimage.label(layout[window] == NODULE, structure=TOUCHING)
    return int(num_nodules)
