"""What is wrong with a manifest is said, with the volume that has it and what was expected."""

import pyarrow as pa
import pytest
from manifest_rows import real, sha

from manifests.schema import MANIFEST_SCHEMA
from manifests.validate import null_problems, validate
from manifests.write import manifest_table

NODULE = {"label": 2, "center_ras_mm": [1.0], "diameter_mm": 6.0, "volume_mm3": 113.0}
READ = NODULE | {"num_voxels": 9}


def synthetic(donor: str, digit: str, **changes: object) -> dict[str, object]:
    made: dict[str, object] = {"kind": "synthetic", "work_id": digit * 32, "plan_index": 0}
    return real(donor, reference_sha256=sha(donor)) | made | changes


def problems(*rows: dict[str, object]) -> list[str]:
    return validate(manifest_table(rows))


def test_a_sound_manifest_has_no_problems() -> None:
    held_out = [real("T", split="test"), synthetic("T", "c", split="test")]
    assert problems(real("A"), real("B"), synthetic("A", "a"), *held_out) == []
    assert problems(synthetic("donor that is not here", "a")) == []
    assert problems() == []


def test_nodules_that_no_reader_scored_are_sound() -> None:
    scored = {"num_readers": 4, "malignancy": 4.5, "malignancy_scores": [5, 4, 5, 4]}
    assert problems(real("A", nodules=[READ, READ | scored])) == []


def test_two_scans_of_a_patient_may_share_a_split() -> None:
    assert problems(real("A", patient_id="P"), real("B", patient_id="P")) == []


def test_another_schema_is_the_only_problem_that_is_listed() -> None:
    table = manifest_table([real("A", split="trian")]).drop_columns(["seed", "kind"])
    assert validate(table) == ["columns are missing: kind, seed"]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"kind": "fake"}, "case A: kind is 'fake', expected one of real, synthetic"),
        ({"split": "trian"}, "case A: split is 'trian', expected one of train, val, test"),
        (
            {"layout_origin": ""},
            "layout_origin is '', expected one of annotated, placed, rule, edited, none",
        ),
        ({"qc_verdict": "ok"}, "qc_verdict is 'ok', expected one of accept, review, reject"),
        ({"shape": (8, 8)}, "case A: shape is [8, 8], expected 3 numbers"),
        ({"spacing_mm": [1.0] * 4}, "spacing_mm is [1.0, 1.0, 1.0, 1.0], expected 3 numbers"),
        ({"affine": [1.0]}, "case A: affine is [1.0], expected 16 numbers"),
        ({"source_shape": []}, "case A: source_shape is [], expected 3 numbers"),
        ({"source_affine": []}, "case A: source_affine is [], expected 16 numbers"),
        ({"hu_window": [1.0]}, "case A: hu_window is [1.0], expected 2 numbers"),
        ({"image_sha256": "AB" * 32}, "expected 64 lower-case hex digits"),
        ({"layout_sha256": "ab" * 16}, "expected 64 lower-case hex digits"),
        ({"source_sha256": "ab" * 32 + "\n"}, "expected 64 lower-case hex digits"),
        ({"reference_sha256": ""}, "reference_sha256 is '', expected 64 lower-case hex digits"),
        ({"work_id": "a" * 32}, "expected null for a real volume"),
        ({"patient_id": None}, "case A: patient_id is null, expected a value"),
        ({"kind": None}, "case A: kind is null, expected a value"),
        ({"affine": [0.0] * 15 + [None]}, "0.0, None], expected no null in it"),
        ({"nodules": [NODULE]}, "'num_voxels': None, "),
        ({"nodules": [READ | {"texture_scores": [None]}]}, "}], expected no null in it"),
        ({"notes": [None]}, "case A: notes is [None], expected no null in it"),
    ],
    ids=str,
)
def test_a_wrong_value_is_named(change: dict[str, object], problem: str) -> None:
    (found,) = problems(real("A", **change), real("B"))
    assert problem in found
    assert "A" in found or "a" * 32 in found


def test_many_rows_with_one_problem_are_counted_not_listed() -> None:
    rows = [real(name, split="all") for name in "ABC"]
    assert problems(*rows) == [
        "case A (and 2 more): split is 'all', expected one of train, val, test"
    ]


def test_ids_are_there_and_unique() -> None:
    assert problems(real("A"), synthetic("A", "a", work_id=None)) == [
        "case A: work_id is null, expected 32 hex digits for a synthetic volume"
    ]
    assert problems(
        synthetic("A", "b"), synthetic("A", "b", plan_index=1), synthetic("A", "a")
    ) == [f"work_id {'b' * 32}: found in 2 rows, expected one synthetic volume"]
    assert problems(real("A"), real("B"), real("B"), real("B")) == [
        "case_id B: found in 3 rows, expected one real volume"
    ]
    assert problems(real("A"), synthetic("A", "a", work_id="A" * 32)) == [
        f"volume {'A' * 32}: work_id is '{'A' * 32}', expected 32 lower-case hex digits"
    ]


def test_a_patient_in_two_splits_is_named() -> None:
    assert problems(real("A", patient_id="P"), real("B", patient_id="P", split="val")) == [
        "patient P: found in train and val, expected one split for all volumes of a patient"
    ]


def test_a_training_child_of_a_held_out_donor_is_a_leak() -> None:
    leak = f"volume {'a' * 32}: split is 'train', expected its donor's split, 'test'"
    torn = "patient patient of T: found in test and train, expected one split"
    found = problems(real("A"), real("T", split="test"), synthetic("T", "a"))
    assert found[1] == leak
    assert found[0].startswith(torn)
    assert len(found) == 2
    # Another patient's name on the child does not hide it.
    hidden = problems(real("T", split="test"), synthetic("T", "a", patient_id="P"))
    assert hidden == [
        f"volume {'a' * 32}: patient_id is 'P', expected its donor's patient_id, 'patient of T'",
        leak,
    ]


def test_a_child_of_another_version_of_its_donor_is_named() -> None:
    (found,) = problems(real("A"), synthetic("A", "a", reference_sha256=sha("older")))
    assert found.endswith(f"expected its donor's image_sha256, '{sha('A')}'")


@pytest.mark.parametrize(
    ("name", "wrong", "expected"),
    [
        ("num_real", 1, 2),
        ("num_synthetic", 3, 1),
        ("synthetic_fraction", 0.25, 1 / 3),
        ("synthetic_per_real", None, 0.5),
    ],
)
def test_a_mix_that_was_not_counted_is_named(
    name: str, wrong: float | None, expected: float
) -> None:
    table = manifest_table([real("A"), real("B"), synthetic("A", "a")])
    field = MANIFEST_SCHEMA.field(name)
    values = pa.array([expected, expected, wrong], field.type)
    (found,) = validate(table.set_column(table.schema.get_field_index(name), field, values))
    shown = "null" if wrong is None else wrong
    assert found.startswith(f"volume {'a' * 32}: {name} is {shown}, expected {expected} as counted")


def test_nulls_are_found_in_any_table() -> None:
    schema = pa.schema([pa.field("item_id", pa.string()), pa.field("stage", pa.string(), False)])
    table = pa.Table.from_pylist([{"item_id": "A"}], schema=schema)
    assert null_problems(table) == ["item A: stage is null, expected a value"]
