"""The mixes of a sweep. Of two of a kind the smaller is within the larger.

--ratios, --real-fraction --> mixes --in a fold--> its first n real volumes and its first S synthetic ones
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from math import ceil, floor
from typing import Any

from factory.counted import counted
from factory.errors import UsageError
from jobs.downstream.folds import Fold, Row
from jobs.downstream.plan import Plan
from manifests.errors import ManifestError
from manifests.mix import synthetic_count

_LABEL = re.compile(r"(?P<kind>real|ratio|extra)-(?P<amount>\d{1,30}(\.\d{1,30})?)")
_FLAGS = {"real": "--real-fraction", "ratio": "--ratios", "extra": "--ratios --extra"}
_MANY_DIGITS = 12


@dataclass(frozen=True, kw_only=True, slots=True)
class Mix:
    """One point of a curve."""

    kind: str
    """`real`: a part of the real volumes alone. `ratio`, `extra`: all of them, and synthetic ones, as
    `factory mix` means the words."""

    amount: Decimal
    """Part of the real volumes, synthetic share, or synthetic per real."""

    @property
    def label(self) -> str:
        """What folders and tables call it, as `extra-0.25`."""
        return f"{self.kind}-{self.amount:f}"

    @property
    def real_part(self) -> float:
        """Of all real volumes, those that it asks for."""
        return float(self.amount) if self.kind == "real" else 1.0

    @property
    def extra(self) -> float:
        """Synthetic volumes that it asks for, for each real one."""
        if self.kind == "ratio":
            return float(self.amount / (1 - self.amount))
        return float(self.amount) if self.kind == "extra" else 0.0


WHOLE = Mix(kind="real", amount=Decimal(1))
"""All real volumes and no other: what a gain is measured from."""


def parse_mixes(ratios: str | None, fractions: str | None, *, extra: bool) -> list[Mix]:
    """Return the mixes that the flags mean, `WHOLE` first: every sweep has it.

    Args:
        ratios: Numbers with commas between, as `0,0.25,0.5`; or None.
        fractions: The same, of the real volumes.
        extra: Whether ratios are synthetic volumes per real one; else they are the synthetic share.

    Raises:
        UsageError: Neither is given, or a number cannot be meant.
    """
    if ratios is None and fractions is None:
        raise UsageError(
            "found neither --ratios nor --real-fraction; expected one or both. Give --ratios "
            "0,0.25,0.5,0.75,1.0 --extra, or --real-fraction 0.25,0.5,0.75,1."
        )
    if extra and ratios is None:
        raise UsageError("--extra: found no --ratios, whose meaning it changes. Give --ratios too.")
    found = [
        *(_mix("extra" if extra else "ratio", amount) for amount in _numbers("--ratios", ratios)),
        *(_mix("real", amount) for amount in _numbers("--real-fraction", fractions)),
    ]
    return list(dict.fromkeys([WHOLE, *found]))


def mix_of(label: str) -> Mix | None:
    """Return the mix that a label is of; None of one that no sweep has."""
    found = _LABEL.fullmatch(label)
    if found is None:
        return None
    mix = Mix(kind=found["kind"], amount=Decimal(found["amount"]))
    is_meant = {"real": mix.amount <= 1, "ratio": mix.amount < 1, "extra": True}[mix.kind]
    return mix if is_meant and mix.amount else None


def volumes_of(mix: Mix, fold: Fold) -> list[Row]:
    """Return the volumes of a fold that train in a mix.

    Raises:
        UsageError: There are too few synthetic ones.
    """
    num_real, num_synthetic = counts_of(mix, fold)
    if num_synthetic > len(fold.synthetic):
        raise _not_enough(mix, fold, num_synthetic)
    return [*fold.real[:num_real], *fold.synthetic[:num_synthetic]]


def counts_of(mix: Mix, fold: Fold) -> tuple[int, int]:
    """Return how many real and synthetic volumes of a fold a mix asks for; there may be fewer."""
    num_real = len(fold.real)
    if mix.kind == "real":
        part = floor(Fraction(mix.amount) * num_real + Fraction(1, 2))
        return max(1, part), 0
    given: dict[str, Any] = {mix.kind: mix.amount}
    return num_real, synthetic_count(num_real, **given)


def distinct(
    mixes: Sequence[Mix], plan: Plan, earlier: Sequence[Mix] = ()
) -> tuple[list[Mix], dict[str, str]]:
    """Return one mix for all that would train on the same volumes in every fold.

    Args:
        mixes: What is asked for.
        plan: Where the volumes are from.
        earlier: Mixes that there are runs of, and whose names stay.

    Returns:
        The mixes, and for the label of each that goes by another name that other label.
    """
    first: dict[tuple[tuple[int, int], ...], Mix] = {}
    for mix in (WHOLE, *earlier, *mixes):
        first.setdefault(tuple(counts_of(mix, fold) for fold in plan.folds), mix)
    chosen, renamed = dict[Mix, None](), {}
    for mix in mixes:
        taken = first[tuple(counts_of(mix, fold) for fold in plan.folds)]
        chosen[taken] = None
        if taken != mix:
            renamed[mix.label] = taken.label
    return list(chosen), renamed


def _mix(kind: str, amount: Decimal) -> Mix:
    if kind == "real":
        if not 0 < amount <= 1:
            raise _not_meant(kind, amount, "expected above 0, and at most 1, which is all of them")
    else:
        given: dict[str, Any] = {kind: amount}
        try:
            synthetic_count(1, **given)
        except ManifestError as error:
            way_out = (
                " Give --extra too, and it is synthetic volumes per real one."
                if kind == "ratio"
                else ""
            )
            raise _not_meant(kind, amount, f"{error}{way_out}") from error
        if not amount:
            return WHOLE
    return Mix(kind=kind, amount=amount)


def _not_meant(kind: str, amount: Decimal, why: str) -> UsageError:
    return UsageError(f"{_FLAGS[kind]} {amount:f}: {why.rstrip('.')}. Correct the number.")


def _numbers(flag: str, text: str | None) -> Iterator[Decimal]:
    for part in text.split(",") if text is not None else ():
        try:
            amount = Decimal(part.strip())
        except InvalidOperation:
            amount = Decimal("nan")
        # Labels name folders: ten thousand digits, or 1e-9999, would not.
        if (
            not amount.is_finite()
            or len(f"{amount:e}") > _MANY_DIGITS
            or abs(amount.adjusted()) > _MANY_DIGITS
        ):
            raise UsageError(
                f"{flag}: found {part.strip()[:20]!r}; expected numbers with commas between, as "
                "0.25,0.5,0.75. Correct it."
            )
        yield amount.normalize() + 0


def _not_enough(mix: Mix, fold: Fold, wanted: int) -> UsageError:
    num_real, there = len(fold.real), len(fold.synthetic)
    of_fold = f" of fold {fold.number}" if fold.count > 1 else ""
    # Donors in the test fold bar their children: of all that are made, so much is left to a fold.
    usable = 1 - Fraction(1, fold.count) if fold.count > 1 else Fraction(1)
    needed = ceil(Fraction(wanted, num_real) / usable * 100) / 100
    most = Fraction(there, num_real) if mix.kind == "extra" else Fraction(there, num_real + there)
    return UsageError(
        f"{_FLAGS[mix.kind]}: {mix.amount:f} needs {counted(wanted, 'synthetic volume')} for "
        f"{counted(num_real, 'real training volume')}{of_fold}, but there are {there} that may train, rejected ones left out; expected as many. Give a whole lake and no mix "
        f"of it, ask for at most {floor(most * 10_000) / 10_000:g}, or make more with `factory generate --extra "
        f"{needed:g}`."
    )
