"""Whose child a synthetic volume is: by the voxels that it was drawn into, never by a name alone."""

from pathlib import Path
from typing import Any

import pytest
from manifest_rows import sha
from mix_sources import case, digest_of, drawn, make_source

from jobs.evaluate.given import GivenSet, find_sets


def other_scan(case_id: str, **changes: Any) -> dict[str, Any]:
    """Return another hospital's case of a name: other voxels, from other files."""
    return case(case_id, image_sha256=sha(f"elsewhere {case_id}"), **changes)


def of_lake(folder: Path, real: list[Any], lake: list[Any]) -> GivenSet:
    store = make_source(folder / "cases", "cases", real)
    (found,) = find_sets(store, {"ours": make_source(folder / "lake", "lake", lake)}).synthetic
    return found


def test_another_hospitals_case_of_the_same_name_is_no_donor(tmp_path: Path) -> None:
    found = of_lake(
        tmp_path, [other_scan("c0"), case("c1")], [drawn("c0", 0), drawn("c0", 1), drawn("c1", 2)]
    )
    assert [item.donor and item.donor["image_sha256"] for item in found.items] == [
        None,
        None,
        digest_of("c1"),
    ]
    assert found.notes[0] == (
        "without a donor here: 2 volumes; cases of the donors' names are there, but with other voxels than those "
        "drawn into"
    )


def test_a_lakes_own_donor_counts_whatever_the_real_set_calls_so(tmp_path: Path) -> None:
    found = of_lake(tmp_path, [other_scan("c0")], [case("c0"), drawn("c0", 0)])
    (item,) = found.items
    assert item.donor
    assert item.donor["image_sha256"] == digest_of("c0")
    assert str(tmp_path / "lake") in item.donor["image_uri"]


def test_of_a_scan_that_both_have_the_one_that_was_named_is_read(tmp_path: Path) -> None:
    """A lake may name a case store where it no longer is."""
    (item,) = of_lake(tmp_path, [case("c0")], [case("c0"), drawn("c0", 0)]).items
    assert item.donor
    assert str(tmp_path / "cases") in item.donor["image_uri"]


def test_a_scan_under_another_name_is_the_donor_and_its_patient_the_real_one(
    tmp_path: Path,
) -> None:
    renamed = case("c0") | {"case_id": "scan-7", "patient_id": "p7"}
    found = of_lake(tmp_path, [renamed], [case("c0"), drawn("c0", 0)])
    (item,) = found.items
    assert item.donor
    assert (item.patient_id, item.case_id, list(found.notes)) == ("p7", "c0", [])


def test_a_patient_of_the_same_name_who_shares_no_scan_is_another_one(tmp_path: Path) -> None:
    found = of_lake(tmp_path, [other_scan("c0")], [case("c0"), drawn("c0", 0)])
    assert [item.patient_id for item in found.items] == ["ours: patient of c0"]
    assert found.notes == [
        "the patients of 1 volume are called as real ones are, but share no scan with them: they count as "
        "other patients"
    ]


@pytest.mark.parametrize("shared", ["a scan", "files"])
def test_a_patient_who_shares_a_scan_is_the_same_one(shared: str, tmp_path: Path) -> None:
    """Also a scan that was ingested anew, with other voxels: its files say so."""
    if shared == "a scan":
        real = [case("c0", patient_id="p"), case("c1", patient_id="p")]
        lake = [case("c1", patient_id="p"), drawn("c2", 0, patient_id="p")]
    else:
        files = {"patient_id": "p", "source_sha256": sha("files")}
        real, lake = [other_scan("c0", **files)], [case("c0", **files)]
        lake.append(drawn("c0", 0, patient_id="p"))
    found = of_lake(tmp_path, real, lake)
    assert [item.patient_id for item in found.items] == ["p"]
    assert not found.notes
