"""What holds for every manifest and every amount that is asked for."""

import hashlib
from fractions import Fraction
from random import Random

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from manifests.mix import Source, count_by_diameter, mix, synthetic_count, unite
from manifests.validate import validate
from manifests.write import manifest_table

PROFILE = settings(deadline=None, derandomize=True, max_examples=60)
NODULE = {"label": 1, "center_ras_mm": [0.0] * 3, "volume_mm3": 1.0, "num_voxels": 1}
SPLITS = st.sampled_from(["train", "train", "train", "val", "test"])
VERDICTS = st.sampled_from(["accept", "accept", "review", "reject", None])


def volume(kind: str, name: str, patient: int, split: str) -> dict[str, object]:
    return {
        "kind": kind,
        "split": split,
        "patient_id": f"patient-{patient}",
        "case_id": f"case-{patient}",
        "layout_origin": "none",
        "image_uri": name,
        "shape": (8, 8, 8),
        "spacing_mm": [1.0, 1.0, 1.0],
        "affine": [0.0] * 16,
        "image_sha256": hashlib.sha256(name.encode()).hexdigest(),
    }


def child(index: int, patient: int, split: str, verdict: str | None) -> dict[str, object]:
    donor = volume("real", f"real-{patient}", patient, split)
    name = hashlib.sha256(f"work {index}".encode()).hexdigest()[:32]
    made = {"work_id": name, "plan_index": index // 2, "qc_verdict": verdict}
    return {
        **volume("synthetic", name, patient, split),
        **made,
        "reference_sha256": donor["image_sha256"],
    }


@st.composite
def lakes(draw: st.DrawFn) -> pa.Table:
    """Patients in all splits, at least one of them training, each with its children."""
    splits = ["train", *draw(st.lists(SPLITS, max_size=7))]
    donors = st.integers(0, len(splits) - 1)
    children = draw(st.lists(st.tuples(donors, VERDICTS), min_size=4, max_size=14))
    rows = [volume("real", f"real-{i}", i, split) for i, split in enumerate(splits)]
    rows += [child(i, d, splits[d], verdict) for i, (d, verdict) in enumerate(children)]
    return manifest_table(rows)


def usable(table: pa.Table) -> list[str]:
    """Work ids that a mix may take, by the words of the contract and row by row."""
    rows = table.to_pylist()
    held_out = {row["patient_id"] for row in rows if row["split"] != "train"}
    mine = [
        (row["plan_index"], row["work_id"])
        for row in rows
        if row["kind"] == "synthetic"
        and row["split"] == "train"
        and row["patient_id"] not in held_out
        and row["qc_verdict"] != "reject"
    ]
    return [work_id for _, work_id in sorted(mine)]


def work_ids(table: pa.Table) -> list[str]:
    return [work_id for work_id in table["work_id"].to_pylist() if work_id is not None]


@PROFILE
@given(lakes(), st.data())
def test_a_smaller_mix_is_a_subset_of_a_larger_one(table: pa.Table, data: st.DataObject) -> None:
    num_usable, num_real = len(usable(table)), table["num_real"][0].as_py()
    small, large = sorted(data.draw(st.integers(0, num_usable)) for _ in range(2))
    # Ratios of whole numbers of volumes, so that the mixes are neither empty nor everything.
    mixes = [mix(table, ratio=Fraction(n, num_real + n)) for n in (small, large)]
    ids = [work_ids(mixed) for mixed in mixes]
    assert [len(found) for found in ids] == [small, large]
    assert set(ids[0]) <= set(ids[1])
    assert work_ids(mix(table, count=large)) == work_ids(mix(table, count=large))


NODULES = st.sampled_from([None, 3.0, 6.0, 9.9, 15.0, 40.0])


@st.composite
def sources(draw: st.DrawFn) -> list[Source]:
    """One to four lakes of the same patients, which may share volumes, each in part rejected."""
    splits = ["train", *draw(st.lists(SPLITS, max_size=4))]
    cases = [volume("real", f"real-{i}", i, split) for i, split in enumerate(splits)]
    donors = st.integers(0, len(splits) - 1)
    drawn = draw(st.lists(st.tuples(donors, VERDICTS, NODULES), min_size=4, max_size=16))
    made = []
    for index, (donor, verdict, size) in enumerate(drawn):
        row = child(index, donor, splits[donor], verdict)
        made.append(row | {"nodules": [NODULE | {"diameter_mm": size}] if size else []})
    held = st.lists(st.sampled_from(made), max_size=12, unique_by=lambda row: row["work_id"])
    tables = [[*cases, *draw(held)] for _ in range(draw(st.integers(1, 4)))]
    return [Source(f"/{i}/m.parquet", manifest_table(rows)) for i, rows in enumerate(tables)]


@PROFILE
@given(sources(), st.booleans(), st.sampled_from(["accept", "review"]), st.randoms())
def test_each_mix_of_several_lakes_is_the_next_smaller_one_and_one_volume(
    lakes: list[Source], by_diameter: bool, min_verdict: str, random: Random
) -> None:
    good = ("accept",) if min_verdict == "accept" else ("accept", "review", None)
    rows = [row for lake in lakes for row in lake.table.to_pylist()]
    allowed = {
        row["work_id"]
        for row in rows
        if row["kind"] == "synthetic" and row["split"] == "train" and row["qc_verdict"] in good
    }
    before: set[str] = set()
    for count in range(len(allowed) + 1):
        random.shuffle(lakes)
        united = unite(lakes)
        mixed = mix(united, count=count, min_verdict=min_verdict, by_diameter=by_diameter)
        found = work_ids(mixed)
        assert len(found) == len(set(found)) == count
        assert before < set(found) <= allowed or count == 0
        assert validate(mixed) == []
        before = set(found)
        if by_diameter:
            assert is_balanced(count_by_diameter(mixed), most(united, allowed))


def most(united: pa.Table, allowed: set[str]) -> dict[str, int]:
    """How many volumes that may be used each bin has."""
    wanted = [row in allowed for row in united["work_id"].to_pylist()]
    return count_by_diameter(united.filter(pa.array(wanted)))


def is_balanced(taken: dict[str, int], there: dict[str, int]) -> bool:
    """No bin that has more to give is more than one volume behind another."""
    return all(
        taken[name] == there[name] or taken[name] >= max(taken.values()) - 1 for name in taken
    )


@PROFILE
@given(lakes(), st.integers(0, 2**16))
def test_nothing_of_a_held_out_patient_trains(table: pa.Table, seed: int) -> None:
    rows = table.to_pylist()
    held_out = {row["patient_id"] for row in rows if row["split"] != "train"}
    # Faulty rows: children of held-out patients that say they are training volumes.
    faulty = [row | {"split": "train"} if row["kind"] == "synthetic" else row for row in rows]
    Random(seed).shuffle(faulty)
    for lake in (table, manifest_table(faulty)):
        mixed = mix(lake, count=len(usable(table)))
        train = [row for row in mixed.to_pylist() if row["split"] == "train"]
        assert held_out.isdisjoint(row["patient_id"] for row in train)
        assert work_ids(mixed) == usable(table)
        assert validate(mixed) == []


@PROFILE
@given(lakes(), st.data())
def test_every_real_volume_is_in_every_mix(table: pa.Table, data: st.DataObject) -> None:
    mixed = mix(table, count=data.draw(st.integers(0, len(usable(table)))))
    real = [row["case_id"] for row in table.to_pylist() if row["kind"] == "real"]
    assert [row["case_id"] for row in mixed.to_pylist() if row["kind"] == "real"] == sorted(real)


@PROFILE
@given(lakes(), st.permutations(range(22)), st.data())
def test_the_order_of_rows_does_not_matter(
    table: pa.Table, order: list[int], data: st.DataObject
) -> None:
    count = data.draw(st.integers(0, len(usable(table))))
    shuffled = table.take([index for index in order if index < table.num_rows])
    assert mix(shuffled, count=count).equals(mix(table, count=count))


@PROFILE
@given(st.integers(1, 2000), st.integers(0, 999))
def test_no_other_number_of_volumes_is_nearer_to_the_asked_ratio(
    num_real: int, thousandths: int
) -> None:
    share = Fraction(thousandths, 1000)
    exact = share / (1 - share) * num_real
    for ratio in (thousandths / 1000, f"{thousandths / 1000}", share):
        count = synthetic_count(num_real, ratio=ratio)
        assert -Fraction(1, 2) < count - exact <= Fraction(1, 2)
    # Half a volume less gives too little, half a volume more too much.
    less, more = (max(count + Fraction(d, 2), Fraction(0)) for d in (-1, 1))
    assert less / (num_real + less) <= share < more / (num_real + more)


@PROFILE
@given(st.integers(1, 2000), st.integers(0, 4000))
def test_extra_is_met_to_half_a_volume(num_real: int, thousandths: int) -> None:
    count = synthetic_count(num_real, extra=thousandths / 1000)
    exact = Fraction(thousandths, 1000) * num_real
    assert -Fraction(1, 2) < count - exact <= Fraction(1, 2)


@PROFILE
@given(st.integers(1, 500), st.integers(0, 500))
def test_the_ratio_that_a_mix_reports_gives_the_same_mix_again(
    num_real: int, num_synthetic: int
) -> None:
    reported = num_synthetic / (num_real + num_synthetic)
    assert synthetic_count(num_real, ratio=reported) == num_synthetic
