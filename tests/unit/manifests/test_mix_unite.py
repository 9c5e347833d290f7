"""Several lakes and case stores become one set, in which nobody is twice and nobody leaks."""

from collections.abc import Iterable
from itertools import pairwise, permutations

import pytest
from manifest_rows import real, sha

from manifests.errors import ManifestError
from manifests.mix import Source, mix, unite
from manifests.write import manifest_table


def drawn(donor: str, plan_index: int, lake: str = "", **changes: object) -> dict[str, object]:
    work_id = sha(f"{lake} {donor} {plan_index}")[:32]
    made = {"kind": "synthetic", "work_id": work_id, "plan_index": plan_index}
    voxels = {"image_sha256": sha(work_id), "reference_sha256": sha(donor)}
    return real(donor) | made | voxels | changes


def source(folder: str, rows: Iterable[dict[str, object]]) -> Source:
    return Source(f"{folder}/manifest.parquet", manifest_table(rows))


def places(*sources: Source) -> list[tuple[object, str]]:
    rows = unite(sources).to_pylist()
    return [(row["plan_index"] or row["case_id"], row["image_uri"]) for row in rows]


def test_a_case_of_two_lakes_counts_once_where_it_was_named_first() -> None:
    one = source("/a", [real("A"), real("B")])
    other = source("s3://b/lake", [real("C"), real("A")])
    assert places(one, other) == [
        ("A", "/a/volumes/A.ome.zarr"),
        ("B", "/a/volumes/B.ome.zarr"),
        ("C", "s3://b/lake/volumes/C.ome.zarr"),
    ]
    assert ("A", "s3://b/lake/volumes/A.ome.zarr") in places(other, one)


@pytest.mark.parametrize("column", ["image_sha256", "layout_sha256"])
def test_a_case_with_other_voxels_elsewhere_is_refused_with_both_places(column: str) -> None:
    one = source("/a", [real("A"), real("B", **{column: sha("one")})])
    other = source("/b", [real("B", **{column: sha("other")})])
    text = (
        f"case_id B: found {column} {sha('one')} at /a/volumes/B.ome.zarr and {sha('other')} at "
        "/b/volumes/B.ome.zarr, expected the same voxels .* Rename one"
    )
    with pytest.raises(ManifestError, match=text):
        unite([one, other])


def test_a_case_of_two_patients_is_refused() -> None:
    one = source("/a", [real("A", patient_id="P")])
    other = source("/b", [real("A", patient_id="Q")])
    text = r"case_id A: found patient_id P at /a/.* and Q at /b/.*, expected one patient\. Ingest"
    with pytest.raises(ManifestError, match=text):
        unite([one, other])


def test_a_volume_of_two_lakes_counts_once_at_its_earliest_place_in_a_plan() -> None:
    late = drawn("A", 7, image_uri="late")
    early = late | {"plan_index": 3, "image_uri": "early"}
    one, other = source("/a", [real("A"), late]), source("/b", [real("A"), early])
    for order in permutations([one, other]):
        assert places(*order)[1:] == [(3, "/b/early")]


def test_a_volume_with_other_voxels_elsewhere_is_refused_with_both_places() -> None:
    row = drawn("A", 0)
    one = source("/a", [real("A"), row])
    other = source("/b", [real("A"), row | {"image_sha256": sha("another device")}])
    text = f"work_id {row['work_id']}: found .* at /a/vol.* and .* at /b/vol.*Keep one of the two"
    with pytest.raises(ManifestError, match=text):
        unite([one, other])


def test_a_patient_in_train_here_and_in_val_there_is_refused_by_name() -> None:
    one = source("/a", [real("A1", patient_id="P"), real("C", patient_id="Q")])
    other = source("/b", [real("A2", patient_id="P", split="val"), real("D", split="val")])
    text = (
        "patient P: found in train of /a/manifest.parquet and, as case A2, in val of "
        "/b/manifest.parquet, expected one split: .* Leave one of the sources out, or generate"
    )
    for order in permutations([one, other]):
        with pytest.raises(ManifestError, match=text):
            unite(order)


def test_a_patient_in_val_here_and_in_test_there_is_refused_too() -> None:
    one = source("/a", [real("A1", patient_id="P", split="val")])
    other = source("/b", [real("A2", patient_id="P", split="test")])
    text = "patient P: found in val of /a/manifest.parquet and, as case A2, in test of /b/.* Leave"
    for order in permutations([one, other]):
        with pytest.raises(ManifestError, match=text):
            unite(order)


