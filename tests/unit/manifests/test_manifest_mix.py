"""A mix has the asked share, and nobody in it who is held out."""

from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from manifest_rows import real, sha

from manifests.errors import ManifestError
from manifests.mix import count_by_diameter, mix, synthetic_count
from manifests.read import mix_of
from manifests.validate import validate
from manifests.write import manifest_table, write_manifest


def synthetic(donor: str, plan_index: int, **changes: object) -> dict[str, object]:
    work_id = sha(f"{donor} {plan_index}")[:32]
    made = {"kind": "synthetic", "work_id": work_id, "plan_index": plan_index}
    return real(donor, reference_sha256=sha(donor)) | made | changes


def nodules(*diameters_mm: float) -> list[dict[str, object]]:
    one = {"label": 1, "center_ras_mm": [0.0, 0.0, 0.0], "volume_mm3": 1.0, "num_voxels": 1}
    return [one | {"diameter_mm": diameter} for diameter in diameters_mm]


def drawn(table: pa.Table) -> list[int]:
    return [index for index in table["plan_index"].to_pylist() if index is not None]


REAL = [real(f"R{i}") for i in range(6)]
LAKE = manifest_table([*REAL, *(synthetic(f"R{i % 6}", i) for i in range(12))])


@pytest.mark.parametrize(
    ("num_real", "ratio", "expected"),
    [
        (800, 0.25, 267),
        (800, "0.5", 800),
        (800, 0, 0),
        (3, Decimal("0.25"), 1),
        (3, "1/4", 1),
        (7, 0.3, 3),
        # Exactly ten and a half, which rounds up.
        (21, Fraction(1, 3), 11),
        (9, 0.1, 1),
        (90, 0.1, 10),
        (10**9, 0.9, 9 * 10**9),
    ],
)
def test_ratio_is_the_synthetic_share_of_the_mixed_set(
    num_real: int, ratio: float | str | Decimal | Fraction, expected: int
) -> None:
    assert synthetic_count(num_real, ratio=ratio) == expected


@pytest.mark.parametrize(
    ("extra", "expected"), [("0.22875", 183), (0.5, 400), (1, 800), (2.5, 2000), (0, 0)]
)
def test_extra_is_synthetic_per_real_as_in_the_papers_table(
    extra: float | str, expected: int
) -> None:
    assert synthetic_count(800, extra=extra) == expected


def test_decimals_do_not_drift() -> None:
    # In doubles 1.15 * 10 is 11.499999999999998, which would round to 11.
    assert synthetic_count(10, extra=1.15) == 12


def test_count_is_itself() -> None:
    assert synthetic_count(800, count=183) == 183
    assert synthetic_count(0, count="7") == 7


@pytest.mark.parametrize(
    ("given", "found"),
    [({}, "none"), ({"ratio": 0.1, "count": 0}, "ratio and count")],
)
def test_exactly_one_amount_is_given(given: dict[str, float], found: str) -> None:
    with pytest.raises(ManifestError, match=f"found {found}, expected exactly one of ratio .syn"):
        synthetic_count(800, **given)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"ratio": 1.0}, "ratio is 1, expected 0 <= ratio < 1: .*infinitely many .*Use count"),
        ({"ratio": 25}, r"ratio is 25, expected 0 <= ratio < 1 \(.* 75% real .*Use extra"),
        ({"ratio": -0.1}, "ratio is -0.1, expected 0 <= ratio < 1"),
        ({"ratio": float("nan")}, "ratio is nan, expected a number"),
        ({"extra": float("inf")}, "extra is inf, expected a number"),
        ({"extra": "a quarter"}, "extra is 'a quarter', expected a number. Give extra"),
        ({"extra": -1}, "extra is -1, expected at least 0"),
        ({"count": -1}, "count is -1, expected at least 0"),
        ({"count": 2.5}, "count is 2.5, expected a whole number of volumes. Use ratio"),
    ],
)
def test_an_amount_out_of_range_is_explained(given: dict[str, float], text: str) -> None:
    with pytest.raises(ManifestError, match=text):
        synthetic_count(800, **given)


def test_no_share_can_be_taken_of_no_real_volumes() -> None:
    with pytest.raises(ManifestError, match=r"ratio is 0\.25, but there are 0 real .*Use"):
        synthetic_count(0, ratio=0.25)
    assert synthetic_count(0, ratio=0) == 0


def test_mix_takes_all_real_volumes_and_the_first_of_the_plan() -> None:
    mixed = mix(LAKE, ratio="0.4")
    assert mixed["case_id"].to_pylist()[:6] == [f"R{i}" for i in range(6)]
    assert drawn(mixed) == [0, 1, 2, 3]
    assert set(mixed["synthetic_fraction"].to_pylist()) == {0.4}
    assert mix_of(mixed).num_synthetic == 4
    assert validate(mixed) == []


