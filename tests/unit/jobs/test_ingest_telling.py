"""What people at the terminal are told of what was found."""

from dataclasses import replace

import pytest

from factory.ingest.dicom_cases import NO_CASE
from jobs.ingest.inputs import Inputs
from jobs.ingest.job import _told, _unused
from jobs.ingest.no_case import Aside
from jobs.ingest.telling import without_paths


def aside(place: str, reason: str, **changes: str) -> Aside:
    told = {"file": "file-0", "case_id": "", "message": f"{reason}, says its header"}
    return Aside(place=place, reason=reason, **{**told, **changes})


def test_five_inputs_of_each_reason_are_named_and_the_rest_counted(
    capsys: pytest.CaptureFixture[str],
) -> None:
    scouts = [aside(f"/a/{n}", "a localiser") for n in range(8)]
    broken = [aside("/b/torn", "no pixel data")]
    found = Inputs(cases=[], refused=broken, left_out=[*scouts, aside("/c", "not chosen")])
    summary = _told(found)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "quarantined: /b/torn: no pixel data, says its header"
    assert sum("a localiser, says" in line for line in lines) == 5
    assert "left out: /c: not chosen, says its header" in lines
    assert lines[-1].startswith("left out: 3 more for the same reasons; left_out.parquet ")
    assert (summary.num_found, summary.left_out["a localiser"]) == (10, 8)


def test_names_in_a_table_of_points_that_fit_nothing_are_counted_once(
    capsys: pytest.CaptureFixture[str],
) -> None:
    _told(Inputs(cases=[], refused=[], left_out=[], unmatched_points=7))
    assert "warning: of no case here: 7 names in the table of points; expected" in (
        capsys.readouterr().err
    )


def test_a_broken_nifti_case_is_named_by_its_id(capsys: pytest.CaptureFixture[str]) -> None:
    refused = aside("twice", "found 2 CTs", file="twice", case_id="twice")
    _told(Inputs(cases=[], refused=[refused], left_out=[]))
    assert capsys.readouterr().err.startswith("quarantined: case twice: found 2 CTs")


def test_paths_folders_and_names_of_files_are_taken_out_of_a_text() -> None:
    files = ("/scans/Doe, Jane/ct/DOE_JANE_1.dcm", "/scans/Doe, Jane/seg/rt.dcm")
    text = "slice DOE_JANE_1.dcm of /scans/Doe, Jane/ct, near /scans/Doe, Jane/seg/rt.dcm, is odd"
    assert without_paths(text, files) == "slice (file) of (path), near (path), is odd"


def test_figures_stay_where_slices_are_named_by_numbers() -> None:
    text = "found 1 CT series in 12 files (slices lie at 12.50 mm); expected one"
    assert without_paths(text, ("/a/b/1", "/a/b/2", "/a/b/5", "/a/b/12")) == text


def test_a_file_that_is_named_by_a_patient_s_number_is_taken_out_of_a_text() -> None:
    text = "slice 4711081 is odd, as are 24711081 values"
    assert without_paths(text, ("/a/4711081",)) == "slice (file) is odd, as are 24711081 values"


def test_names_that_would_steer_a_terminal_are_spelt_out(
    capsys: pytest.CaptureFixture[str],
) -> None:
    refused = aside("/a/\x1b[2J\udcff", "odd")
    _told(Inputs(cases=[], refused=[refused], left_out=[]))
    assert capsys.readouterr().err == "quarantined: '/a/\\x1b[2J\\udcff': odd, says its header\n"


def test_work_of_readers_that_no_case_has_is_counted_with_the_way_out() -> None:
    drawn = [aside(f"/a/{kind}", f"{kind} {NO_CASE}") for kind in ("SEG", "RTSTRUCT")]
    found = Inputs(cases=[], refused=[], left_out=[*drawn, aside("/b", "a localiser")])
    (warning,) = _unused(found)
    assert warning.startswith("warning: of series that are no case: 2 files that readers drew")
    assert "--series all" in warning
    assert list(_unused(replace(found, left_out=[]))) == []
