"""What `factory view` lists, filters and tells of rows, and which lakes and mixes it opens."""

import json
import re
import time
from datetime import UTC, datetime
from http import HTTPStatus
from importlib.resources import files
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from mix_sources import case, drawn, make_source, nodules, volume_of
from view_sites import get, hu_of, lake_of, listed, make_site

from factory.errors import StoreError
from factory.lake import MANIFEST
from jobs.amount import Amount
from jobs.mix import write_mix
from jobs.view import site as view_site
from jobs.view.catalog import Catalog, open_catalog
from jobs.view.site import MOST_ROWS, Site
from manifests.errors import ManifestError
from manifests.write import manifest_table, write_manifest

HOSTILE = "<script>alert(1)</script>\u202etxt.exe\x00"


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return make_site(tmp_path / "lake")


def test_rows_are_filtered_by_kind_verdict_and_text(site: Site) -> None:
    assert listed(site) == [0, 1, 2, 3, 4]
    assert listed(site, kind="real") == [0, 1]
    assert listed(site, kind="synthetic") == [2, 3, 4]
    assert listed(site, verdict="accept") == [2, 4]
    assert listed(site, verdict="none") == [0, 1]
    assert listed(site, kind="synthetic", verdict="review") == [3]
    assert listed(site, text="SEAM+shows") == [3]
    assert listed(site, text="patient+of+b") == [1, 4]
    assert listed(site, text=str(drawn("B", 2)["work_id"])[4:20]) == [4]
    assert listed(site, text=".*") == []
    assert listed(site, kind="other") == []


def test_the_counts_of_a_filter_are_those_of_its_rows(site: Site) -> None:
    about = get(site, "about")
    assert about["kinds"] == {"real": 2, "synthetic": 3}
    assert about["verdicts"] == {"none": 2, "accept": 2, "review": 1}
    for column, counts in (("kind", about["kinds"]), ("verdict", about["verdicts"])):
        for word, count in counts.items():
            assert get(site, "rows", **{column: word})["matched"] == count


def test_a_row_in_the_list_says_its_verdict_and_its_largest_nodule(site: Site) -> None:
    rows = get(site, "rows")["rows"]
    assert (rows[0]["title"], rows[0]["more"]) == ("A", "train, 2 nodules, to 12.5 mm")
    assert (rows[1]["more"], rows[4]["more"]) == ("train", "train, 0 nodules")
    assert (rows[3]["title"], rows[3]["verdict"]) == ("A, draw 1", "review")


def test_a_row_names_its_donor_its_reasons_and_its_figures(tmp_path: Path) -> None:
    row = drawn(
        "B",
        0,
        qc_verdict="review",
        qc_reasons=["the seam shows"],
        notes=["drawn twice"],
        qc_seam_score=2.34567,
        qc_background_equal=True,
        seed=7,
        created_at=datetime(2026, 1, 2, 3, 4, tzinfo=UTC),
        nodules=[nodules(6.25)[0] | {"num_readers": 3, "malignancy": 4.0}],
    )
    told = get(lake_of(tmp_path / "lake", case("A"), case("B"), row), "rows/2")
    assert told["donor"] == 1
    assert (told["reasons"], told["notes"]) == (["the seam shows"], ["drawn twice"])
    facts = dict(told["facts"])
    assert facts["made"] == "2026-01-02 03:04 UTC"
    assert facts["grid"] == "4 \u00d7 6 \u00d7 8 voxels of 2.5 \u00d7 2 \u00d7 1.5 mm (z, y, x)"
    assert (facts["seed"], facts["work id"]) == ("7", row["work_id"])
    figures = {name: value for name, value, _ in told["figures"]}
    assert figures == {"qc_background_equal": "yes", "qc_seam_score": "2.346"}
    (nodule,) = told["nodules"]
    assert (nodule["size"], nodule["center"]) == ("6.2 mm", [0.0, 0.0, 0.0])
    assert nodule["read"] == "readers 3, malignancy 4"


def test_a_real_row_and_one_without_its_donor_have_none(tmp_path: Path) -> None:
    site = lake_of(tmp_path / "lake", case("A"), drawn("A", 0))
    assert get(site, "rows/0")["donor"] is None
    (tmp_path / "alone").mkdir()
    write_manifest([drawn("A", 0)], tmp_path / "alone" / "m.parquet")
    assert get(Site(open_catalog(str(tmp_path / "alone" / "m.parquet"))), "rows/0")["donor"] is None


def test_what_is_not_finite_is_told_all_the_same(tmp_path: Path) -> None:
    wrong = nodules(5.0)[0] | {"center_ras_mm": [float("nan"), 0.0, 0.0]}
    site = lake_of(tmp_path / "lake", case("A", nodules=[wrong], qc_seam_score=float("inf")))
    told = get(site, "rows/0")
    assert told["nodules"][0]["center"] is None
    assert told["figures"][0][1] == "inf"


def test_hostile_texts_lose_what_turns_them_round(tmp_path: Path) -> None:
    site = lake_of(tmp_path / "lake", case("A", notes=[HOSTILE]))
    answer = site.answer("rows/0", "")
    assert answer.content.isascii()
    assert json.loads(answer.content)["notes"] == ["<script>alert(1)</script>\ufffdtxt.exe\ufffd"]


