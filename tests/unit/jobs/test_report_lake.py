"""What a page says of a whole lake, and of the folders of an evaluation or a sweep beside it."""

import base64
import hashlib
import json
import os
import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from manifest_rows import sha
from report_pages import (
    PNG,
    evaluation_folder,
    page_of,
    read_page,
    rows_of,
    slices_of,
    unpacked,
    with_rows,
)

from factory.errors import UsageError
from factory.lake import MANIFEST, QUARANTINE, Lake
from jobs.lakes import read_row
from jobs.report.job import ReportResult, report
from manifests.write import write_manifest


def test_a_page_is_whole_html_with_its_sections_in_order(lake: Path) -> None:
    page = page_of(lake)
    assert page.problems == []
    assert page.elements[0] == ("html", {"lang": "en"})
    assert [one["id"] for one in page.named("h2")] == [
        *("summary", "made", "quality", "likeness", "slices", "quarantine", "provenance"),
    ]
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    text = (lake / "report.html").read_text(encoding="utf-8")
    assert "<title>Report on lake</title>" in text
    assert "Not for clinical use. Not anonymised" in text


def test_a_page_names_nothing_outside_itself_and_its_policy_lets_its_own_parts_run(
    lake: Path,
) -> None:
    page = page_of(lake)
    text = (lake / "report.html").read_text(encoding="utf-8")
    links = [
        value
        for _, attributes in page.elements
        for name, value in attributes.items()
        if name in ("src", "href", "action", "data", "srcset", "poster", "background", "ping")
    ]
    assert links
    assert all(value and value.startswith(("#", "data:")) for value in links)
    assert "@import" not in text
    assert re.findall(r"url\((.*?)\)", text) == ["#hatching"]
    (policy,) = (one["content"] for one in page.named("meta") if "http-equiv" in one)
    assert policy is not None
    assert policy.startswith("default-src 'none'; ")
    for tag in ("style", "script"):
        inside = text.rpartition(f"<{tag}>")[2].partition(f"</{tag}>")[0]
        digest = base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert not [name for _, one in page.elements for name in one if name.startswith("on")]
    assert not [one for _, one in page.elements if "style" in one]


def test_counts_ratio_and_verdicts_are_those_of_the_manifest(lake: Path) -> None:
    with_rows(
        lake,
        {"qc_verdict": "reject", "qc_reasons": ["seam score is 3, expected 0.5 to 2"]},
        {"qc_verdict": "review", "qc_reasons": ["seam score is 2.5, expected 0.5 to 2"]},
        {"qc_verdict": "accept", "qc_reasons": []},
        {"qc_verdict": "accept", "qc_reasons": []},
    )
    page = page_of(lake)
    summary, made, quality = (page.section(name) for name in ("summary", "made", "quality"))
    assert summary.startswith("Summary synthetic volumes 4 real volumes 3 synthetic share 57.1 %")
    assert "synthetic per real 1.33" in summary
    assert "\u2713 accept 2 ? review 1 \u2715 reject 1 quarantined 0" in summary
    assert "real 3 0 0 3 3" in made
    assert "synthetic 4 0 0 4" in made
    assert "4 synthetic, 3 real" in made
    assert "? review 1 25.0 %" in quality
    assert "seam score 1 1 seam score is" in quality


def test_slices_are_those_of_the_volume_and_its_donor(lake: Path) -> None:
    report(str(lake), count=4)
    manifest, rows = lake / MANIFEST, rows_of(lake)
    donors = {row["case_id"]: row for row in rows if row["kind"] == "real"}
    by_id = {row["work_id"]: row for row in rows}
    page = read_page(lake / "report.html")
    for number in range(1, 5):
        (work_id,) = re.findall(r"\b[0-9a-f]{32}\b", page.words[f"volume-{number}"])[:1]
        content = slices_of(lake / "report.html", number)
        drawn = read_row(manifest, by_id.pop(work_id))
        donor = read_row(
            manifest, donors[page.words[f"volume-{number}-title"].split(",")[0].strip()]
        )
        reference = unpacked(content["reference"], content["shape"])
        rest = unpacked(content["synthetic"], content["shape"])
        np.testing.assert_array_equal(reference, donor.ct[:, ::-1, ::-1])
        np.testing.assert_array_equal(reference + rest, drawn.ct[:, ::-1, ::-1])


