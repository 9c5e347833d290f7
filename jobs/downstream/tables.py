"""The downstream task in the form of the paper's Table III, as Markdown.

a line a mix, over the published rows; then how sure, against the real volumes alone, by nodule size
"""

import math
from collections.abc import Iterator, Sequence

from factory.counted import counted
from factory.evaluation.intervals import Interval
from factory.segmentation.summary import NAMES, Summary
from factory.segmentation.trials import SIZE_GROUPS
from jobs.downstream.caveats import caveats, cell
from jobs.downstream.figures import MixFigures
from jobs.downstream.published import (
    NUM_CASES,
    NUM_REAL,
    PUBLISHED,
    SPECIFICITY,
    PublishedMix,
    beside,
)
from jobs.downstream.sweep.mixes import WHOLE
from jobs.markdown_table import head, line

_OVER = ("over patients", "over seeds", "over both", "over folds")
_SHARES = ("dice", "sensitivity", "specificity")
_COMPARED = (*_SHARES, "false_per_scan", "nodules_found")
_TITLES = {
    "dice": "Dice",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
    "false_per_scan": "false positives per scan",
    "nodules_found": "nodules found (lesion-wise sensitivity)",
}


def table3(mixes: Sequence[MixFigures], notes: Sequence[str] = ()) -> str:
    """Return Table III, with the intervals, the paired differences and the sizes below.

    Args:
        mixes: Of `figures_of`.
        notes: Sentences on what is missing.
    """
    return "\n".join(
        [
            "# Table III: downstream segmentation",
            "",
            "Nodules of real test cases, by networks that were trained on real volumes (R) and synthetic ones "
            "(S). Mean ± standard deviation over the tests of all cases, with the 95 % interval over patients.",
            "",
            *head(_HEADINGS),
            *(_own_line(mix) for mix in mixes),
            *(_published_line(one) for one in PUBLISHED),
            "",
            "Published columns: Table III of Lung-DDPM (IEEE TBME 2025), as the authors' poster has it.",
            "",
            *caveats(mixes),
            *(f"- {cell(note)}" for note in notes),
            "",
            *_how_sure(mixes),
            *_against(mixes),
            *_by_size(mixes),
        ]
    )


def headline(mix: MixFigures) -> str:
    """Return Dice, sensitivity and specificity of a mix in one line, with their intervals."""
    told = [(_TITLES[name], mix.summary(name)) for name in _SHARES]
    parts = [f"{title} {_with_ends(one)}" for title, one in told if one]
    patients = max((one.num_patients for _, one in told if one), default=0)
    return (
        f"{', '.join(parts)}; 95 % over {counted(patients, 'patient')}" if parts else "no test case"
    )


_HEADINGS = (
    *("mix", "label", "R", "S", "cases", "trainings"),
    *("Dice", "95 %", "sensitivity", "95 %", "specificity", "95 %"),
    *("published: Dice", "published: sensitivity"),
)


def _own_line(mix: MixFigures) -> str:
    figures = [mix.summary(name) for name in _SHARES]
    num_cases = max((one.n for one in figures if one), default=0)
    counts = [_count(mix.num_real), _count(mix.num_synthetic), num_cases, len(mix.trainings)]
    return line(
        f"**{cell(mix.title)}**",
        f"`{cell(mix.label)}`",
        *map(str, counts),
        *(text for one in figures for text in (_spread(one), _ends(one))),
        *beside(mix.real_part, mix.extra),
    )


def _published_line(one: PublishedMix) -> str:
    counts = [str(NUM_REAL), str(one.num_synthetic), str(NUM_CASES), ""]
    cells = [f"{one.title}, published", "", *counts, *[""] * 4, SPECIFICITY, ""]
    return line(*cells, one.dice, one.sensitivity)


def _how_sure(mixes: Sequence[MixFigures]) -> list[str]:
    headings = ("mix", "figure", "mean", *_OVER)
    lines = [
        line(cell(mix.title), _TITLES[name], _value(one), *_all_ends(one), *_counts(one))
        for mix in mixes
        for name in _COMPARED
        if (one := mix.summary(name))
    ]
    counted = ("cases or nodules", "patients", "seeds")
    return ["## Intervals of 95 %", "", *head((*headings, *counted)), *lines, "", *_meanings()]