def test_a_list_is_told_in_pieces(site: Site) -> None:
    found = get(site, "rows", start=1, count=2)
    assert (found["start"], found["matched"]) == (1, 5)
    assert [row["index"] for row in found["rows"]] == [1, 2]
    assert listed(site, start=99) == []


def test_a_row_is_found_in_the_piece_that_holds_it(site: Site) -> None:
    assert get(site, "rows", at=4, count=2)["start"] == 4
    assert get(site, "rows", at=3, count=2, kind="synthetic")["start"] == 0
    assert listed(site, at=4, count=2, kind="synthetic") == [4]
    assert get(site, "rows", at=0, count=2, kind="synthetic")["start"] == 0


@pytest.mark.parametrize(
    "query",
    [
        "count=0",
        f"count={MOST_ROWS + 1}",
        "count=-1",
        "start=x",
        "at=",
        "order=kind",
        "kind=real&kind=real",
        f"text={'a' * 201}",
        "&".join(f"k{n}=1" for n in range(20)),
    ],
)
def test_a_query_that_cannot_be_meant_is_refused(site: Site, query: str) -> None:
    assert site.answer("rows", query).status == HTTPStatus.BAD_REQUEST


def test_a_hundred_thousand_rows_are_listed_while_somebody_waits(tmp_path: Path) -> None:
    one = manifest_table([drawn("A", 0, qc_verdict="accept", qc_reasons=["a", "b"])])
    table = pa.concat_tables([one] * 1000).combine_chunks()
    table = pa.concat_tables([table] * 100)
    site = Site(Catalog(url="many", folder=str(tmp_path), table=table))
    start = time.monotonic()
    found = get(site, "rows", start=99_990, text="a", kind="synthetic", verdict="accept")
    assert found["matched"] == 100_000
    assert len(found["rows"]) == 10
    assert len(site.answer("rows", f"count={MOST_ROWS}").content) < 100_000
    assert time.monotonic() - start < 3.0


def test_a_case_store_and_a_mix_are_served_too(tmp_path: Path) -> None:
    store = make_source(tmp_path / "cases", "cases", [case("A"), case("B")])
    assert listed(Site(open_catalog(store))) == [0, 1]
    named = case("A") | {"image_uri": f"{store}/volumes/A.ome.zarr"}
    lake = make_source(tmp_path / "lake", "lake", [named, drawn("A", 0)])
    (tmp_path / "far").mkdir()
    mix = write_mix([lake], tmp_path / "far" / "mix.parquet", Amount(count=1))
    for place in (lake, mix):
        site = Site(open_catalog(place))
        assert np.array_equal(hu_of(site.answer("volumes/0", "")), volume_of("A").ct)
        drawn_hu = volume_of(str(drawn("A", 0)["work_id"])).ct
        assert np.array_equal(hu_of(site.answer("volumes/1", "")), drawn_hu)


def test_a_lake_in_a_bucket_is_served_and_so_is_a_mix_that_names_it(tmp_path: Path) -> None:
    lake = make_source("memory://viewed/lake", "lake", [case("A"), drawn("A", 0)])
    mix = write_mix([lake], tmp_path / "mix.parquet", Amount(count=1))
    for place in (lake, mix):
        answer = Site(open_catalog(place)).answer("volumes/0", "")
        assert np.array_equal(hu_of(answer), volume_of("A").ct)


def test_a_lake_half_way_has_what_was_committed_so_far(lake: Path) -> None:
    from report_pages import half_done

    left = half_done(lake, keep=3)
    catalog = open_catalog(str(lake))
    ids = [one for one in catalog.table["work_id"].to_pylist() if one]
    assert sorted(ids) == sorted(left)
    assert Site(catalog).answer(f"volumes/{catalog.table.num_rows - 1}", "").status == HTTPStatus.OK


def test_a_torn_manifest_is_told_and_the_commits_are_read(lake: Path) -> None:
    (lake / MANIFEST).write_bytes(b"PAR1 torn")
    site = Site(open_catalog(str(lake)))
    about = get(site, "about")
    assert about["kinds"]["synthetic"] == 4
    assert any("could not be read as Parquet" in problem for problem in about["problems"])


def test_what_is_no_lake_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="found neither a lake nor a case store"):
        open_catalog(str(tmp_path))
    with pytest.raises(ManifestError, match="there is no such file"):
        open_catalog(str(tmp_path / "mix.parquet"))


def test_the_parts_of_the_page_are_there_and_name_nothing_elsewhere(site: Site) -> None:
    page = site.answer("", "").content.decode()
    scripts = {path.name for path in files("jobs").joinpath("view", "page").iterdir()}
    assert "view.js" in scripts
    # NiiVue is not ours; the policy of the page keeps it from asking others.
    for name in {*scripts, "look.css", "slices.js"} - {"view.html", "niivue.js"}:
        text = site.answer(name, "").content.decode()
        assert "http://" not in text + page
        assert "https://" not in text + page
        assert "innerHTML" not in text
    assert not re.search(r"<[^>]* on[a-z]+=", page)
    assert "<script>" not in page
    assert " style=" not in page


def test_a_part_that_is_not_installed_is_not_found(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(view_site._PARTS, "niivue.js", ("view/page/none.js", "text/javascript"))
    answer = site.answer("niivue.js", "")
    assert answer.status == HTTPStatus.NOT_FOUND
    assert answer.content == b"niivue.js is not installed\n"
