"""What people should know of a plan: at the terminal before the first run, and beneath the table."""

from collections.abc import Iterator

from factory.counted import counted
from jobs.console import say
from jobs.downstream.config import HEALTHY
from jobs.downstream.plan import Plan
from jobs.generate.synthesizers.traits import KNOWN

_WITHOUT_MODEL = {name for name, traits in KNOWN.items() if not traits.needs_model}
_PASTING = {name for name, traits in KNOWN.items() if traits.needs_crops}


def tell_of(plan: Plan, *, with_synthetic: bool) -> None:
    """Say what neither trains nor tests, and what a test of folds does not hold out.

    Args:
        plan: What is about to run.
        with_synthetic: Whether a synthetic volume trains.
    """
    for name, why in plan.left_out.items():
        say(f"left out: {name}: {why}")
    for line in (*notes_of(plan), *_barred(plan)):
        say(line)
    if len(plan.folds) > 1 and with_synthetic:
        for line in _unheld(plan):
            say(f"warning: {line}")


def notes_of(plan: Plan) -> list[str]:
    """Return the sentences that a table needs of scans which nobody annotated."""
    if not plan.num_unannotated:
        return []
    counted = f"{plan.num_unannotated} of {plan.num_real} real scans, which nobody annotated"
    if plan.unannotated == HEALTHY:
        return [
            f"warning: {counted}, count as free of nodules: what is found in them counts as false, and what "
            "they have trains as background"
        ]
    return [
        f'left out: {counted} (layout_origin none); [downstream] unannotated = "{HEALTHY}" takes them '
        "as free of nodules"
    ]


def _barred(plan: Plan) -> Iterator[str]:
    for rule, counts in plan.barred.items():
        if len(plan.folds) == 1:
            yield f"left out: {counted(counts[0], 'synthetic volume')} {rule}"
            continue
        low, high = min(counts), max(counts)
        count = f"{low} to {high}" if low < high else f"{low}"
        yield f"left out in each fold: {count} of {counted(plan.num_synthetic, 'synthetic volume')} {rule}"


def _unheld(plan: Plan) -> Iterator[str]:
    own = "the manifest's own split, without --folds, tests on none of them"
    samplers = {row["sampler"] for fold in plan.folds for row in fold.synthetic}
    if samplers - _WITHOUT_MODEL:
        yield (
            "each fold tests scans that the model of the synthetic volumes may have been trained on; "
            + own
        )
    if samplers & _PASTING:
        yield (
            "each fold tests scans whose nodules may be pasted into the synthetic volumes that train, in "
            "other donors' lungs; " + own
        )