def test_each_control_has_a_name_and_the_slider_its_ends(lake: Path) -> None:
    page = page_of(lake, count=1)
    labels = {one["for"] for one in page.named("label") if "for" in one}
    ranges = [one for one in page.named("input") if one["type"] == "range"]
    assert [one["id"] for one in ranges] == ["volume-1-slice"]
    assert "volume-1-slice" in labels
    assert (ranges[0]["min"], ranges[0]["max"]) == ("0", "15")
    assert [one["aria-pressed"] for one in page.named("button")] == ["true", "false"]
    assert all(one["aria-label"] for one in page.named("canvas"))
    assert not [one for _, one in page.elements if one.get("tabindex") not in (None, "0", "-1")]


def test_provenance_names_model_seeds_environment_and_settings(lake: Path) -> None:
    identity, rows = Lake(lake).identity(), rows_of(lake)
    assert identity is not None
    (row, *_) = (one for one in rows if one["kind"] == "synthetic")
    told = page_of(lake).section("provenance")
    for expected in (
        identity["plan_id"],
        identity["cases"],
        row["model_digest"],
        row["env_fingerprint"],
        row["run_id"],
        "seed of the run 0",
        "4 of 4 differ",
        "config.quality.max_lung_shift_hu 100.0",
        f"versions.zarr {identity['versions']['zarr']}",
    ):
        assert expected in told


def test_an_evaluation_beside_the_lake_is_found_if_it_is_of_this_lake(lake: Path) -> None:
    assert "evaluation" not in page_of(lake).words
    folder = evaluation_folder(lake.parent / "evaluation", "lake")
    page = page_of(lake)
    assert "Table II Table II a b c 7" in page.section("evaluation")
    assert [one["alt"] for one in page.named("img")] == [
        "mds.png, which the tables above have in numbers"
    ]
    for place, is_found in ((str(lake), True), (f"lake/{MANIFEST}", True), ("lake-2", False)):
        (folder / "evaluation.json").write_text(json.dumps({"sets": {"a": {"place": place}}}))
        assert ("evaluation" in page_of(lake).words) == is_found
    for torn in ("{", "[]", '{"sets": {"a": 1}}', "[" * 100_000):
        (folder / "evaluation.json").write_text(torn)
        assert "evaluation" not in page_of(lake).words


def test_an_evaluation_that_is_given_is_taken_with_a_remark_if_it_is_of_another_lake(
    lake: Path, tmp_path: Path
) -> None:
    folder = evaluation_folder(tmp_path / "other", "lake-2")
    (folder / "worst_pairs.png").write_bytes(b"<svg onload=alert(1)>")
    (folder / "tables" / "table4.md").write_bytes(b"x" * 1_000_001)
    told = page_of(lake, evaluation=folder).section("evaluation")
    assert "evaluation.json names lake-2 and not this lake" in told
    assert "worst_pairs.png: found no PNG; left out" in told
    assert "table4.md: found 1000001 bytes, expected at most 1000000; left out" in told


def test_the_tables_of_a_sweep_are_taken_from_its_folder(lake: Path, tmp_path: Path) -> None:
    folder = evaluation_folder(tmp_path / "sweep", "")
    (folder / "figure-5a.png").write_bytes(PNG)
    told = page_of(lake, downstream=folder).section("downstream")
    assert "Table II" in told
    assert "figure-5a.png" in told
    assert "mds.png" not in told


@pytest.mark.parametrize(
    ("flag", "verb"), [("evaluation", "evaluate"), ("downstream", "downstream")]
)
def test_a_folder_without_tables_is_refused_where_it_was_given(
    lake: Path, tmp_path: Path, flag: str, verb: str
) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "a.md").symlink_to(tmp_path / "pipe")
    with pytest.raises(UsageError, match=f"--{flag} .* no regular file.*`factory {verb}` wrote"):
        report(str(lake), **{flag: tmp_path})  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"found no tables/\*\.md"):
        report(str(lake), **{flag: tmp_path / "none"})  # type: ignore[arg-type]


def test_ids_choose_what_is_shown(lake: Path) -> None:
    ids = with_rows(lake)
    page = page_of(lake, ids=[ids[2][:10]])
    assert ids[2] in page.words["volume-1"]
    assert "volume-2" not in page.words
    with pytest.raises(UsageError, match="--ids nobody"):
        report(str(lake), ids=["nobody"])


def test_a_page_of_many_rows_is_written_from_their_columns(lake: Path) -> None:
    rows = rows_of(lake)
    drawn = next(row for row in rows if row["kind"] == "synthetic")
    more = [drawn | {"work_id": sha(str(n))[:32], "plan_index": 10 + n} for n in range(3000)]
    write_manifest([*rows, *more], lake / MANIFEST)
    result: ReportResult = report(str(lake))
    assert result.num_synthetic == 3004
    assert result.num_bytes < 2_000_000
    assert QUARANTINE in os.listdir(lake)
