"""Pictures of an evaluation: both sets in the plane, and the pairs that are most alike.

mds.png, mds.svg      real and synthetic features by classical scaling, each with its ellipse
worst_pairs.png       synthetic volumes beside the real ones that they are most like
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from factory.axes import spacing_zyx
from factory.errors import FactoryError
from factory.evaluation.intervals import Interval
from factory.evaluation.scaling import Ellipse, classical_scaling, overlap
from factory.pictures import ComparisonRow, comparison_figure
from jobs.evaluate.figures import Figure, Side
from jobs.evaluate.given import Item
from jobs.evaluate.memorised import Row
from jobs.lakes import read_uri

NUM_PAIRS = 4
"""Pairs of the picture: volumes are read for it here, two a pair."""

_DRAWN_AT_MOST = 500
_REGION = "lungs"
_SEVERITY = ("copy", "near", "clear", "unknown")
_COLOURS = {"real": "#0072b2", "synthetic": "#d55e00"}


def draw_scaling(real: Side, synthetic: Side, extractor: str, folder: Path) -> Iterator[Figure]:
    """Draw both sets in the plane; yield the areas of their ellipses and how much they share.

    Of a set at most 500 volumes are drawn, chosen at random.

    Args:
        real: Real volumes.
        synthetic: Synthetic volumes.
        extractor: Name of what made the features.
        folder: Of mds.png and mds.svg.
    """
    sides = {"real": real, "synthetic": synthetic}
    drawn = {name: _some(side.features(_REGION)) for name, side in sides.items()}
    points = classical_scaling(np.concatenate(list(drawn.values())))
    num_real = len(drawn["real"])
    parts = {"real": points[:num_real], "synthetic": points[num_real:]}
    ellipses = {name: found for name, part in parts.items() if (found := _ellipse(part))}
    _draw(parts, ellipses, f"{extractor}, lungs alone", folder)

    def figure(name: str, value: float, n: int, note: str) -> Figure:
        interval = Interval(value, float("nan"), float("nan"))
        return Figure(
            name=name, region=_REGION, extractor=extractor, interval=interval, n=n, note=note
        )

    for name, ellipse in ellipses.items():
        note = f"95 % ellipse of the {name} set in the plane of mds.png"
        yield figure(f"mds_area_{name}", ellipse.area, len(parts[name]), note)
    if len(ellipses) == len(sides):
        shared = overlap(ellipses["real"], ellipses["synthetic"])
        note = "area of both ellipses over that of either; 1 the same, 0 apart"
        yield figure("mds_overlap", shared, len(parts["synthetic"]), note)


def draw_worst_pairs(real: Side, synthetic: Side, rows: Sequence[Row], path: Path) -> int:
    """Draw the synthetic volumes that are most like a real one, beside it; return how many.

    Args:
        real: Real volumes.
        synthetic: Synthetic volumes.
        rows: Of `memorisation_rows`, in the order of `synthetic`.
        path: PNG.
    """
    by_case = {item.case_id: item for item in real.items}
    order = sorted(range(len(rows)), key=lambda i: _how_alike(rows[i]))
    pictured: list[ComparisonRow] = []
    for i in order[:NUM_PAIRS]:
        other = by_case.get(_most_alike(rows[i]))
        if other:
            pictured += _pair(synthetic.items[i], other, rows[i])
    if pictured:
        comparison_figure(pictured, path)
    return len(pictured)


def _some(features: NDArray[np.float32]) -> NDArray[np.float32]:
    order = np.random.default_rng(0).permutation(len(features))[:_DRAWN_AT_MOST]
    return features[np.sort(order)]


def _ellipse(points: NDArray[np.float64]) -> Ellipse | None:
    try:
        return Ellipse.of(points)
    except ValueError:
        return None


def _draw(
    parts: dict[str, NDArray[np.float64]], ellipses: dict[str, Ellipse], title: str, folder: Path
) -> None:
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Canvas

    # Names of an SVG's parts are random unless salted.
    with rc_context({"svg.hashsalt": "evaluate"}):
        figure = Canvas(figsize=(6.0, 5.2), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots()
        for name, points in parts.items():
            marker = "o" if name == "real" else "^"
            label = f"{name}, {len(points)}"
            axes.scatter(
                points[:, 0],
                points[:, 1],
                s=18,
                marker=marker,
                c=_COLOURS[name],
                alpha=0.7,
                label=label,
            )
            if name in ellipses:
                axes.plot(*ellipses[name].outline().T, color=_COLOURS[name], linewidth=1.4)
        axes.set_title(title, fontsize=9)
        axes.set_xlabel("first axis of the scaling")
        axes.set_ylabel("second axis")
        axes.set_aspect("equal", adjustable="datalim")
        axes.legend()
        folder.mkdir(parents=True, exist_ok=True)
        figure.savefig(folder / "mds.png", dpi=130, metadata={"Software": None})
        figure.savefig(folder / "mds.svg", metadata={"Date": None})


def _how_alike(row: Row) -> tuple[Any, ...]:
    correlation = row["lung_correlation"]
    distance = row.get("other_distance_lungs")
    return (
        _SEVERITY.index(row["verdict"]),
        -(correlation if correlation is not None else -1.0),
        distance if distance is not None else float("inf"),
    )


def _most_alike(row: Row) -> str:
    """Return the case that a volume is most like: its donor, unless another one is near."""
    distance, usual = row.get("other_distance_lungs"), row.get("usual_distance_lungs")
    is_near = distance is not None and usual is not None and distance < usual
    return str(row["other_case_lungs"] if is_near else row["case_id"])


def _pair(item: Item, other: Item, row: Row) -> Iterator[ComparisonRow]:
    try:
        volume, reference = read_uri(item.row["image_uri"]), read_uri(other.row["image_uri"])
    except (FactoryError, OSError):
        # Both were read before; what has become of one since is no reason to end without a picture.
        return
    correlation = row["lung_correlation"]
    told = "no donor" if correlation is None else f"correlation {correlation:.2f}"
    yield ComparisonRow(
        title=f"{item.work_id[:12]} and {other.case_id}\n{row['verdict']}, {told}",
        reference_hu=reference.ct,
        layout=volume.layout,
        synthetic_hu=volume.ct,
        spacing_mm=spacing_zyx(volume.affine),
    )
