"""What stands beneath Table III: how it may be read, and what it lacks."""

from collections.abc import Iterator, Sequence

from factory.segmentation.intervals import LEAST_PATIENTS
from jobs.downstream.figures import MixFigures
from jobs.downstream.sweep.mixes import WHOLE


def cell(text: str) -> str:
    """Return a text that breaks no line of a table, and no list."""
    return " ".join(text.replace("|", "/").replace("`", "'").split())


def caveats(mixes: Sequence[MixFigures]) -> list[str]:
    """Return the sentences beneath Table III: how it may be read, and what it lacks.

    Args:
        mixes: Of `figures_of`.
    """
    return [
        "- **Values beside published ones say little; differences from R say more.** Theirs are of 249 test "
        "cases of a split of their own, after 800 real training volumes; here are other cases, as many as the "
        "table says, and another training. An absolute Dice goes by scans, resolution and nodule sizes, and is "
        "higher where few nodules are small. Their ± is over cases; how many trainings a mix had is not said.",
        "- Beside a mix of all real volumes stands Lung-DDPM with about as many synthetic ones per real one: "
        "183 of 800 are 23 %.",
        "- Dice and sensitivity are of cases that have a nodule. False positives, in all cases, count in "
        "specificity, which is near 1 whatever is predicted, for nearly all voxels are background.",
        "- Over patients: what other patients would have given with the same trainings; none of fewer than "
        f"{LEAST_PATIENTS}. Over seeds: what other trainings would have given on the same patients. Neither "
        "has the other's spread in it; over both has: **believe a gain whose interval over both leaves 0 out**, "
        "and remember how many mixes and figures were looked at.",
        "- No interval here covers another training of the generator, another lake of it, or another choice of "
        "training cases.",
        *_without_baseline(mixes),
        *_of_one_seed(mixes),
        *_lacking_trainings(mixes),
        *_lacking_cases(mixes),
        *_lacking_volumes(mixes),
    ]


def _of_one_seed(mixes: Sequence[MixFigures]) -> list[str]:
    if any(len(one.of_seeds) > 1 for mix in mixes for one in mix.summaries):
        return []
    return [
        "- **One seed says nothing of other trainings**, which can differ by more than what synthetic volumes "
        "bring. Give three or more."
    ]


def _without_baseline(mixes: Sequence[MixFigures]) -> list[str]:
    if any(mix.label == WHOLE.label for mix in mixes):
        return []
    return [
        f"- **R is missing**: no run of all real volumes alone (`{WHOLE.label}`) is finished, so that no "
        "difference from it can be told."
    ]


def _lacking_volumes(mixes: Sequence[MixFigures]) -> Iterator[str]:
    """Yield a sentence for each mix with trainings that went without volumes."""
    for mix in mixes:
        if mix.left_out:
            (seed, fold), volumes = min(mix.left_out.items())
            name, why = next(iter(volumes.items()))
            yield (
                f"- {cell(mix.title)}: {len(mix.left_out)} of {len(mix.trainings)} trainings went without volumes "
                f"that could not be used, as seed {seed} of fold {fold} without {len(volumes)}, {cell(name)} among "
                f"them: {cell(why)}"
            )


def _lacking_cases(mixes: Sequence[MixFigures]) -> Iterator[str]:
    """Yield a sentence for each mix with trainings that were tested on fewer cases than others."""
    of_fold: dict[int, frozenset[str]] = {}
    for mix in mixes:
        for (_, fold), cases in mix.tested.items():
            of_fold[fold] = of_fold.get(fold, frozenset()) | cases
    for mix in mixes:
        short = sorted(one for one, cases in mix.tested.items() if cases < of_fold[one[1]])
        if short:
            seed, fold = short[0]
            missing = sorted(of_fold[fold] - mix.tested[seed, fold])
            yield (
                f"- {cell(mix.title)}: {len(short)} of {len(mix.trainings)} trainings were tested on fewer cases "
                f"than others, as seed {seed} of fold {fold} without {len(missing)}, {cell(missing[0])} among "
                "them: its means are of other cases, its differences of pairs alone."
            )


def _lacking_trainings(mixes: Sequence[MixFigures]) -> Iterator[str]:
    """Yield a sentence for each mix that lacks trainings which others have."""
    every = frozenset[tuple[int, int]]().union(*(mix.trainings for mix in mixes))
    for mix in mixes:
        if missing := sorted(every - mix.trainings):
            seed, fold = missing[0]
            yield (
                f"- {cell(mix.title)} lacks {len(missing)} of {len(every)} trainings, as seed {seed} of fold "
                f"{fold}: its means are of fewer tests than the others', its differences of pairs alone."
            )