def test_smaller_mix_is_a_subset_of_a_larger_one() -> None:
    mixes = [set(mix(LAKE, count=n)["work_id"].to_pylist()) for n in range(13)]
    assert all(small < large for small, large in pairwise(mixes))


def test_mix_never_adds_a_volume_whose_donor_is_held_out() -> None:
    rows = [
        real("A"),
        real("T", split="test", patient_id="P"),
        real("V", split="val"),
        synthetic("T", 0, split="test", patient_id="P"),
        synthetic("V", 1, split="val"),
        # A leak by patient, one by case, and one whose held-out parent is a synthetic row.
        synthetic("other scan of P", 2, patient_id="P"),
        synthetic("T", 3, patient_id="renamed"),
        synthetic("W", 4, split="val"),
        synthetic("W", 5),
        synthetic("A", 6),
    ]
    mixed = mix(manifest_table(rows), count=1)
    assert drawn(mixed) == [6]
    assert mixed["case_id"].to_pylist() == ["A", "T", "V", "A"]
    text = r"1 that may be used \(6 more may not: 3 in val or test, 3 of a donor in val or test\)\. Ask"
    with pytest.raises(ManifestError, match=text):
        mix(manifest_table(rows), count=2)


def test_rejected_volumes_stay_out_and_those_to_review_come_in() -> None:
    verdicts = ["reject", "review", None, "accept"]
    rows = [synthetic("A", i, qc_verdict=verdict) for i, verdict in enumerate(verdicts)]
    lake = manifest_table([real("A"), *rows])
    assert drawn(mix(lake, count=3)) == [1, 2, 3]
    with pytest.raises(ManifestError, match=r"1 more may not: 1 rejected by quality control\)"):
        mix(lake, count=4)


def test_only_accepted_volumes_come_in_where_that_is_asked_for() -> None:
    verdicts = ["reject", "review", None, "accept", "accept"]
    rows = [synthetic("A", i, qc_verdict=verdict) for i, verdict in enumerate(verdicts)]
    lake = manifest_table([real("A"), *rows])
    assert drawn(mix(lake, count=2, min_verdict="accept")) == [3, 4]
    text = (
        r"2 that .*3 more may not: 1 rejected by quality control, 2 not judged accept or better\)"
    )
    with pytest.raises(ManifestError, match=text):
        mix(lake, count=3, min_verdict="accept")
    with pytest.raises(ManifestError, match="min_verdict is 'reject', expected one of accept, rev"):
        mix(lake, count=1, min_verdict="reject")


def test_each_size_of_nodule_has_the_same_share_as_far_as_there_are_volumes() -> None:
    # Six volumes of 8 mm, two below 6, one of each end of the bins, one without nodules.
    largest = [8, 8, 8, 3, 8, 8, 8, 5.9, 10, 20, None]
    rows = [
        synthetic("A", i, nodules=nodules(size, 2.0) if size else [])
        for i, size in enumerate(largest)
    ]
    lake = manifest_table([real("A"), *rows])
    chosen = [drawn(mix(lake, count=n, by_diameter=True)) for n in range(12)]
    assert chosen[5] == [0, 3, 8, 9, 10]
    assert chosen[7] == [0, 1, 3, 7, 8, 9, 10]
    assert chosen[11] == list(range(11))
    assert all(set(small) < set(large) for small, large in pairwise(chosen))
    assert count_by_diameter(mix(lake, count=7, by_diameter=True)) == {
        "none": 1,
        "<6 mm": 2,
        "6-10 mm": 2,
        "10-20 mm": 1,
        ">=20 mm": 1,
    }


def test_a_volume_whose_nodules_were_not_measured_counts_as_one_without() -> None:
    rows = [synthetic("A", 0), synthetic("A", 1, nodules=[]), synthetic("A", 2, nodules=nodules(7))]
    mixed = mix(manifest_table([real("A", nodules=nodules(30)), *rows]), count=2, by_diameter=True)
    assert drawn(mixed) == [0, 2]


def test_too_few_volumes_are_counted_and_the_largest_ratio_is_named() -> None:
    text = (
        "mix needs 18 synthetic volumes for 6 real training volumes, but there are 12 "
        ".*at most ratio 0.6666 or count 12, or generate more"
    )
    with pytest.raises(ManifestError, match=text):
        mix(LAKE, ratio=0.75)
    assert drawn(mix(LAKE, ratio=0.6666)) == list(range(12))
    with pytest.raises(ManifestError, match="at most count 12"):
        mix(LAKE.filter(pc.equal(LAKE["kind"], "synthetic")), count=13)


def test_a_mix_of_a_mix_is_counted_anew(tmp_path: Path) -> None:
    large = mix(LAKE, count=9)
    write_manifest(large, tmp_path / "mix.parquet")
    assert mix(large, ratio=0.25).equals(mix(LAKE, ratio=0.25))
    assert mix(large, ratio=0.25)["synthetic_per_real"][0].as_py() == 1 / 3