def test_a_scan_that_one_source_has_twice_is_mended_where_it_was_ingested() -> None:
    twice = [real("A"), real("again", split="test", image_sha256=sha("A"))]
    text = r"scan A: found in train of /a/.* of /a/.*\. Ingest both under one patient \(--patients\), or"
    with pytest.raises(ManifestError, match=text) as told:
        unite([source("/a", twice)])
    assert "one of the sources" not in str(told.value)


@pytest.mark.parametrize(
    ("early", "late", "worst"),
    [
        ("accept", "reject", "reject"),
        ("reject", "accept", "reject"),
        ("accept", "review", "review"),
        ("accept", None, None),
        (None, "reject", "reject"),
    ],
)
def test_of_two_verdicts_on_a_volume_the_worst_counts_in_any_order(
    early: str | None, late: str | None, worst: str | None
) -> None:
    row, other = drawn("A", 0), drawn("A", 1, qc_verdict="reject")
    sources = [
        source(
            f"/{place}",
            [
                real("A"),
                row | {"plan_index": place, "qc_verdict": verdict, "qc_reasons": [str(verdict)]},
                other,
            ],
        )
        for place, verdict in enumerate((early, late))
    ]
    for order in permutations(sources):
        found = {kept["work_id"]: kept for kept in unite(order).to_pylist()[1:]}
        kept = found[row["work_id"]]
        assert (kept["plan_index"], kept["qc_verdict"]) == (0, worst)
        assert kept["qc_reasons"] == [str(worst)]
        assert found[other["work_id"]]["qc_verdict"] == "reject"


def test_all_torn_patients_are_counted_and_the_first_of_them_named() -> None:
    names = [f"P{i}" for i in range(7)]
    one = source("/a", [real(f"a{name}", patient_id=name) for name in names])
    other = source("/b", [real(f"b{name}", patient_id=name, split="test") for name in names])
    with pytest.raises(ManifestError, match=r"patient P0, P1, P2, P3, P4 \(and 2 more\): found"):
        unite([one, other])


def test_a_scan_that_trains_under_one_name_and_tests_under_another_is_refused() -> None:
    one = source("/a", [real("A")])
    other = source("/b", [real("renamed", split="test", image_sha256=sha("A"))])
    with pytest.raises(
        ManifestError, match=r"scan A: found in train of /a/.* as case renamed, in test"
    ):
        unite([one, other])


@pytest.mark.parametrize(
    "held_out",
    [
        real("other scan", patient_id="patient of A", split="val"),
        real("A", patient_id="renamed", split="test", image_sha256=sha("scanned again")),
        real("renamed", split="test", image_sha256=sha("A")),
    ],
    ids=["patient", "case", "scan"],
)
def test_a_donor_that_another_source_holds_out_has_no_child_in_the_mix(
    held_out: dict[str, object],
) -> None:
    lake = source("/lake", [real("B"), drawn("A", 0), drawn("B", 1), drawn("A", 2)])
    store = source("/cases", [held_out])
    united = unite([lake, store])
    assert mix(united, count=1)["plan_index"].to_pylist() == [None, None, 1]
    with pytest.raises(ManifestError, match=r"\(2 more may not: 2 of a donor in val or test\)"):
        mix(united, count=2)


def test_lakes_are_used_evenly_and_a_smaller_mix_stays_a_subset() -> None:
    cases = [real("A"), real("B")]
    lakes = [
        source(f"/{name}", [*cases, *(drawn("AB"[i % 2], i, name) for i in range(number))])
        for name, number in (("a", 9), ("b", 3), ("c", 6))
    ]
    mixes = []
    for count in range(19):
        rows = mix(unite(lakes), count=count).to_pylist()
        mixes.append({row["work_id"] for row in rows if row["kind"] == "synthetic"})
        used = [
            sum(row["work_id"] in set(lake.table["work_id"].to_pylist()) for row in rows[2:])
            for lake in lakes
        ]
        # Until a lake is used up, none is more than one volume ahead.
        assert max(used) - min(used) <= 1 or used[1] == 3
    assert all(small < large for small, large in pairwise(mixes))


def test_the_order_of_the_sources_changes_nothing_that_a_mix_takes() -> None:
    cases = [real("A"), real("B", split="val")]
    lakes = [
        source(f"/{name}", [*cases, *(drawn("A", i, name) for i in range(4))]) for name in "abc"
    ]
    found = {
        tuple(mix(unite(order), count=5)["work_id"].to_pylist()) for order in permutations(lakes)
    }
    assert len(found) == 1
