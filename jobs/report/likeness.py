"""The section on how like real ones the lungs and nodules are: two charts, and their numbers."""

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from factory.counted import counted
from jobs.report.charts import diameter_chart, lung_chart
from jobs.report.content import Content
from jobs.report.figures import Diameters, binned, diameters
from jobs.report.made import notice
from jobs.report.markup import Markup, element, table, together
from jobs.report.voxels import EDGES_HU, LungHistogram
from manifests.schema import KINDS

EDGES_MM = tuple(range(0, 43, 2))
"""Of the histogram of nodules; larger ones count in the last bin."""


def likeness(content: Content) -> Iterator[Markup]:
    """Yield how lungs and nodules are spread, real beside synthetic."""
    yield element("div", *map(together, (_lungs(content), _nodules(content))), class_="charts")


def _lungs(content: Content) -> Iterator[Markup]:
    found = content.histograms
    real, synthetic = found.real, found.synthetic
    shares = [None if one is None else one.shares for one in (real, synthetic)]
    yield Markup("<section>")
    yield element("h3", "HU of the lungs")
    if real is None and synthetic is None:
        yield element(
            "p",
            "No lung was counted: there is no volume that was not rejected, or none could be read.",
        )
    else:
        yield lung_chart(EDGES_HU, *shares)
        yield element("p", f"{_of_lungs(synthetic, 'synthetic')}; {_of_lungs(real, 'real')}. ")
        yield element(
            "p",
            "Voxels that layouts call lung; each volume counts alike. The synthetic ones lie evenly through the "
            "plan, without rejected ones; the real ones are the scans that these were drawn into.",
            class_="quiet",
        )
        yield _numbers(
            ["HU", "real", "synthetic"],
            EDGES_HU,
            *shares,
        )
    yield from notice(found.problems, "Left out of the histogram")
    yield Markup("</section>")


def _of_lungs(side: LungHistogram | None, name: str) -> str:
    if side is None:
        return f"{name}: none"
    outside = (
        f", {100 * side.outside:.2g} % of voxels beyond the scale" if side.outside > 0.0005 else ""
    )
    return f"{name}: {counted(side.num_volumes, 'volume')}{outside}"


def _nodules(content: Content) -> Iterator[Markup]:
    sides = [diameters(content.lake.table, kind) for kind in KINDS]
    yield Markup("<section>")
    yield element("h3", "Nodule diameters")
    if not any(len(side.mm) for side in sides):
        yield element("p", "No nodule was measured.")
    else:
        shares = [_shares(side.mm) for side in sides]
        yield diameter_chart(EDGES_MM, *shares)
        for kind, side in zip(KINDS, sides, strict=True):
            yield element("p", f"{kind}: {_of_nodules(side)}.")
        yield element(
            "p",
            "Diameters of spheres of the nodules' volumes, of all volumes of the manifest; larger ones "
            "than the scale has are in the last bar.",
            class_="quiet",
        )
        yield _numbers(["mm", *KINDS], EDGES_MM, *shares)
    yield Markup("</section>")


def _of_nodules(side: Diameters) -> str:
    if not len(side.mm):
        return f"no nodule in {counted(side.num_volumes, 'volume')}"
    low, median, high = np.percentile(side.mm, (5, 50, 95)).tolist()
    return (
        f"{counted(len(side.mm), 'nodule')} in {counted(side.num_volumes, 'volume')}, {side.num_bare} of these without one; "
        f"median {median:.1f} mm, 5 % to 95 % {low:.1f} to {high:.1f} mm"
    )


def _shares(mm: NDArray[np.float64]) -> NDArray[np.float64]:
    return binned(mm, EDGES_MM) / max(1, len(mm))


def _numbers(
    headings: Sequence[str], edges: Sequence[int], *sides: NDArray[np.float64] | None
) -> Markup:
    rows = []
    for place, (low, high) in enumerate(pairwise(edges)):
        cells = ["\u2013" if side is None else f"{100 * side[place]:.2f} %" for side in sides]
        if any(side is not None and side[place] for side in sides):
            rows.append([f"{low} to {high}".replace("-", "\u2212"), *cells])
    numbers = table(headings, rows, caption="Share in each bin")
    return element("details", element("summary", "The numbers"), numbers)
