"""Patients, not cases, are split; and they stay where they are."""

from collections import Counter

import pytest

from manifests.errors import ManifestError
from manifests.split import SplitFractions, assign_splits, too_few_patients

MANY = [f"LIDC-IDRI-{i:04d}" for i in range(1, 1011)]
PINNED_HELD_OUT = ["LIDC-IDRI-0008", "LIDC-IDRI-0011", "LIDC-IDRI-0015", "LIDC-IDRI-0016"]
PINNED_COUNTS = {"train": 809, "val": 88, "test": 113}


def test_a_patient_stays_in_its_split_when_patients_are_added() -> None:
    few, many = (assign_splits(ids, SplitFractions()) for ids in (MANY[:300], MANY))
    assert {patient: many[patient] for patient in few} == few


def test_a_split_can_be_repeated_anywhere() -> None:
    splits = assign_splits(MANY, SplitFractions())
    assert [p for p in MANY[:20] if splits[p] != "train"] == PINNED_HELD_OUT
    assert Counter(splits.values()) == PINNED_COUNTS


def test_shares_are_met_on_average() -> None:
    counts = Counter(assign_splits(map(str, range(20_000)), SplitFractions()).values())
    # Three standard deviations of a binomial count.
    assert abs(counts["train"] - 16_000) < 3 * 57
    assert abs(counts["val"] - 2_000) < 3 * 43
    assert abs(counts["test"] - 2_000) < 3 * 43


def test_a_wider_train_share_only_moves_patients_into_train() -> None:
    narrow = assign_splits(MANY, SplitFractions(train=60, val=20, test=20))
    wide = assign_splits(MANY, SplitFractions(train=80, val=10, test=10))
    assert all(wide[p] == "train" for p in MANY if narrow[p] == "train")


def test_order_and_repeats_of_cases_do_not_matter() -> None:
    assert assign_splits(MANY[::-1] * 2, SplitFractions()) == assign_splits(MANY, SplitFractions())


def test_fewer_than_ten_distinct_patients_all_train() -> None:
    nine = MANY[:9] * 5
    assert set(assign_splits(nine, SplitFractions(train=1, val=1, test=98)).values()) == {"train"}
    assert too_few_patients(9)
    assert not too_few_patients(10)


def test_somebody_always_trains() -> None:
    splits = assign_splits(MANY[:10], SplitFractions(train=1, val=0, test=99))
    assert Counter(splits.values()) == {"train": 1, "test": 9}
    assert assign_splits([], SplitFractions(), min_patients=0) == {}


def test_parse_reads_three_percentages() -> None:
    assert SplitFractions.parse("70/10/20") == SplitFractions(train=70, val=10, test=20)


@pytest.mark.parametrize("text", ["80/20", "80/10/ten", "0.8/0.1/0.1", "", "80/-10/30"])
def test_parse_says_what_it_found_and_how_to_write_it(text: str) -> None:
    with pytest.raises(ManifestError, match=f"split is '{text}', expected three.* as 80/10/10"):
        SplitFractions.parse(text)


@pytest.mark.parametrize(("text", "total"), [("80/10/20", 110), ("0/50/50", 100)])
def test_percentages_that_do_not_sum_to_100_or_train_nobody_are_refused(
    text: str, total: int
) -> None:
    with pytest.raises(ManifestError, match=f"split {text} sums to {total}, expected"):
        SplitFractions.parse(text)
