"""The paper's Fig. 5: what synthetic volumes bring, and what more real ones would.

figure-5a.png, .svg     Dice and sensitivity against the synthetic volumes that are added to all real ones
figure-5b.png, .svg     the same against the part of the real volumes, without a synthetic one
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from factory.counted import counted
from factory.segmentation.summary import Summary
from jobs.aside import written_aside
from jobs.downstream.figures import MixFigures

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FIGURE_5A, FIGURE_5B = "figure-5a", "figure-5b"

_LEAST_POINTS = 2


@dataclass(frozen=True, slots=True)
class _Panel:
    name: str
    title: str
    colour: str
    """They differ to the colour-blind, and markers in grey too."""
    marker: str
    is_difference: bool = False

    def summary(self, mix: MixFigures) -> Summary | None:
        return mix.difference(self.name) if self.is_difference else mix.summary(self.name)


_PANELS = (
    _Panel("dice", "Dice", "#0072b2", "o"),
    _Panel("sensitivity", "sensitivity", "#d55e00", "^"),
    _Panel("dice", "Dice, difference from R, test by test", "#009e73", "s", is_difference=True),
)


def draw_curves(mixes: Sequence[MixFigures], folder: Path) -> list[Path]:
    """Draw those of the two figures that have two mixes or more; return their PNGs.

    Bars and bands are 95 % intervals: of Dice and sensitivity over patients, of differences over patients
    and trainings where each mix has several. Small points are the seeds. Mixes share their patients, so
    that bands of Dice overlap also where it surely differs: the third panel tells.

    Args:
        mixes: Of `figures_of`.
        folder: Of the pictures; made.
    """
    whole = [(100.0 * mix.extra, mix) for mix in mixes if mix.real_part == 1.0]
    bare = [(100.0 * mix.real_part, mix) for mix in mixes if mix.extra == 0.0]
    drawn = []
    if len(whole) >= _LEAST_POINTS:
        title = "synthetic volumes added, per cent of the real ones"
        drawn.append(_draw(whole, title, folder / FIGURE_5A))
    if len(bare) >= _LEAST_POINTS:
        title = "real volumes, per cent of all; none synthetic"
        drawn.append(_draw(bare, title, folder / FIGURE_5B))
    return drawn


def _draw(points: Sequence[tuple[float, MixFigures]], title: str, path: Path) -> Path:
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    # Names of an SVG's parts are random unless salted.
    with rc_context({"svg.hashsalt": path.name}):
        figure = Figure(figsize=(12.0, 3.8), layout="constrained")
        FigureCanvasAgg(figure)
        for axes, panel in zip(figure.subplots(1, len(_PANELS)), _PANELS, strict=True):
            ordered = sorted(points, key=lambda point: (point[0], point[1].label))
            found = [(place, one) for place, mix in ordered if (one := panel.summary(mix))]
            _draw_panel(axes, panel, found, _reason(panel, points))
            places = sorted({place for place, _ in points})
            axes.set_xticks(places, [f"{place:.3g}" for place in places])
            axes.set_xlabel(title, fontsize=8)
        _save(figure, path)
    return path.with_name(f"{path.name}.png")


def _reason(panel: _Panel, points: Sequence[tuple[float, MixFigures]]) -> str:
    """Return why a panel has no point, where it has none."""
    has_baseline = any(mix.against for _, mix in points)
    if panel.is_difference and not has_baseline:
        return "no run of R to differ from"
    return "no test case has a nodule"


def _draw_panel(
    axes: "Axes", panel: _Panel, found: Sequence[tuple[float, Summary]], reason: str
) -> None:
    axes.set_ylabel(panel.title)
    axes.grid(alpha=0.3, linewidth=0.5)
    if panel.is_difference:
        axes.axhline(0.0, color="#444444", linewidth=0.8, linestyle="--", label="R")
    if not found:
        axes.set_title(reason, fontsize=8)
        return
    places, values = [place for place, _ in found], [one.value for _, one in found]
    of_both = panel.is_difference and all(math.isfinite(one.over_both.low) for _, one in found)
    intervals = [one.over_both if of_both else one.over_patients for _, one in found]
    lows, highs = [one.low for one in intervals], [one.high for one in intervals]
    over = "95 % over patients and seeds" if of_both else "95 % over patients"
    axes.plot(places, values, color=panel.colour, marker=panel.marker, label="mean")
    if any(math.isfinite(end) for end in (*lows, *highs)):
        # Of one patient there is none, and a legend would promise it.
        axes.vlines(places, lows, highs, color=panel.colour, linewidth=1.2, label=over)
        axes.fill_between(places, lows, highs, color=panel.colour, alpha=0.15, linewidth=0)
    seeds = [(place, one) for place, summary in found for one in summary.of_seeds]
    axes.scatter(
        [place for place, _ in seeds],
        [one for _, one in seeds],
        s=9,
        color="#444444",
        zorder=3,
        label="a seed",
    )
    of = found[0][1]
    told = f"{counted(of.n, 'test case')} with a nodule, {counted(of.num_patients, 'patient')}"
    axes.set_title(told, fontsize=8)
    axes.legend(fontsize=7)


def _save(figure: "Figure", path: Path) -> None:
    """Write PNG and SVG, each whole or not at all."""
    for kind, metadata in (("png", {"Software": None}), ("svg", {"Date": None})):
        with written_aside(path.with_name(f"{path.name}.{kind}")) as aside:
            figure.savefig(aside, format=kind, dpi=130, metadata=metadata)
