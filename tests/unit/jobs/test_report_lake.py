"""What a page says of a lake: whole, half-way, hostile or damaged."""

import base64
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
from manifest_rows import sha
from report_pages import Page, half_done, read_page, slices_of, unpacked
from typer.testing import CliRunner

from factory.errors import StoreError, UsageError
from factory.lake import MANIFEST, QUARANTINE, Lake
from jobs.lakes import read_row
from jobs.report import command
from jobs.report.job import ReportResult, report
from manifests.read import read_manifest
from manifests.write import write_manifest

HOSTILE = "<script>alert('x')</script><img src=x onerror=alert(1)>\"'</title></style>"
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


def page_of(lake: Path, **given: Any) -> Page:
    report(str(lake), **given)
    return read_page(lake / "report.html")


def rows_of(lake: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = read_manifest(lake / MANIFEST).to_pylist()
    return rows


def with_rows(lake: Path, *changes: dict[str, Any]) -> list[str]:
    """Change the synthetic rows of a lake, in order; return their work ids."""
    rows = rows_of(lake)
    synthetic = [row for row in rows if row["kind"] == "synthetic"]
    for row, change in zip(synthetic, changes, strict=False):
        row.update(change)
    write_manifest(rows, lake / MANIFEST)
    return [row["work_id"] for row in synthetic]


def record(work_id: str, **changes: Any) -> dict[str, Any]:
    return {
        "item_id": work_id,
        "case_id": "c7",
        "stage": "generate",
        "error_class": "CaseError",
        "message": "case c7: torn",
        "attempts": 3,
        **changes,
    }


def evaluation_folder(
    folder: Path, place: str, table: str = "| a | b |\n| --- | --- |\n| c | 7 |\n"
) -> Path:
    (folder / "tables").mkdir(parents=True)
    (folder / "tables" / "table2.md").write_text(f"# Table II\n\n{table}", encoding="utf-8")
    (folder / "mds.png").write_bytes(PNG)
    sets = {"ours": {"place": place}}
    (folder / "evaluation.json").write_text(json.dumps({"sets": sets}))
    return folder


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


def test_a_torn_record_of_the_quarantine_is_told_and_the_others_are_read(lake: Path) -> None:
    Lake(lake).quarantine("1" * 32, record("1" * 32))
    (lake / "quarantine" / f"{'2' * 32}.json").write_text("{")
    (lake / "quarantine" / f"{'3' * 32}.json").write_text("[]")
    page = page_of(lake)
    assert "1 CaseError" in page.section("quarantine")
    assert f"quarantine/{'2' * 32}.json: Expecting" in page.section("summary")
    assert f"quarantine/{'3' * 32}.json: found no JSON object" in page.section("summary")


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


def test_a_lake_half_way_has_a_page_on_what_is_there(lake: Path) -> None:
    kept = half_done(lake, keep=2)
    (lake / "commits" / f"{kept[1]}.json").write_text("{")
    result = report(str(lake))
    page = read_page(lake / "report.html")
    summary = page.section("summary")
    assert "there is no manifest: these are the volumes so far" in summary
    assert "2 of 4 planned volumes are not drawn yet" in summary
    assert "synthetic volumes 1 real volumes 3" in summary
    assert f"commit {kept[1]}: " in summary
    assert (result.num_real, result.num_synthetic, result.num_shown) == (3, 1, 1)
    assert slices_of(lake / "report.html")["reference"]


def test_volumes_that_are_drawn_and_not_published_are_told(lake: Path) -> None:
    rows = rows_of(lake)
    write_manifest([row for row in rows if row["plan_index"] in (None, 0)], lake / MANIFEST)
    told = page_of(lake).section("summary")
    assert "3 volumes are drawn and not in the manifest yet" in told
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
    assert "4 of 4 planned volumes are not drawn yet" in page.section("summary")
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


def test_the_file_is_replaced_whole_and_nothing_is_left_beside_it(
    lake: Path, tmp_path: Path
) -> None:
    out = tmp_path / "new folder" / "page.html"
    report(str(lake), str(out), count=0)
    small = out.stat().st_size
    report(str(lake), str(out), count=4)
    assert out.stat().st_size > small
    assert os.listdir(out.parent) == ["page.html"]
    assert not (lake / "report.html").exists()


def test_a_page_that_cannot_be_written_leaves_the_earlier_one(
    lake: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report(str(lake), count=0)
    before = (lake / "report.html").read_bytes()

    def full(path: Path, content: bytes) -> None:
        path.write_text("half")
        raise OSError(28, "No space left")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        report(str(lake), count=4)
    assert (lake / "report.html").read_bytes() == before
    assert [name for name in os.listdir(lake) if name.endswith(".unfinished")] == []


@pytest.mark.parametrize("name", [MANIFEST, "dataset.json", "page", "page.html.parquet"])
def test_nothing_of_a_lake_can_be_written_over(lake: Path, name: str) -> None:
    before = (lake / MANIFEST).read_bytes()
    with pytest.raises(UsageError, match=r"found another ending; expected \.html"):
        report(str(lake), str(lake / name))
    assert (lake / MANIFEST).read_bytes() == before


def test_a_folder_as_out_and_a_url_with_a_secret_are_refused(lake: Path) -> None:
    folder = lake / "a.html"
    folder.mkdir()
    with pytest.raises(UsageError, match=f"--out {folder}: found a folder; expected a file"):
        report(str(lake), str(folder))
    with pytest.raises(UsageError, match="found a user, a password") as refused:
        report(str(lake), "s3://key:secret@bucket/page.html")
    assert "secret" not in str(refused.value)


def test_lake_and_page_may_be_on_any_file_system(lake: Path) -> None:
    memory = fsspec.filesystem("memory")
    memory.put(str(lake), "/report-lake", recursive=True)
    try:
        result = report("memory://report-lake", count=4)
        assert result.path == "memory:///report-lake/report.html"
        assert result.num_shown == 4
        text = memory.cat("/report-lake/report.html").decode()
        assert Page(text).problems == []
        assert len(text.encode()) == result.num_bytes
    finally:
        memory.rm("/report-lake", recursive=True)


def test_a_lake_still_verifies_with_its_page_in_it(lake: Path) -> None:
    from jobs.verify import problems

    report(str(lake))
    assert problems(Lake(lake)) == []


def test_the_verb_gives_the_path_and_tells_what_is_missing(
    lake: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import typer

    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(command.command)
    first = with_rows(lake)[0]
    shutil.rmtree(next((lake / "volumes").glob(f"{first}.*")))
    monkeypatch.chdir(lake.parent)
    result = CliRunner().invoke(app, ["--out", "page.html", "--volumes", "4"])
    assert result.exit_code == 0, result.output
    assert result.stdout == "page.html\n"
    assert f"could not be read: volume {first}" in result.stderr
    assert "3 real and 4 synthetic volumes, slices of 3" in result.stderr
    assert Path("page.html").is_file()


def test_ids_choose_what_is_shown(lake: Path) -> None:
    ids = with_rows(lake)
    page = page_of(lake, ids=[ids[2][:10]])
    assert ids[2] in page.words["volume-1"]
    assert "volume-2" not in page.words
    with pytest.raises(UsageError, match="--ids nobody"):
        report(str(lake), ids=["nobody"])


def test_neither_ray_nor_torch_is_loaded(lake: Path) -> None:
    code = (
        "import sys\nfrom jobs.report.job import report\n"
        f"report({str(lake)!r})\n"
        "print([name for name in ('ray', 'torch', 'matplotlib') if name in sys.modules])"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout == "[]\n"


def test_a_page_of_many_rows_is_written_from_their_columns(lake: Path) -> None:
    rows = rows_of(lake)
    drawn = next(row for row in rows if row["kind"] == "synthetic")
    more = [drawn | {"work_id": sha(str(n))[:32], "plan_index": 10 + n} for n in range(3000)]
    write_manifest([*rows, *more], lake / MANIFEST)
    result: ReportResult = report(str(lake))
    assert result.num_synthetic == 3004
    assert result.num_bytes < 2_000_000
    assert QUARANTINE in os.listdir(lake)
