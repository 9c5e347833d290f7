"""Pictures of an evaluation: all sets in the plane, and the pairs that are most alike.

mds.png, mds.svg      features of all sets by classical scaling, each with its ellipse
worst_pairs.png       synthetic volumes beside the real ones that they are most like; of several sets
                      worst_pairs-NAME.png each
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from factory.axes import spacing_zyx
from factory.errors import FactoryError
from factory.evaluation.intervals import Interval
from factory.evaluation.scaling import Ellipse, classical_scaling, overlap
from factory.pictures import ComparisonRow, comparison_figure
from jobs.aside import written_aside
from jobs.evaluate.figures import Figure, Side
from jobs.evaluate.folder import SCALING, WORST_PAIRS
from jobs.evaluate.given import Item
from jobs.evaluate.given import Row as VolumeRow
from jobs.evaluate.memorised import Row
from jobs.evaluate.reading import read_item
from jobs.evaluate.sides import Sides

NUM_PAIRS = 4
"""Pairs of a picture: volumes are read for it here, two a pair."""

_DPI = 130
_DRAWN_AT_MOST = 500
_TOLD_AT_MOST = 200
_REGION = "lungs"
_SEVERITY = ("copy", "near", "clear", "unknown")
# Okabe and Ito's: they differ to the colour-blind, and markers tell what is drawn twice.
_REAL_COLOUR = "#0072b2"
_COLOURS = ("#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
_MARKERS = "^svDPX*"


Tell = Callable[[str], None]
"""Is given a sentence for a picture that could not be drawn."""


def draw_scaling(
    real: Side, synthetic: Sequence[Side], extractor: str, folder: Path, tell: Tell
) -> Iterator[Figure]:
    """Draw all sets in one plane; yield the areas of their ellipses, and what each shares with the real.

    Of a set at most 500 volumes are drawn, chosen at random. The plane is of all of them: with other
    sets beside it, a set has other figures here.

    Args:
        real: Real volumes.
        synthetic: Synthetic sets, each with a name of its own.
        extractor: Name of what made the features.
        folder: Of mds.png and mds.svg.
        tell: Is told where they could not be drawn; figures are yielded without them.
    """
    sides = [real, *synthetic]
    drawn = [_some(side.features(_REGION)) for side in sides]
    ends = np.cumsum([len(part) for part in drawn])
    points = np.split(classical_scaling(np.concatenate(drawn)), ends[:-1])
    parts = {side.name: part for side, part in zip(sides, points, strict=True)}
    ellipses = {name: found for name, part in parts.items() if (found := _ellipse(part))}
    with _picture([folder / name for name in SCALING], tell):
        _draw(parts, ellipses, f"{extractor}, lungs alone", folder)

    def figure(of: str, name: str, value: float, note: str) -> Figure:
        return Figure(
            of=of,
            name=name,
            region=_REGION,
            extractor=extractor,
            interval=Interval(value, float("nan"), float("nan")),
            n=len(parts[of]),
            note=note,
        )

    for name, ellipse in ellipses.items():
        kind = "real" if name == real.name else "synthetic"
        note = f"95 % ellipse of the {kind} set in the plane of mds.png"
        yield figure(name, f"mds_area_{kind}", ellipse.area, note)
    for name, ellipse in ellipses.items():
        if name != real.name and real.name in ellipses:
            note = "area of both ellipses over that of either; 1 the same, 0 apart"
            yield figure(name, "mds_overlap", overlap(ellipses[real.name], ellipse), note)


def draw_all_pairs(sides: Sides, rows: Mapping[str, list[Row]], out: Path, tell: Tell) -> None:
    """Draw the synthetic volumes of each set that are most like a real one, beside it.

    Args:
        sides: The measured sets.
        rows: Of `memorisation_rows`, by set.
        out: Folder of the pictures; those of an earlier run are removed.
        tell: Is told where one could not be drawn.
    """
    # Of an earlier run, with other sets.
    for stale in out.glob(WORST_PAIRS):
        stale.unlink()
    for side in sides.synthetic:
        end = f"-{side.name}" if len(sides.synthetic) > 1 else ""
        path = out / WORST_PAIRS.replace("*", end)
        with _picture([path], tell):
            _draw_worst_pairs(sides.real, side, rows[side.name], path)


@contextmanager
def _picture(paths: Sequence[Path], tell: Tell) -> Iterator[None]:
    """Tell of pictures that cannot be drawn, and leave none of an earlier run in their place."""
    try:
        yield
    except Exception as error:
        # What a plotting library raises for an odd grid depends on the grid: figures do without.
        for path in paths:
            path.unlink(missing_ok=True)
        names = " and ".join(path.name for path in paths)
        reason = " ".join(str(error).split())[:_TOLD_AT_MOST]
        tell(f"{names}: could not be drawn ({type(error).__name__}: {reason})")


def _draw_worst_pairs(real: Side, synthetic: Side, rows: Sequence[Row], path: Path) -> None:
    by_case: dict[str | None, VolumeRow] = {item.case_id: item.row for item in real.items}
    order = sorted(range(len(rows)), key=lambda i: _how_alike(rows[i]))
    pictured: list[ComparisonRow] = []
    for i in order[:NUM_PAIRS]:
        other = _most_alike(synthetic.items[i], rows[i], by_case)
        if other:
            pictured += _pair(synthetic.items[i], other, rows[i])
    if pictured:
        with written_aside(path) as aside:
            comparison_figure(pictured, aside)


def _some(features: NDArray[np.float32]) -> NDArray[np.float32]:
    order = np.random.default_rng(0).permutation(len(features))[:_DRAWN_AT_MOST]
    return features[np.sort(order)]


def _ellipse(points: NDArray[np.float64]) -> Ellipse | None:
    try:
        return Ellipse.of(points)
    except ValueError:
        return None


def _draw(
    parts: Mapping[str, NDArray[np.float64]],
    ellipses: Mapping[str, Ellipse],
    title: str,
    folder: Path,
) -> None:
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Canvas

    # Names of an SVG's parts are random unless salted.
    with rc_context({"svg.hashsalt": "evaluate"}):
        figure = Canvas(figsize=(6.0, 5.2), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots()
        for number, (name, points) in enumerate(parts.items()):
            colour, marker = _look(number)
            label = f"{name}, {len(points)}"
            x, y = points.T
            axes.scatter(x, y, s=18, marker=marker, c=colour, alpha=0.7, label=label)
            if name in ellipses:
                axes.plot(*ellipses[name].outline().T, color=colour, linewidth=1.4)
        axes.set_title(title, fontsize=9)
        axes.set_xlabel("first axis of the scaling")
        axes.set_ylabel("second axis")
        axes.set_aspect("equal", adjustable="datalim")
        axes.legend()
        for name, metadata in zip(SCALING, ({"Software": None}, {"Date": None}), strict=True):
            with written_aside(folder / name) as aside:
                kind = name.rpartition(".")[2]
                figure.savefig(aside, format=kind, dpi=_DPI, metadata=metadata)


def _look(number: int) -> tuple[str, str]:
    """Return colour and marker of a set; of the first, which is the real one, a circle."""
    if number == 0:
        return _REAL_COLOUR, "o"
    return _COLOURS[(number - 1) % len(_COLOURS)], _MARKERS[(number - 1) % len(_MARKERS)]


def _how_alike(row: Row) -> tuple[Any, ...]:
    correlation = row["lung_correlation"]
    distance = row.get("other_distance_lungs")
    return (
        _SEVERITY.index(row["verdict"]),
        -(correlation if correlation is not None else -1.0),
        distance if distance is not None else float("inf"),
    )


def _most_alike(item: Item, row: Row, by_case: Mapping[str | None, VolumeRow]) -> VolumeRow | None:
    """Return what a volume is most like: its donor, unless another one is near or it has none.

    A donor by its voxels and not by its name: a real case of that name may be somebody else.
    """
    distance, usual = row.get("other_distance_lungs"), row.get("usual_distance_lungs")
    if distance is not None and usual is not None and distance < usual:
        return by_case.get(row["other_case_lungs"])
    return item.donor or by_case.get(row.get("nearest_case_lungs"))


def _pair(item: Item, other: VolumeRow, row: Row) -> Iterator[ComparisonRow]:
    try:
        volume, reference = read_item(item.row), read_item(other)
    except (FactoryError, OSError):
        # Both were read before; what has become of one since is no reason to end without a picture.
        return
    correlation = row["lung_correlation"]
    told = "no donor" if correlation is None else f"correlation {correlation:.2f}"
    name = item.work_id[:12] if item.case_id else item.work_id[-24:]
    yield ComparisonRow(
        title=f"{name} and {other['case_id']}\n{row['verdict']}, {told}",
        reference_hu=reference.ct,
        layout=volume.layout,
        synthetic_hu=volume.ct,
        spacing_mm=spacing_zyx(volume.affine),
    )
