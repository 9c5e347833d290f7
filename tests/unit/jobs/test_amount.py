"""How many synthetic volumes a flag means."""

import pytest

from factory.errors import UsageError
from jobs.amount import Amount


def test_a_ratio_is_the_share_of_the_mixed_set() -> None:
    assert Amount(ratio=0.25).of(12) == 4  # 12 real + 4 synthetic: a quarter of 16
    assert Amount(ratio=0.1).of(9) == 1
    assert Amount(ratio=0.0).of(9) == 0


def test_extra_is_per_real_volume() -> None:
    assert Amount(extra=0.5).of(800) == 400
    assert Amount(extra=2.0).of(3) == 6


def test_a_count_is_itself() -> None:
    assert Amount(count=183).of(800) == 183
    assert Amount(count=0).of(800) == 0


def test_what_is_given_is_kept_by_name() -> None:
    assert Amount(extra=0.5).given() == {"extra": 0.5}
    assert Amount(count=0).given() == {"count": 0}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, r"found none, expected exactly one of ratio .*, extra .*, count"),
        ({"ratio": 0.1, "count": 2}, r"found ratio and count, expected exactly one"),
        ({"ratio": 1.0}, r"ratio is 1, expected 0 <= ratio < 1"),
        ({"ratio": -0.1}, r"ratio is -0\.1, expected 0 <= ratio < 1"),
        ({"ratio": float("nan")}, r"ratio is nan, expected a number"),
        ({"extra": -1.0}, r"extra is -1, expected at least 0"),
        ({"count": -1}, r"count is -1, expected at least 0"),
    ],
)
def test_an_amount_that_cannot_be_meant_is_refused_at_once(
    given: dict[str, float], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        Amount(**given)


def test_a_share_of_no_real_volumes_is_refused() -> None:
    with pytest.raises(UsageError, match=r"ratio is 0\.25, but there are 0 real training volumes"):
        Amount(ratio=0.25).of(0)


def test_more_than_a_plan_can_hold_is_refused() -> None:
    with pytest.raises(
        UsageError, match=r"asked for 99999999999 synthetic volumes; expected at most"
    ):
        Amount(count=99999999999)
