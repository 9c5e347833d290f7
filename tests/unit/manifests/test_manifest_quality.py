"""Verdicts, their reasons and what was drawn again come back as they were written, and fit."""

from pathlib import Path

import pytest
from manifest_rows import real, sha

from factory.quality import Quality
from manifests.digest import content_digest
from manifests.read import read_manifest
from manifests.validate import validate
from manifests.write import manifest_table, write_manifest

REDRAW = {"seed": 2**62, "verdict": "reject", "reasons": ["lung median is 5 HU", "and dark"]}


def synthetic(**changes: object) -> dict[str, object]:
    made: dict[str, object] = {"kind": "synthetic", "work_id": "a" * 32, "plan_index": 0}
    return real("A", reference_sha256=sha("A")) | made | changes


def problems(*rows: dict[str, object]) -> list[str]:
    return validate(manifest_table(rows))


def test_every_figure_and_reason_of_quality_control_has_its_column(tmp_path: Path) -> None:
    columns = Quality(
        background_changed=1,
        changed_fraction=0.9,
        saturated_fraction=0.0,
        lung_median_hu=-850.0,
        reference_lung_median_hu=-840.5,
        lung_iqr_hu=120.0,
        reference_lung_iqr_hu=110.0,
        nodule_contrast_hu=300.0,
        seam_score=1.0,
    ).as_columns()
    path = tmp_path / "manifest.parquet"
    write_manifest([real("A"), synthetic(**columns, redraws=[REDRAW])], path)
    row_of_real, row = read_manifest(path).to_pylist()
    assert {name: row[name] for name in row if name.startswith("qc_")} == columns
    assert row["redraws"] == [REDRAW]
    assert all(value is None for name, value in row_of_real.items() if name.startswith("qc_"))
    assert row_of_real["redraws"] is None


def test_the_content_digest_knows_how_often_and_why_a_volume_was_drawn_again() -> None:
    rows = [
        synthetic(redraws=[]),
        synthetic(redraws=[REDRAW]),
        synthetic(redraws=[REDRAW, REDRAW]),
        synthetic(redraws=[REDRAW | {"reasons": ["lung median is 5 HU and dark"]}]),
        synthetic(qc_verdict="review", qc_reasons=["one"]),
        synthetic(qc_verdict="review", qc_reasons=["another"]),
    ]
    assert len({content_digest(manifest_table([row])) for row in rows}) == len(rows)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        (
            {"qc_verdict": "accept", "qc_reasons": ["dark"]},
            "qc_reasons is ['dark'], expected none for a volume that is accepted",
        ),
        (
            {"qc_verdict": "reject", "qc_reasons": []},
            "qc_reasons is [], expected a reason for a volume that is not accepted",
        ),
        (
            {"redraws": [REDRAW, REDRAW | {"verdict": "bad"}]},
            "expected verdicts accept, review or reject",
        ),
        ({"redraws": [REDRAW | {"seed": None}]}, "expected no null in it"),
    ],
    ids=["accepted", "rejected", "word", "hole"],
)
def test_a_verdict_that_does_not_fit_its_reasons_is_named(
    changes: dict[str, object], problem: str
) -> None:
    sound = synthetic(work_id="b" * 32, qc_verdict="review", qc_reasons=["dark"], redraws=[REDRAW])
    (found,) = problems(real("A"), sound, synthetic(plan_index=1, **changes))
    assert found.startswith(f"volume {'a' * 32}: ")
    assert found.endswith(problem)


def test_a_real_volume_was_never_drawn_again() -> None:
    assert problems(real("A", redraws=[])) == [
        "case A: redraws is [], expected null for a real volume"
    ]


def test_verdicts_of_releases_that_gave_no_reasons_stand() -> None:
    assert problems(synthetic(qc_verdict="reject"), synthetic(work_id="b" * 32)) == []
    assert problems(synthetic(qc_verdict="accept", qc_reasons=[], redraws=[])) == []
