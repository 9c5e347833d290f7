"""Two charts as inline SVG: they tell kinds apart by line and hatching, and need no script."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from jobs.report.markup import Markup, element

_WIDTH, _HEIGHT = 440, 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 432, 30, 214
_TICKS = 4

Array = NDArray[np.float64]


def lung_chart(edges: Sequence[float], real: Array | None, synthetic: Array | None) -> Markup:
    """Return the lung histograms: real ones a filled area, synthetic ones a dashed line.

    Args:
        edges: (B + 1,) HU.
        real: (B,) share of voxels in each bin.
        synthetic: Likewise.
    """
    most = _most(real, synthetic)
    parts: list[Markup] = []
    if real is not None:
        path = _steps(edges, real, most)
        base = f"V{_BOTTOM}H{_x(edges[0], edges):.1f}Z"
        parts += [element("path", d=path + base, class_="real area"), _line(path, "real line")]
    if synthetic is not None:
        parts.append(_line(_steps(edges, synthetic, most), "synthetic line dashed"))
    marks = [one for one in edges if one % 200 == 0]
    return _chart(
        "Histogram of lung voxels",
        "Share of lung voxels by HU; the table below has the numbers.",
        [*_frame(most), *parts, *_ticks(marks, edges, "HU"), *_key(is_line=True)],
    )


def diameter_chart(edges: Sequence[float], real: Array, synthetic: Array) -> Markup:
    """Return nodule sizes: two bars a bin, the synthetic one hatched.

    Args:
        edges: (B + 1,) mm; the last bin is all that is larger, too.
        real: (B,) share of nodules in each bin.
        synthetic: Likewise.
    """
    most = _most(real, synthetic)
    bars = [
        _bar(edges, place, share, side, most)
        for side, shares in enumerate((real, synthetic))
        for place, share in enumerate(shares)
        if share > 0
    ]
    marks = edges[:: max(1, (len(edges) - 1) // 8)]
    return _chart(
        "Histogram of nodule diameters",
        "Share of nodules by diameter in mm; the table below has the numbers.",
        [*_frame(most), *bars, *_ticks(marks, edges, "mm"), *_key(is_line=False)],
    )


def _chart(title: str, meaning: str, parts: Sequence[Markup]) -> Markup:
    return element(
        "svg",
        element("title", title),
        element("desc", meaning),
        *parts,
        viewBox=f"0 0 {_WIDTH} {_HEIGHT}",
        role="img",
        class_="chart",
    )


def _most(*shares: Array | None) -> float:
    """Return the end of the scale: the largest share, up to the next round one."""
    largest = max((float(one.max()) for one in shares if one is not None and one.size), default=0.0)
    for end in (0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.12, 0.16, 0.2, 0.3, 0.4, 0.6, 0.8):
        if largest <= end:
            return end
    return 1.0


def _x(value: float, edges: Sequence[float]) -> float:
    return _LEFT + (value - edges[0]) / (edges[-1] - edges[0]) * (_RIGHT - _LEFT)


def _y(share: float, most: float) -> float:
    return _BOTTOM - min(share / most, 1.0) * (_BOTTOM - _TOP)


def _steps(edges: Sequence[float], shares: Array, most: float) -> str:
    lines = (
        f"V{_y(float(share), most):.1f}H{_x(end, edges):.1f}"
        for share, end in zip(shares, edges[1:], strict=True)
    )
    return f"M{_x(edges[0], edges):.1f} {_BOTTOM}{''.join(lines)}"


def _line(path: str, class_: str) -> Markup:
    return element("path", d=path, class_=class_)


def _bar(edges: Sequence[float], place: int, share: float, side: int, most: float) -> Markup:
    left, right = _x(edges[place], edges), _x(edges[place + 1], edges)
    width = (right - left) * 0.42
    return element(
        "rect",
        x=round(left + (right - left) * (0.06 + 0.46 * side), 1),
        y=round(_y(share, most), 1),
        width=round(width, 1),
        height=round(_BOTTOM - _y(share, most), 1),
        class_="synthetic bar" if side else "real bar",
    )


def _frame(most: float) -> Iterator[Markup]:
    for tick in range(_TICKS + 1):
        share = most * tick / _TICKS
        y = _y(share, most)
        yield element("path", d=f"M{_LEFT} {y:.1f}H{_RIGHT}", class_="grid" if tick else "axis")
        text = f"{100 * share:.3g} %"
        yield element("text", text, x=_LEFT - 5, y=round(y + 4, 1), text_anchor="end")


def _ticks(marks: Sequence[float], edges: Sequence[float], unit: str) -> Iterator[Markup]:
    for mark in marks:
        x = round(_x(mark, edges), 1)
        yield element("path", d=f"M{x} {_BOTTOM}v5", class_="axis")
        yield element(
            "text", f"{mark:g}".replace("-", "\u2212"), x=x, y=_BOTTOM + 18, text_anchor="middle"
        )
    middle = (_LEFT + _RIGHT) / 2
    yield element("text", unit, x=middle, y=_BOTTOM + 36, text_anchor="middle")


def _key(*, is_line: bool) -> Iterator[Markup]:
    for place, name in enumerate(("real", "synthetic")):
        x = _LEFT + 8 + 90 * place
        if is_line:
            yield _line(f"M{x} 14h24", f"{name} line{' dashed' if place else ''}")
        else:
            yield element("rect", x=x, y=7, width=24, height=13, class_=f"{name} bar")
        yield element("text", name, x=x + 30, y=18)
