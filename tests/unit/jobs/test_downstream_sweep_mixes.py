"""The mixes of a sweep: which volumes each one has, and what cannot be meant."""

import itertools
from typing import Any

import pytest

from factory.errors import UsageError
from jobs.downstream.folds import Fold
from jobs.downstream.plan import Plan
from jobs.downstream.sweep.mixes import (
    WHOLE,
    Mix,
    counts_of,
    distinct,
    mix_of,
    parse_mixes,
    volumes_of,
)

RATIOS = "0,0.25,0.5,0.75,1.0"


def fold_of(num_real: int, num_synthetic: int, *, number: int = 0, count: int = 1) -> Fold:
    def rows(kind: str, length: int) -> tuple[dict[str, Any], ...]:
        return tuple({"kind": kind, "image_uri": f"{kind}-{index}"} for index in range(length))

    return Fold(
        number=number,
        count=count,
        real=rows("real", num_real),
        synthetic=rows("synthetic", num_synthetic),
        test=rows("test", 2),
    )


def plan_of(*folds: Fold) -> Plan:
    return Plan(manifest="m.parquet", digest="d", folds=folds, left_out={}, barred={})


def labels(mixes: list[Mix]) -> list[str]:
    return [mix.label for mix in mixes]


def uris(mix: Mix, fold: Fold) -> list[str]:
    return [row["image_uri"] for row in volumes_of(mix, fold)]


def test_the_figure_of_the_paper_is_one_line_of_ratios() -> None:
    mixes = parse_mixes(RATIOS, None, extra=True)
    assert labels(mixes) == ["real-1", "extra-0.25", "extra-0.5", "extra-0.75", "extra-1"]
    fold = fold_of(8, 8)
    assert [counts_of(mix, fold) for mix in mixes] == [(8, 0), (8, 2), (8, 4), (8, 6), (8, 8)]


def test_a_ratio_is_the_synthetic_share_unless_extra_is_said() -> None:
    (_, half) = parse_mixes("0.5", None, extra=False)
    assert half.label == "ratio-0.5"
    assert counts_of(half, fold_of(6, 6)) == (6, 6)
    (_, extra) = parse_mixes("0.5", None, extra=True)
    assert counts_of(extra, fold_of(6, 6)) == (6, 3)


def test_fractions_are_of_the_real_cases_alone() -> None:
    mixes = parse_mixes(None, "0.25,0.5,0.75,1", extra=False)
    assert labels(mixes) == ["real-1", "real-0.25", "real-0.5", "real-0.75"]
    fold = fold_of(10, 5)
    assert [counts_of(mix, fold) for mix in mixes] == [(10, 0), (3, 0), (5, 0), (8, 0)]


def test_the_least_fraction_still_has_a_case() -> None:
    (_, least) = parse_mixes(None, "0.01", extra=False)
    assert counts_of(least, fold_of(10, 0)) == (1, 0)


def test_all_real_cases_alone_are_in_every_sweep() -> None:
    assert parse_mixes("0.25", None, extra=True)[0] == WHOLE
    assert parse_mixes(None, "0.25", extra=False)[0] == WHOLE
    # However it is asked for, it is one mix.
    assert parse_mixes("0,0.0,0e3", "1,1.00", extra=False) == [WHOLE]


def test_one_number_written_in_two_ways_is_one_mix() -> None:
    assert labels(parse_mixes("0.250, .25,25e-2", None, extra=True)) == ["real-1", "extra-0.25"]
    assert labels(parse_mixes("10,1e1", None, extra=True)) == ["real-1", "extra-10"]


def test_a_smaller_mix_is_a_subset_of_a_larger_one() -> None:
    fold = fold_of(9, 12)
    for mixes in (
        parse_mixes("0.1,0.3,0.5,1.2", None, extra=True)[1:],
        parse_mixes("0.1,0.3,0.5", None, extra=False)[1:],
        parse_mixes(None, "0.2,0.4,0.9", extra=False)[1:],
    ):
        drawn = [set(uris(mix, fold)) for mix in mixes]
        assert all(small < large for small, large in itertools.pairwise(drawn)), mixes


def test_synthetic_volumes_enter_in_the_order_of_factory_mix() -> None:
    (_, third) = parse_mixes("0.3", None, extra=True)
    assert uris(third, fold_of(7, 9))[7:] == ["synthetic-0", "synthetic-1"]
    (_, third) = parse_mixes(None, "0.3", extra=False)
    assert uris(third, fold_of(7, 9)) == ["real-0", "real-1"]


def test_every_synthetic_ratio_trains_on_the_same_real_cases() -> None:
    fold = fold_of(5, 9)
    for mix in parse_mixes("0,0.3,0.6", None, extra=False):
        assert uris(mix, fold)[:5] == [f"real-{number}" for number in range(5)]


