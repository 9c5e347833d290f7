"""Training, validation and test split: by patient, by hash.

The hash of a patient's id says where the patient goes, so adding patients moves nobody, and
two people who split the same collection get the same split. One addition does move patients:
the tenth, with which there is a split at all.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from manifests.errors import ManifestError

SALT = "ct-factory split v1"
"""Hashed before each patient id. Changing it moves patients between splits, so it never does."""

MIN_PATIENTS = 10
"""With fewer patients all of them train: a tenth of them would be nobody."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SplitFractions:
    """Share of the patients in each split, in whole percent; they sum to 100."""

    train: int = 80
    """Percent of the patients that a model is trained on; at least 1."""

    val: int = 10
    """Percent of the patients that settings are chosen on."""

    test: int = 10
    """Percent of the patients that results are reported on."""

    def __post_init__(self) -> None:
        shares = (self.train, self.val, self.test)
        if min(shares) < 0 or self.train == 0 or sum(shares) != 100:
            raise ManifestError(
                f"split {self.train}/{self.val}/{self.test} sums to {sum(shares)}, expected three "
                "percentages that sum to 100, the first above 0. Give train/val/test as 80/10/10."
            )

    def __str__(self) -> str:
        return f"{self.train}/{self.val}/{self.test}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``"80/10/10"``: train, val and test in whole percent.

        Raises:
            ManifestError: There are not three whole numbers, or they do not sum to 100.
        """
        parts = text.split("/")
        if len(parts) != 3 or not all(part.strip().isdecimal() for part in parts):
            raise ManifestError(
                f"split is {text!r}, expected three whole percentages with slashes between. "
                "Give train/val/test as 80/10/10."
            )
        train, val, test = map(int, parts)
        return cls(train=train, val=val, test=test)


def too_few_patients(num_patients: int, *, min_patients: int = MIN_PATIENTS) -> bool:
    """Tell whether `assign_splits` will put all patients into train; warn the user then."""
    return num_patients < min_patients


def assign_splits(
    patient_ids: Iterable[str],
    fractions: SplitFractions,
    *,
    min_patients: int = MIN_PATIENTS,
) -> dict[str, str]:
    """Return the split of each distinct patient: train, val or test.

    A patient's place in [0, 1) is the sha256 of `SALT` and the id; the fractions cut that line.
    So the shares are met on average only, and a small collection may have nobody in val or
    test. Train is never empty: if nobody falls there, the patient lowest on the line does.

    Args:
        patient_ids: One per case or per patient; repeats do not matter, nor does the order.
        fractions: Where to cut.
        min_patients: With fewer distinct patients, all of them train.

    Returns:
        Patient to split, in the order of the ids.
    """
    patients = sorted(set(patient_ids))
    if too_few_patients(len(patients), min_patients=min_patients):
        return dict.fromkeys(patients, "train")
    splits = {patient: _split_at(_place(patient), fractions) for patient in patients}
    if patients and "train" not in splits.values():
        splits[min(patients, key=_place)] = "train"
    return splits


def _place(patient_id: str) -> int:
    """Return the patient's place on a line of 2**256 steps."""
    return int.from_bytes(hashlib.sha256(f"{SALT}\0{patient_id}".encode()).digest(), "big")


def _split_at(place: int, fractions: SplitFractions) -> str:
    percent = place * 100 >> 256
    if percent < fractions.train:
        return "train"
    return "val" if percent < fractions.train + fractions.val else "test"
