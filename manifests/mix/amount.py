"""How many synthetic volumes a mix gets: a share, a number per real one, or a number."""

from decimal import Decimal
from fractions import Fraction
from math import floor

from manifests.errors import ManifestError

Amount = int | float | str | Fraction | Decimal
"""A number, or its decimal text; 0.1 means a tenth, not the double nearest to it."""

_MEANINGS = {
    "ratio": "ratio (synthetic share of the mixed set)",
    "extra": "extra (synthetic per real)",
    "count": "count (number of synthetic volumes)",
}


def synthetic_count(
    num_real_train: int,
    *,
    ratio: Amount | None = None,
    extra: Amount | None = None,
    count: Amount | None = None,
) -> int:
    """Return how many synthetic volumes S to add to R real training volumes.

    Give exactly one of the three. S is rounded half up, in exact arithmetic.

    Args:
        num_real_train: R, real volumes in the training split.
        ratio: Synthetic share f of the mixed set, in [0, 1): S = f / (1 - f) * R. The paper
            of Lung-DDPM recommends 0.25.
        extra: Synthetic per real, at least 0: S = extra * R (the paper's Fig. 5a, Table III).
        count: S itself, a whole number, at least 0.

    Raises:
        ManifestError: None or several are given, the number is outside its range, or a share
            is asked of no real volumes.
    """
    name, amount = _the_one({"ratio": ratio, "extra": extra, "count": count})
    if name == "count":
        return _whole(amount)
    per_real = _per_real_of_ratio(amount) if name == "ratio" else _at_least_zero(name, amount)
    if per_real and num_real_train < 1:
        raise ManifestError(
            f"{name} is {_text(amount)}, but there are {num_real_train} real training volumes, "
            "expected at least 1 to take a share of. Use count instead."
        )
    return floor(per_real * num_real_train + Fraction(1, 2))


def _the_one(given: dict[str, Amount | None]) -> tuple[str, Fraction]:
    found = {name: amount for name, amount in given.items() if amount is not None}
    if len(found) != 1:
        raise ManifestError(
            f"found {' and '.join(found) or 'none'}, expected exactly one of "
            f"{', '.join(_MEANINGS.values())}. Give one."
        )
    ((name, amount),) = found.items()
    try:
        return name, Fraction(str(amount))
    except (ValueError, ZeroDivisionError):
        raise ManifestError(
            f"{name} is {amount!r}, expected a number. Give {_MEANINGS[name]} as 0.25 or 200."
        ) from None


def _per_real_of_ratio(ratio: Fraction) -> Fraction:
    if ratio == 1:
        raise ManifestError(
            "ratio is 1, expected 0 <= ratio < 1: a set that is all synthetic needs infinitely "
            "many synthetic volumes, or no real ones. Use count for a number of volumes."
        )
    if not 0 <= ratio < 1:
        raise ManifestError(
            f"ratio is {_text(ratio)}, expected 0 <= ratio < 1 (synthetic share of the mixed set: "
            "0.25 is 75% real + 25% synthetic). Use extra for synthetic per real."
        )
    return ratio / (1 - ratio)


def _at_least_zero(name: str, amount: Fraction) -> Fraction:
    if amount < 0:
        raise ManifestError(
            f"{name} is {_text(amount)}, expected at least 0. Give {_MEANINGS[name]}."
        )
    return amount


def _whole(count: Fraction) -> int:
    if _at_least_zero("count", count).denominator != 1:
        raise ManifestError(
            f"count is {_text(count)}, expected a whole number of volumes. Use ratio for a share."
        )
    return count.numerator


def _text(amount: Fraction) -> str:
    return f"{float(amount):g}"
