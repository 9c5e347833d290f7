"""Mixing real and synthetic volumes for the training of a downstream model.

    all real rows + the first S usable synthetic rows of the plan -> rows of one mixed manifest

A smaller mix is a subset of a larger one, and no mix holds a child of a held-out patient.
"""

from decimal import Decimal
from fractions import Fraction
from math import floor

import pyarrow as pa
import pyarrow.compute as pc

from manifests.errors import ManifestError
from manifests.read import mix_of
from manifests.write import in_manifest_order, with_mix

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


def mix(
    table: pa.Table,
    *,
    ratio: Amount | None = None,
    extra: Amount | None = None,
    count: Amount | None = None,
) -> pa.Table:
    """Return all real rows and the first S training synthetic rows by (plan_index, work_id).

    Usable are synthetic rows whose split is train, whose donor, as a patient and as a case,
    has no row in val or test, and that quality control did not reject. What is drawn for a
    mix therefore is in each larger one too.

    Args:
        table: Manifest of real and synthetic rows, in any order.
        ratio: As in `synthetic_count`; exactly one of the three.
        extra: As in `synthetic_count`.
        count: As in `synthetic_count`.

    Returns:
        Table in manifest order with its mix columns counted anew. URIs are as they were: use
        `rebase_uris` before it is written to another folder.

    Raises:
        ManifestError: As in `synthetic_count`, or there are fewer than S usable rows.
    """
    real = table.filter(pc.equal(table["kind"], "real"))
    num_real = mix_of(real).num_real
    wanted = synthetic_count(num_real, ratio=ratio, extra=extra, count=count)
    usable = in_manifest_order(_usable(table))
    if wanted > usable.num_rows:
        raise _not_enough(wanted, num_real, usable.num_rows, _num_synthetic(table))
    return with_mix(in_manifest_order(pa.concat_tables([real, usable.slice(0, wanted)])))


def _usable(table: pa.Table) -> pa.Table:
    synthetic = table.filter(pc.equal(table["kind"], "synthetic"))
    held_out = table.filter(pc.not_equal(table["split"], "train"))
    held_out_real = held_out.filter(pc.equal(held_out["kind"], "real"))
    barred = pc.or_(
        pc.is_in(synthetic["patient_id"], value_set=held_out["patient_id"].combine_chunks()),
        pc.is_in(synthetic["case_id"], value_set=held_out_real["case_id"].combine_chunks()),
    )
    rejected = pc.fill_null(pc.equal(synthetic["qc_verdict"], "reject"), False)
    return synthetic.filter(
        pc.and_(pc.equal(synthetic["split"], "train"), pc.invert(pc.or_(barred, rejected)))
    )


def _num_synthetic(table: pa.Table) -> int:
    return int(table.filter(pc.equal(table["kind"], "synthetic")).num_rows)


def _not_enough(wanted: int, num_real: int, num_usable: int, num_all: int) -> ManifestError:
    largest = f"count {num_usable}"
    if num_real:
        # Rounded down, so that the ratio named here can be asked for.
        ratio = floor(Fraction(num_usable, num_real + num_usable) * 10_000) / 10_000
        largest = f"ratio {ratio:g} or {largest}"
    return ManifestError(
        f"the mix needs {wanted} synthetic volumes for {num_real} real training volumes, but the "
        f"manifest has {num_usable} that may be used ({num_all - num_usable} more are rejected, "
        f"or their donor is in val or test). Ask for at most {largest}, or generate more."
    )


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
