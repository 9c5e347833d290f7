"""The section of slices: each volume with its donor, its layout and what differs."""

import json
from collections.abc import Iterator
from typing import Any

from factory.counted import counted
from jobs.report.content import Content
from jobs.report.made import verdict
from jobs.report.markup import Markup, element, terms, together
from jobs.report.packed import Packed
from jobs.report.voxels import Shown

_PANELS = {
    "reference": "Reference: the donor's scan",
    "layout": "Layout: lung tinted, dashed; nodule outlined",
    "synthetic": "Synthetic",
    "difference": "Synthetic minus reference",
}
_WINDOWS = {"lung": "Lung \u2212600/1500", "mediastinum": "Mediastinum 40/400"}


def slices(content: Content) -> Iterator[Markup]:
    """Yield the volumes that were chosen, each with its viewer."""
    if not content.shown:
        yield element("p", "No synthetic volume is shown.")
        return
    yield element(
        "p",
        f"{len(content.shown)} of {counted(content.synthetic.num_rows, 'synthetic volume')}. {content.rule}",
    )
    yield element(
        "p",
        "Axial slices from the feet: anterior is up, the patient's right (R) on the left. Windows are level/width "
        "in HU. The difference runs from \u2212500 HU ",
        element(
            "span", class_="scale", role="img", aria_label="dark blue over grey to bright yellow"
        ),
        " to +500 HU; grey is none. Move a slice with its slider, or with arrow keys once it has the focus.",
    )
    yield element(
        "noscript",
        element("p", "The slices need JavaScript, which is in this file; nothing is fetched."),
    )
    for number, shown in enumerate(content.shown, start=1):
        yield _volume(f"volume-{number}", shown)


def _volume(name: str, shown: Shown) -> Markup:
    row = shown.chosen.row
    title = f"{row['case_id']}, draw {row['seed_index']}"
    parts = [
        element("h3", title, " ", verdict(row["qc_verdict"]), id=f"{name}-title"),
        terms(_facts(shown)),
    ]
    if shown.remark:
        parts.append(element("p", f"Note: {shown.remark}", class_="notice"))
    if shown.packed:
        parts += [_viewer(name, title, shown.packed), _data(f"{name}-slices", shown.packed)]
    return element("article", *parts, class_="volume", id=name, aria_labelledby=f"{name}-title")


def _facts(shown: Shown) -> Iterator[tuple[str, str | Markup]]:
    row = shown.chosen.row
    yield "work id", element("code", row["work_id"])
    yield "shown as", shown.chosen.why
    for reason in row["qc_reasons"] or ():
        yield "reason", reason
    for note in row["notes"] or ():
        yield "note", note
    yield "nodules", _nodules(row)
    yield "grid", f"{_times(row['shape'])} voxels of {_times(row['spacing_mm'])} mm (z, y, x)"
    yield "seed", str(row["seed"])
    if shown.packed:
        yield "slices here", _told(shown.packed)


def _nodules(row: dict[str, Any]) -> str:
    if row["nodules"] is None:
        return "not measured"
    sizes = sorted((one["diameter_mm"] for one in row["nodules"]), reverse=True)
    return ", ".join(f"{size:.1f} mm" for size in sizes) or "none"


def _times(values: list[float]) -> str:
    return " \u00d7 ".join(f"{value:.4g}" for value in values)


def _told(packed: Packed) -> str:
    step = packed.planes[1] - packed.planes[0] if len(packed.planes) > 1 else 1
    which = "all" if step == 1 else f"one of {step}"
    size = f"{packed.num_bytes / 1e6:.2f} MB of this file"
    return f"{len(packed.planes)} of {packed.num_slices} ({which}), {size}"


def _viewer(name: str, title: str, packed: Packed) -> Markup:
    return element(
        "div",
        element(
            "div",
            _slider(f"{name}-slice", packed),
            _presets(title),
            element(
                "label",
                element("input", type="checkbox", autocomplete="off"),
                " outline the layout in all four",
                class_="option",
            ),
            class_="controls",
        ),
        element("div", *_panels(title, packed), class_="panels"),
        element("p", "Point at a voxel for its HU.", class_="quiet readout"),
        element("p", role="status"),
        class_="viewer",
        data_slices=f"{name}-slices",
    )


def _slider(name: str, packed: Packed) -> Markup:
    return element(
        "div",
        element("label", "Slice ", element("output", for_=name), for_=name),
        element(
            "input",
            type="range",
            id=name,
            min=0,
            max=len(packed.planes) - 1,
            value=packed.content["first"],
            step=1,
            autocomplete="off",
        ),
        class_="slice",
    )


def _presets(title: str) -> Markup:
    buttons = (
        element(
            "button",
            told,
            type="button",
            data_window=window,
            aria_pressed="true" if window == "lung" else "false",
        )
        for window, told in _WINDOWS.items()
    )
    return element("div", *buttons, class_="presets", role="group", aria_label=f"Window of {title}")


def _panels(title: str, packed: Packed) -> Iterator[Markup]:
    for panel, told in _PANELS.items():
        if packed.content["reference"] or panel in ("layout", "synthetic"):
            yield element(
                "figure",
                element("canvas", data_panel=panel, role="img", aria_label=f"{told}, {title}"),
                element("figcaption", told),
            )


def _data(name: str, packed: Packed) -> Markup:
    # Within a script nothing is unescaped, and "</script>" in whatever form would end it.
    text = json.dumps(packed.content, separators=(",", ":")).replace("<", "\\u003c")
    return together([Markup(f'<script type="application/json" id="{name}">{text}</script>')])