def _against(mixes: Sequence[MixFigures]) -> list[str]:
    if not any(mix.against for mix in mixes):
        return []
    baseline = next(mix.title for mix in mixes if mix.label == WHOLE.label)
    headings = ("mix", "figure", "difference", *_OVER)
    lines = [
        line(
            cell(mix.title),
            _TITLES[name],
            _signed(one),
            *_all_ends(one),
            f"{one.num_seeds_better} of {len(one.of_seeds)}",
            str(one.num_tests),
        )
        for mix in mixes
        for name in _COMPARED
        if (one := mix.difference(name))
    ]
    return [
        f"## Against {cell(baseline)}, test by test",
        "",
        "Means of differences: each is of one case, one seed and one fold, which both have, so that the spread "
        "of cases is not in them. Whether synthetic volumes help is told here, not by intervals above that "
        "overlap. Better is more, and of false positives fewer.",
        "",
        *head((*headings, "better in seeds", "pairs")),
        *lines,
        "",
    ]


def _by_size(mixes: Sequence[MixFigures]) -> list[str]:
    headings = (
        "size",
        "mix",
        "nodules",
        "found",
        "95 %",
        "voxels of a nodule",
        "95 %",
        "cases",
        "Dice",
        "95 %",
    )
    lines = []
    for group in SIZE_GROUPS:
        for mix in mixes:
            found, voxels, dice = (
                mix.summary(name, group) for name in ("nodules_found", "nodule_sensitivity", "dice")
            )
            if found:
                cells = [
                    str(found.n),
                    *_two(found),
                    *_two(voxels),
                    str(dice.n if dice else 0),
                    *_two(dice),
                ]
                lines.append(line(group, cell(mix.title), *cells))
    if not lines:
        return ["No test case has a nodule.", ""]
    return [
        "## By nodule size",
        "",
        "Diameter of the sphere of a nodule's volume; of a case, its largest nodule's. Found: one voxel or more; "
        "its interval is Wilson's, of as many nodules as patients. All other figures by size, and their "
        "differences, are in figures.parquet.",
        "",
        *head(headings),
        *lines,
        "",
    ]


def _meanings() -> list[str]:
    told = [f"{_TITLES[name]}: {NAMES[name]}" for name in _COMPARED]
    return [f"{'; '.join(told)}.", ""]


def _two(one: Summary | None) -> tuple[str, str]:
    return (_value(one), _ends(one)) if one else ("-", "-")


def _all_ends(one: Summary) -> Iterator[str]:
    for interval in (one.over_patients, one.over_seeds, one.over_both, one.over_folds):
        yield _interval(one, interval)


def _counts(one: Summary) -> tuple[str, str, str]:
    return str(one.n), str(one.num_patients), str(len(one.of_seeds))


def _spread(one: Summary | None) -> str:
    if one is None:
        return "-"
    return _value(one) if math.isnan(one.sd) else f"{_value(one)} ± {one.sd:.{_digits(one)}f}"


def _with_ends(one: Summary) -> str:
    ends = _ends(one)
    return _value(one) if ends == "-" else f"{_value(one)} ({ends})"


def _ends(one: Summary | None) -> str:
    return _interval(one, one.over_patients) if one else "-"


def _interval(one: Summary, interval: Interval) -> str:
    if math.isnan(interval.low) or math.isnan(interval.high):
        return "-"
    digits = _digits(one)
    return f"{interval.low:.{digits}f} to {interval.high:.{digits}f}"


def _value(one: Summary) -> str:
    return f"{one.value:.{_digits(one)}f}"


def _signed(one: Summary) -> str:
    return f"{one.value:+.{_digits(one)}f}"


def _digits(one: Summary) -> int:
    # Of specificity all that differs is behind the fourth digit.
    return {"specificity": 6, "false_per_scan": 2}.get(one.name, 4)


def _count(ends: tuple[int, int]) -> str:
    low, high = ends
    return str(low) if low == high else f"{low} to {high}"
