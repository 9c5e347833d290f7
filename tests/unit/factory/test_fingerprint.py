"""The same files give the same case, and any other file another one."""

from dataclasses import replace
from pathlib import Path

import pytest
from endless import KINDS, not_for_ever, write_endless

from factory.digests import digest_json, sha256_of_file
from factory.errors import CaseError
from factory.ingest.fingerprint import fingerprint
from factory.ingest.points import NodulePoint
from factory.ingest.sources import SourceCase


@pytest.fixture
def source(tmp_path: Path) -> SourceCase:
    def file(name: str) -> str:
        (tmp_path / name).write_text(name)
        return str(tmp_path / name)

    slices = tuple(file(f"{k}.dcm") for k in range(3))
    return SourceCase(
        case_id="c", patient_id="p", series=slices, seg=(file("seg"),), lidc_xml=(file("xml"),)
    )


def test_the_digest_of_a_nifti_case_is_what_earlier_stores_hold(tmp_path: Path) -> None:
    for name in ("ct", "lung"):
        (tmp_path / name).write_text(name)
    source = SourceCase(
        case_id="c", patient_id="p", ct=str(tmp_path / "ct"), lung=(str(tmp_path / "lung"),)
    )
    sha = {name: sha256_of_file(tmp_path / name) for name in ("ct", "lung")}
    expected = {"ct": sha["ct"], "patient": "p", "lung": [sha["lung"]], "nodule": [], "labels": []}
    assert fingerprint(source).digest == digest_json(expected)
    assert fingerprint(source).ct_sha256 == sha["ct"]


def test_files_that_were_moved_are_the_same_files(source: SourceCase, tmp_path: Path) -> None:
    before = fingerprint(source)
    (tmp_path / "elsewhere").mkdir()
    moved = tuple(
        str(Path(path).rename(tmp_path / "elsewhere" / f"renamed{n}"))
        for n, path in enumerate(source.series)
    )
    assert fingerprint(replace(source, series=moved)) == before


def test_slices_in_another_order_are_another_scan(source: SourceCase) -> None:
    turned = replace(source, series=source.series[::-1])
    assert fingerprint(turned).ct_sha256 != fingerprint(source).ct_sha256


@pytest.mark.parametrize(
    "change",
    [
        {"patient_id": "q"},
        {"seg": ()},
        {"lidc_xml": ()},
        {"rtstruct": "seg", "seg": ()},
        {"points": (NodulePoint(center_lps_mm=(0.0, 0.0, 0.0), diameter_mm=5.0),)},
        {"label_roles": ((1, 2),)},
    ],
    ids=str,
)
def test_anything_that_changes_the_case_changes_its_digest(
    source: SourceCase, change: dict[str, object]
) -> None:
    before = fingerprint(source)
    if change.get("rtstruct"):
        change = change | {"rtstruct": source.seg}
    after = fingerprint(replace(source, **change))
    assert after.digest != before.digest
    assert after.ct_sha256 == before.ct_sha256


def test_a_slice_that_was_written_anew_changes_both(source: SourceCase) -> None:
    before = fingerprint(source)
    Path(source.series[1]).write_text("other pixels")
    after = fingerprint(source)
    assert after.digest != before.digest
    assert after.ct_sha256 != before.ct_sha256


def test_the_voxels_of_a_metaimage_count_as_its_header_does(tmp_path: Path) -> None:
    header = "ObjectType = Image\nNDims = 3\nElementDataFile = a.raw\n"
    (tmp_path / "a.mhd").write_text(header)
    (tmp_path / "a.raw").write_bytes(b"voxels")
    source = SourceCase(case_id="c", patient_id="p", ct=str(tmp_path / "a.mhd"))
    before = fingerprint(source)
    (tmp_path / "a.raw").write_bytes(b"others")
    after = fingerprint(source)
    assert after.ct_sha256 != before.ct_sha256
    (tmp_path / "a.mhd").write_text("ElementDataFile = ../../etc/passwd\n")
    assert fingerprint(source).ct_sha256 == sha256_of_file(tmp_path / "a.mhd")


@pytest.mark.parametrize("role", ["lung", "nodule", "labels"])
def test_the_voxels_of_a_mask_count_as_its_header_does(tmp_path: Path, role: str) -> None:
    (tmp_path / "ct.nii").write_text("ct")
    (tmp_path / "m.mhd").write_text("ElementDataFile = m.zraw\n")
    (tmp_path / "m.zraw").write_bytes(b"drawn")
    mask = str(tmp_path / "m.mhd")
    source = SourceCase(case_id="c", patient_id="p", ct=str(tmp_path / "ct.nii"))
    source = replace(source, **{role: mask if role == "labels" else (mask,)})
    before = fingerprint(source)
    (tmp_path / "m.zraw").write_bytes(b"again")
    assert fingerprint(source).digest != before.digest


@pytest.mark.parametrize("name", ["", "/", ".."])
def test_a_header_that_names_no_file_counts_alone(tmp_path: Path, name: str) -> None:
    (tmp_path / "a.mhd").write_text(f"ElementDataFile = {name}\n")
    source = SourceCase(case_id="c", patient_id="p", ct=str(tmp_path / "a.mhd"))
    assert fingerprint(source).ct_sha256 == sha256_of_file(tmp_path / "a.mhd")


def test_lungs_segmented_by_another_method_make_another_case(source: SourceCase) -> None:
    assert fingerprint(source, "lungmask").digest != fingerprint(source).digest


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("role", ["ct", "lung", "labels", "series", "seg", "rtstruct", "lidc_xml"])
def test_what_may_never_end_is_refused_before_it_is_read(
    source: SourceCase, tmp_path: Path, role: str, kind: str
) -> None:
    odd = str(write_endless(tmp_path / "odd", kind))
    one_file = role in ("ct", "labels")
    changed = replace(source, **{role: odd if one_file else (odd,)})
    with not_for_ever(), pytest.raises(CaseError, match=rf"^case c: .*odd is a {kind} and no reg"):
        fingerprint(changed)
