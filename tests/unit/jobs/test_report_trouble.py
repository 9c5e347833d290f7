"""What a page says of a lake that is half-way, torn, hostile or no lake at all."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from report_pages import (
    evaluation_folder,
    half_done,
    page_of,
    read_page,
    record,
    rows_of,
    slices_of,
    with_rows,
)

from factory.errors import StoreError
from factory.lake import MANIFEST, Lake
from jobs.report.job import report
from manifests.write import write_manifest

HOSTILE = "<script>alert('x')</script><img src=x onerror=alert(1)>\"'</title></style>"


def test_what_was_given_up_is_told_with_its_reason(lake: Path) -> None:
    ids = [row["work_id"] for row in rows_of(lake) if row["kind"] == "synthetic"]
    Lake(lake).drop(ids[0])
    Lake(lake).quarantine(ids[0], record(ids[0]))
    assert page_of(lake).section("quarantine") == (
        f"Quarantine 1 CaseError. Given up item case stage tries why {ids[0][:12]} c7 generate 3 case c7: torn"
    )


def test_a_message_without_end_is_cut(lake: Path) -> None:
    Lake(lake).quarantine("1" * 32, record("1" * 32, message="x" * 100_000))
    assert "x" * 2_000 in page_of(lake).section("quarantine")
    assert (lake / "report.html").read_text().count("x") < 50_000


def test_of_many_that_were_given_up_a_hundred_are_shown_and_the_others_counted(lake: Path) -> None:
    for number in range(103):
        Lake(lake).quarantine(f"{number:032x}", record(f"{number:032x}", message=f"why-{number}-"))
    told = page_of(lake).section("quarantine")
    assert told.count("why-") == 100
    assert "3 more are in the lake's quarantine folder" in told


def test_of_many_reasons_twenty_are_shown_and_the_others_counted(lake: Path) -> None:
    reasons = [f"figure-{number} is 3, expected 1" for number in range(23)]
    accepted = {"qc_verdict": "accept", "qc_reasons": []}
    with_rows(lake, {"qc_verdict": "reject", "qc_reasons": reasons}, *[accepted] * 3)
    told = page_of(lake).section("quality")
    assert len(set(re.findall(r"figure-\d+", told))) == 20
    assert "3 more reasons are in the manifest" in told


def test_a_torn_record_of_the_quarantine_is_told_and_the_others_are_read(lake: Path) -> None:
    Lake(lake).quarantine("1" * 32, record("1" * 32))
    (lake / "quarantine" / f"{'2' * 32}.json").write_text("{")
    (lake / "quarantine" / f"{'3' * 32}.json").write_text("[]")
    page = page_of(lake)
    assert "1 CaseError" in page.section("quarantine")
    assert f"quarantine/{'2' * 32}.json: Expecting" in page.section("summary")
    assert f"quarantine/{'3' * 32}.json: found no JSON object" in page.section("summary")


def test_a_lake_half_way_has_a_page_on_what_is_there(lake: Path) -> None:
    kept = half_done(lake, keep=2)
    (lake / "commits" / f"{kept[1]}.json").write_text("{")
    result = report(str(lake))
    page = read_page(lake / "report.html")
    summary = page.section("summary")
    assert "there is no manifest: these are the volumes so far" in summary
    assert "2 of 4 planned volumes not drawn yet" in summary
    assert "synthetic volumes 1 real volumes 3" in summary
    assert f"commit {kept[1]}: " in summary
    assert (result.num_real, result.num_synthetic, result.num_shown) == (3, 1, 1)
    assert slices_of(lake / "report.html")["reference"]


def test_volumes_that_are_drawn_and_not_published_are_told(lake: Path) -> None:
    rows = rows_of(lake)
    write_manifest([row for row in rows if row["plan_index"] in (None, 0)], lake / MANIFEST)
    told = page_of(lake).section("summary")
    assert "drawn, but not in the manifest yet, nor on this page: 3 volumes" in told
    assert "are not drawn yet" not in told


def test_settings_that_are_nested_without_end_are_told_as_they_are(lake: Path) -> None:
    nested: Any = 1
    for _ in range(500):
        nested = {"a": nested}
    identity = json.loads((lake / "dataset.json").read_text())
    (lake / "dataset.json").write_text(json.dumps(identity | {"config": nested}))
    told = page_of(lake).section("provenance")
    assert "config" + 7 * ".a" + " a {" in told
    assert "config" + 8 * ".a" not in told


def test_one_commit_that_is_no_row_does_not_take_the_others_with_it(lake: Path) -> None:
    kept = half_done(lake, keep=3)
    marker = lake / "commits" / f"{kept[0]}.json"
    marker.write_text(json.dumps(json.loads(marker.read_text()) | {"steps": "many"}))
    result = report(str(lake))
    assert result.num_synthetic == 2
    assert any(problem.startswith(f"commit {kept[0]}: ") for problem in result.problems)


def test_a_lake_half_way_whose_donors_are_gone_shows_what_was_drawn(lake: Path) -> None:
    half_done(lake, keep=1)
    identity = json.loads((lake / "dataset.json").read_text())
    (lake / "dataset.json").write_text(json.dumps(identity | {"cases": str(lake / "nowhere")}))
    result = report(str(lake))
    assert (result.num_real, result.num_shown) == (0, 1)
    assert slices_of(lake / "report.html")["reference"] is None
    assert any("the donors' case store" in problem for problem in result.problems)


def test_a_lake_with_nothing_drawn_yet_has_a_page(lake: Path) -> None:
    half_done(lake, keep=0)
    page = page_of(lake)
    assert page.problems == []
    assert "4 of 4 planned volumes not drawn yet" in page.section("summary")
    assert "No synthetic volume yet" in page.section("quality")
    assert "No synthetic volume is shown" in page.section("slices")


def test_a_torn_manifest_is_told_and_the_commits_are_read_instead(lake: Path) -> None:
    (lake / MANIFEST).write_bytes((lake / MANIFEST).read_bytes()[:2000])
    result = report(str(lake))
    assert result.num_synthetic == 4
    assert f"{MANIFEST}: could not be read as Parquet" in result.problems[0]
    assert MANIFEST in read_page(lake / "report.html").section("summary")


def test_a_lake_without_its_plan_has_a_page_that_says_so(lake: Path) -> None:
    (lake / "plan.parquet").unlink()
    result = report(str(lake))
    assert result.num_synthetic == 4
    assert result.problems == ["plan.parquet: found none; how much was planned is not known"]


@pytest.mark.parametrize(
    ("identity", "found"),
    [(None, "found none"), ({"kind": "cases"}, "found a case store"), ({}, "found something else")],
)
def test_what_is_no_lake_is_refused(tmp_path: Path, identity: Any, found: str) -> None:
    if identity is not None:
        (tmp_path / "dataset.json").write_text(json.dumps(identity))
    with pytest.raises(
        StoreError, match=f"{found}; expected a folder that `factory generate` made"
    ):
        report(str(tmp_path))
    assert not (tmp_path / "report.html").exists()


def test_a_volume_that_cannot_be_read_is_told_and_the_others_are_shown(lake: Path) -> None:
    ids = with_rows(lake, *[{"qc_verdict": "accept", "qc_reasons": []}] * 4)
    (volume,) = (lake / "volumes").glob(f"{ids[0]}.*")
    shutil.rmtree(volume)
    result = report(str(lake))
    page = read_page(lake / "report.html")
    assert page.problems == []
    assert result.num_shown == 3
    assert any(
        problem.startswith(f"volume {ids[0]}: the volume cannot be") for problem in result.problems
    )
    assert f"volume {ids[0]}: the volume cannot be read" in page.section("summary")
    assert len(result.problems) == 1
    assert "3 volumes" in page.section("likeness")
    assert f"volume {ids[0]}: volume" in page.section("likeness")


def test_hostile_texts_of_a_lake_are_shown_as_text(lake: Path) -> None:
    ids = with_rows(
        lake,
        {"qc_verdict": "review", "qc_reasons": [HOSTILE], "notes": [HOSTILE], "device": HOSTILE},
        {"env_fingerprint": HOSTILE, "run_id": HOSTILE, "sampler": HOSTILE},
    )
    rows = rows_of(lake)
    first = next(row for row in rows if row["work_id"] == ids[0])["case_id"]
    for row in rows:
        if row["case_id"] == first:
            row.update(case_id=HOSTILE, patient_id=HOSTILE)
    write_manifest(rows, lake / MANIFEST)
    Lake(lake).quarantine(
        "1" * 32, record("1" * 32, message=HOSTILE, case_id=HOSTILE, error_class=HOSTILE)
    )
    identity = json.loads((lake / "dataset.json").read_text())
    (lake / "dataset.json").write_text(
        json.dumps(identity | {HOSTILE: HOSTILE, "model": [HOSTILE]})
    )
    folder = evaluation_folder(
        lake.parent / f"e{HOSTILE.replace('/', '')}", "x", f"| {HOSTILE} |\n"
    )
    shutil.copytree(lake, lake.parent / "a<script>b")
    page = page_of(lake.parent / "a<script>b", ids=[ids[0]], evaluation=folder)
    assert page.problems == []
    assert len(page.named("script")) == 2
    assert len(page.named("img")) == 1
    assert HOSTILE in page.section("slices")
    assert page.section("quarantine").count("alert('x')") == 3
    assert str(lake.parent / "a<script>b") in page.section("provenance")
    assert page.titles[:2] == ["Report on a<script>b"] * 2


def test_no_text_of_slices_can_end_its_script(lake: Path) -> None:
    from jobs.report.packed import Packed
    from jobs.report.slices import _data

    made = _data("x", Packed(content={"layout": "</script><b>"}, num_slices=1, planes=(0,)))
    assert made.count("<") == 2
    assert json.loads(made.partition(">")[2].rpartition("<")[0]) == {"layout": "</script><b>"}
