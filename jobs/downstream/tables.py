"""The downstream task in the form of the paper's Table III, as Markdown.

a line a mix, over the published rows; then how sure, against the real volumes alone, by nodule size
"""

import math
from collections.abc import Iterator, Sequence

from factory.evaluation.intervals import Interval
from factory.segmentation.intervals import LEAST_PATIENTS
from factory.segmentation.summary import NAMES, Summary
from factory.segmentation.trials import SIZE_GROUPS
from jobs.downstream.figures import MixFigures
from jobs.downstream.published import (
    NUM_CASES,
    NUM_REAL,
    PUBLISHED,
    SPECIFICITY,
    PublishedMix,
    beside,
)

_SHARES = ("dice", "sensitivity", "specificity")
_COMPARED = (*_SHARES, "false_per_case", "nodules_found")
_TITLES = {
    "dice": "Dice",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
    "false_per_case": "false pieces a case",
    "nodules_found": "nodules found",
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
            *_head(_HEADINGS),
            *(_own_line(mix) for mix in mixes),
            *(_published_line(one) for one in PUBLISHED),
            "",
            "Published columns: Table III of Lung-DDPM (IEEE TBME 2025), as the authors' poster has it.",
            "",
            *_comparable(mixes),
            *_incomplete(mixes),
            *(f"- {_cell(note)}" for note in notes),
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
    return f"{', '.join(parts)}; 95 % over {patients} patients" if parts else "no test case"


_HEADINGS = (
    *("mix", "label", "R", "S", "cases", "trainings"),
    *("Dice", "95 %", "sensitivity", "95 %", "specificity", "95 %"),
    *("published: Dice", "published: sensitivity"),
)


def _own_line(mix: MixFigures) -> str:
    figures = [mix.summary(name) for name in _SHARES]
    num_cases = max((one.n for one in figures if one), default=0)
    counts = [_count(mix.num_real), _count(mix.num_synthetic), num_cases, len(mix.trainings)]
    return _line(
        f"**{_cell(mix.title)}**",
        f"`{_cell(mix.label)}`",
        *map(str, counts),
        *(cell for one in figures for cell in (_spread(one), _ends(one))),
        *beside(mix.real_part, mix.extra),
    )


def _published_line(one: PublishedMix) -> str:
    counts = [str(NUM_REAL), str(one.num_synthetic), str(NUM_CASES), ""]
    cells = [f"{one.title}, published", "", *counts, *[""] * 4, SPECIFICITY, ""]
    return _line(*cells, one.dice, one.sensitivity)


def _comparable(mixes: Sequence[MixFigures]) -> list[str]:
    return [
        "- **Values beside published ones say little; differences from R say more.** Theirs are of 249 test "
        "cases of a split of their own, after 800 real training volumes; here are other cases, as many as the "
        "table says, and another training. An absolute Dice goes by scans, resolution and nodule sizes, and is "
        "higher where few nodules are small. Their ± is over cases; how many trainings a mix had is not said.",
        "- Beside a mix of all real volumes stands Lung-DDPM with about as many synthetic ones per real one: "
        "183 of 800 are 23 %.",
        "- Dice and sensitivity are of cases that have a nodule. False pieces, in all cases, count in "
        "specificity, which is near 1 whatever is predicted, for nearly all voxels are background.",
        "- Over patients: what other patients would have given with the same trainings; none of fewer than "
        f"{LEAST_PATIENTS}. Over seeds: what other trainings would have given on the same patients. Neither "
        "has the other's spread in it: believe a gain that both tell from 0.",
        *_of_one_seed(mixes),
    ]


def _of_one_seed(mixes: Sequence[MixFigures]) -> list[str]:
    if any(len(one.of_seeds) > 1 for mix in mixes for one in mix.summaries):
        return []
    return [
        "- **One seed says nothing of other trainings**, which can differ by more than what synthetic volumes "
        "bring. Give three or more."
    ]


def _incomplete(mixes: Sequence[MixFigures]) -> Iterator[str]:
    """Yield a sentence for each mix that lacks trainings which others have."""
    every = frozenset[tuple[int, int]]().union(*(mix.trainings for mix in mixes))
    for mix in mixes:
        if missing := sorted(every - mix.trainings):
            seed, fold = missing[0]
            yield (
                f"- {_cell(mix.title)} lacks {len(missing)} of {len(every)} trainings, as seed {seed} of fold "
                f"{fold}: its means are of fewer tests than the others', its differences of pairs alone."
            )


def _how_sure(mixes: Sequence[MixFigures]) -> list[str]:
    headings = ("mix", "figure", "mean", "over patients", "over seeds", "over folds")
    lines = [
        _line(_cell(mix.title), _TITLES[name], _value(one), *_three_ends(one), *_counts(one))
        for mix in mixes
        for name in _COMPARED
        if (one := mix.summary(name))
    ]
    counted = ("cases or nodules", "patients", "seeds")
    return ["## Intervals of 95 %", "", *_head((*headings, *counted)), *lines, "", *_meanings()]


def _against(mixes: Sequence[MixFigures]) -> list[str]:
    baseline = next((mix.title for mix in mixes if not mix.against), "")
    if not any(mix.against for mix in mixes):
        return []
    headings = ("mix", "figure", "difference", "over patients", "over seeds", "over folds")
    lines = [
        _line(
            _cell(mix.title),
            _TITLES[name],
            _signed(one),
            *_three_ends(one),
            f"{one.num_seeds_better} of {len(one.of_seeds)}",
            str(one.num_tests),
        )
        for mix in mixes
        for name in _COMPARED
        if (one := mix.difference(name))
    ]
    return [
        f"## Against {_cell(baseline)}, test by test",
        "",
        "Means of differences: each is of one case, one seed and one fold, which both have, so that the spread "
        "of cases is not in them. Whether synthetic volumes help is told here, not by intervals above that "
        "overlap. Better is more, and of false pieces fewer.",
        "",
        *_head((*headings, "better in seeds", "pairs")),
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
                lines.append(_line(group, _cell(mix.title), *cells))
    if not lines:
        return ["No test case has a nodule.", ""]
    return [
        "## By nodule size",
        "",
        "Diameter of the sphere of a nodule's volume; of a case, its largest nodule's. Found: one voxel or more; "
        "its interval is Wilson's, of as many nodules as patients. All other figures by size, and their "
        "differences, are in figures.parquet.",
        "",
        *_head(headings),
        *lines,
        "",
    ]


def _meanings() -> list[str]:
    told = [f"{_TITLES[name]}: {NAMES[name]}" for name in _COMPARED]
    return [f"{'; '.join(told)}.", ""]


def _two(one: Summary | None) -> tuple[str, str]:
    return (_value(one), _ends(one)) if one else ("-", "-")


def _three_ends(one: Summary) -> tuple[str, str, str]:
    return (
        _interval(one, one.over_patients),
        _interval(one, one.over_seeds),
        _interval(one, one.over_folds),
    )


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
    return {"specificity": 6, "false_per_case": 2}.get(one.name, 4)


def _count(ends: tuple[int, int]) -> str:
    low, high = ends
    return str(low) if low == high else f"{low} to {high}"


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "/").replace("`", "'").split())


def _head(headings: Sequence[str]) -> list[str]:
    return [_line(*headings), _line(*["---"] * len(headings))]


def _line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"