def test_too_few_synthetic_volumes_are_refused_with_the_figures_and_the_way_out() -> None:
    (_, mix) = parse_mixes("1", None, extra=True)
    with pytest.raises(
        UsageError,
        match=r"--ratios --extra: 1 needs 8 synthetic volumes for 8 real training volumes, but there are 5 "
        r"that may train, rejected ones left out; .* ask for at most 0.625, or make more with `factory generate --extra 1`",
    ):
        volumes_of(mix, fold_of(8, 5))
    (_, mix) = parse_mixes("0.5", None, extra=False)
    with pytest.raises(UsageError, match=r"--ratios: 0.5 needs 8 .* at most 0.3846, .*--extra 1`"):
        volumes_of(mix, fold_of(8, 5))


def test_folds_need_more_than_a_mix_has_for_donors_that_test_bar_their_children() -> None:
    (_, mix) = parse_mixes("1", None, extra=True)
    with pytest.raises(
        UsageError, match=r"volumes of fold 2, but .*`factory generate --extra 1.25`"
    ):
        volumes_of(mix, fold_of(8, 6, number=2, count=5))


def test_the_largest_ratio_that_an_error_names_can_be_asked_for() -> None:
    for num_real, num_synthetic in ((7, 3), (8, 5), (13, 6)):
        fold = fold_of(num_real, num_synthetic)
        for extra in (True, False):
            (_, mix) = parse_mixes("0.9", None, extra=extra)
            with pytest.raises(UsageError) as refused:
                volumes_of(mix, fold)
            most = str(refused.value).split("at most ")[1].split(",")[0]
            (_, mix) = parse_mixes(most, None, extra=extra)
            assert counts_of(mix, fold) == (num_real, num_synthetic)
            volumes_of(mix, fold)


def test_mixes_that_would_be_the_same_volumes_are_trained_once() -> None:
    mixes = parse_mixes("0.01,0.25,0.3,0.5", None, extra=True)
    chosen, repeated = distinct(mixes, plan_of(fold_of(3, 9)))
    assert labels(chosen) == ["real-1", "extra-0.25", "extra-0.5"]
    assert repeated == {"extra-0.01": "real-1", "extra-0.3": "extra-0.25"}


def test_of_mixes_that_there_are_runs_of_the_name_stays() -> None:
    plan = plan_of(fold_of(6, 9))
    (_, half), (_, one) = parse_mixes("0.5", None, extra=False), parse_mixes("1", None, extra=True)
    assert distinct([WHOLE, half], plan, [one]) == ([WHOLE, one], {"ratio-0.5": "extra-1"})
    assert distinct([WHOLE, half, one], plan) == ([WHOLE, half], {"extra-1": "ratio-0.5"})
    # Earlier ones that are not asked for are not asked for.
    assert distinct([WHOLE], plan, [one]) == ([WHOLE], {})


def test_a_label_says_which_mix_it_is_of() -> None:
    asked = [
        *parse_mixes("0.25,1,10,0.0000001", "0.5,1", extra=True),
        *parse_mixes("0.25,0.999", None, extra=False),
    ]
    assert [mix_of(mix.label) for mix in asked] == asked
    shares = {mix.label: (mix.real_part, mix.extra) for mix in asked}
    assert shares["real-1"] == (1.0, 0.0)
    assert shares["real-0.5"] == (0.5, 0.0)
    assert shares["extra-10"] == (1.0, 10.0)
    assert shares["ratio-0.25"] == (1.0, pytest.approx(1 / 3))
    for label in (
        "",
        "4R+1S",
        "real-",
        "real-2",
        "real-0",
        "ratio-1",
        "extra-x",
        "extra--1",
        "x-1",
    ):
        assert mix_of(label) is None


def test_mixes_that_differ_in_one_fold_are_both_trained() -> None:
    folds = (fold_of(3, 9, number=0, count=2), fold_of(4, 9, number=1, count=2))
    mixes = parse_mixes("0.3,0.4", None, extra=True)
    chosen, repeated = distinct(mixes, plan_of(*folds))
    assert (labels(chosen), repeated) == (["real-1", "extra-0.3", "extra-0.4"], {})


@pytest.mark.parametrize(
    ("ratios", "fractions", "extra", "told"),
    [
        (None, None, False, "found neither --ratios nor --real-fraction; expected one or both"),
        (None, "0.5", True, "--extra: found no --ratios, whose meaning it changes"),
        ("1", None, False, r"--ratios 1: ratio is 1, .*Give --extra too"),
        ("-0.5", None, True, r"--ratios --extra -0.5: extra is -0.5, expected at least 0"),
        ("0.5,", None, True, r"--ratios: found ''; expected numbers with commas between"),
        ("a quarter", None, True, r"--ratios: found 'a quarter'; expected numbers"),
        ("nan", None, True, r"--ratios: found 'nan'; expected numbers"),
        ("inf", None, True, r"--ratios: found 'inf'; expected numbers"),
        ("1e999999", None, True, r"--ratios: found '1e999999'; expected numbers"),
        ("0." + "1" * 99, None, True, r"--ratios: found '0.1+'; expected numbers"),
        (None, "0", False, r"--real-fraction 0: expected above 0, and at most 1"),
        (None, "1.5", False, r"--real-fraction 1.5: expected above 0, and at most 1"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    ratios: str | None, fractions: str | None, extra: bool, told: str
) -> None:
    with pytest.raises(UsageError, match=told):
        parse_mixes(ratios, fractions, extra=extra)
