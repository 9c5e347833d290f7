"""Sections on what was made: counts, verdicts, what was given up."""

from collections import Counter
from collections.abc import Iterator, Sequence

from factory.counted import counted
from jobs.report.content import Content
from jobs.report.figures import (
    NOT_JUDGED,
    Spread,
    counts,
    num_patients,
    num_redrawn,
    reasons,
    spreads,
    tally,
)
from jobs.report.markup import Markup, element, table, terms
from manifests.read import mix_of
from manifests.schema import KINDS, QC_VERDICTS, SPLITS

SIGNS = {"accept": "\u2713", "review": "?", "reject": "\u2715"}
"""What tells a verdict without colour, beside its word."""

_MOST_GIVEN_UP = 100
_MOST_REASONS = 20
_MOST_TOLD = 30
_LONGEST = 4_000
"""Characters of a message: records may hold anything."""


def share(part: float, whole: float) -> str:
    """Return a share in percent; a dash of nothing."""
    return f"{100 * part / whole:.1f} %" if whole else "\u2013"


def summary(content: Content) -> Markup:
    """Return the figures that a reader looks for first."""
    lake = content.lake
    mix = mix_of(lake.table)
    verdicts = dict(tally(content.synthetic["qc_verdict"], absent=NOT_JUDGED))
    num_real = lake.table.num_rows - content.synthetic.num_rows
    fraction, per_real = mix.synthetic_fraction, mix.synthetic_per_real
    tiles: list[tuple[str, str]] = [
        ("synthetic volumes", f"{content.synthetic.num_rows:,}"),
        ("real volumes", f"{num_real:,}"),
        ("synthetic share", "\u2013" if fraction is None else f"{100 * fraction:.1f} %"),
        ("synthetic per real", "\u2013" if per_real is None else f"{per_real:.3g}"),
        *((f"{SIGNS[one]} {one}", f"{verdicts.get(one, 0):,}") for one in QC_VERDICTS),
        ("quarantined", f"{len(lake.quarantine):,}"),
    ]
    return terms(tiles, class_="tiles")


def made(content: Content) -> Iterator[Markup]:
    """Yield counts by kind and split."""
    rows, found = content.lake.table, counts(content.lake.table)
    mix = mix_of(rows)
    yield table(
        ["kind", *SPLITS, "all", "patients"],
        [
            [
                kind,
                *(found[kind, split] for split in SPLITS),
                sum(found[kind, split] for split in SPLITS),
                num_patients(rows, kind),
            ]
            for kind in KINDS
        ],
        caption="Volumes by kind and split",
    )
    yield element(
        "p",
        f"Of the training split {share(mix.num_synthetic, mix.num_real + mix.num_synthetic)} are synthetic: "
        f"{mix.num_synthetic:,} synthetic, {mix.num_real:,} real. A synthetic volume is in its donor's split. "
        "Rejected volumes are counted here, and enter no mix.",
    )
    if content.synthetic.num_rows:
        yield table(
            ["layout", "synthetic volumes"],
            tally(content.synthetic["layout_origin"]),
            caption="Whose nodules the volumes were drawn after",
        )


def quality(content: Content) -> Iterator[Markup]:
    """Yield verdicts, and what led to them."""
    synthetic = content.synthetic
    if not synthetic.num_rows:
        yield element("p", "No synthetic volume yet, so none was judged.")
        return
    verdicts = dict(tally(synthetic["qc_verdict"], absent=NOT_JUDGED))
    names = [*QC_VERDICTS, *(name for name in verdicts if name not in QC_VERDICTS)]
    yield table(
        ["verdict", "volumes", "share"],
        [
            [verdict(name), verdicts.get(name, 0), share(verdicts.get(name, 0), synthetic.num_rows)]
            for name in names
        ],
        caption="Verdicts of quality control on synthetic volumes",
    )
    if redrawn := num_redrawn(synthetic):
        yield element(
            "p",
            f"{counted(redrawn, 'volume')} took more than one draw: earlier ones were rejected.",
        )
    yield from _reasons(content)
    yield table(
        ["figure", "volumes", "5 %", "median", "95 %"],
        [
            [one.name, one.n, *(_figure(value, one) for value in (one.low, one.median, one.high))]
            for one in spreads(synthetic)
        ],
        caption="What was measured: percentiles over synthetic volumes",
    )


def _figure(value: float, of: Spread) -> str:
    text = f"{100 * value:.3g} %" if of.is_share else f"{value:.4g}"
    return text.replace("-", "\u2212")


def _reasons(content: Content) -> Iterator[Markup]:
    found = reasons(content.synthetic)
    if not found:
        yield element("p", "No volume has a reason against it.")
        return
    yield table(
        ["what was beyond its limit", "rejected", "to review", "for example"],
        [
            [one.name, one.num_rejected, one.num_reviewed, one.example]
            for one in found[:_MOST_REASONS]
        ],
        caption="What led to review or rejection, the most frequent first; a volume may have several",
    )
    if len(found) > _MOST_REASONS:
        yield element("p", f"{len(found) - _MOST_REASONS} more reasons are in the manifest.")


def verdict(name: str | None) -> Markup:
    """Return a verdict as a badge."""
    word = name or NOT_JUDGED
    return element("span", f"{SIGNS.get(word, '')} {word}".strip(), class_="verdict")


def quarantine(content: Content) -> Iterator[Markup]:
    """Yield what was given up, and why."""
    records = content.lake.quarantine
    if not records:
        yield element("p", "Nothing was given up.")
        return
    classes = Counter(str(record.get("error_class")) for record in records)
    yield element("p", ", ".join(f"{num:,} {name}" for name, num in classes.most_common(20)) + ".")
    yield table(
        ["item", "case", "stage", "tries", "why"],
        [
            [
                element("code", str(record.get("item_id"))[:12]),
                *(
                    str(record.get(name, ""))[:_LONGEST]
                    for name in ("case_id", "stage", "attempts", "message")
                ),
            ]
            for record in records[:_MOST_GIVEN_UP]
        ],
        caption="Given up",
    )
    if len(records) > _MOST_GIVEN_UP:
        yield element(
            "p", f"{len(records) - _MOST_GIVEN_UP:,} more are in the lake's quarantine folder."
        )


def notice(problems: Sequence[str], title: str) -> Iterator[Markup]:
    """Yield a box of what a reader should know; nothing where there is nothing."""
    if problems:
        more = len(problems) - _MOST_TOLD
        told = [*problems[:_MOST_TOLD], *([f"{more:,} more"] if more > 0 else [])]
        items = (element("li", problem) for problem in told)
        yield element("div", element("strong", title), element("ul", *items), class_="notice")
