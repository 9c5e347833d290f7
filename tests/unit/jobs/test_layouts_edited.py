"""Layouts that a radiologist has edited: none is written over, and what is wrong with one is told."""

from pathlib import Path

import pytest
from endless import not_for_ever, write_endless
from layout_folders import bytes_of, draw_nodule, edit, make_layouts, reasons_of, rows_of, volume_of

from factory.digests import sha256_of_file
from jobs.cases import CaseStore


def test_an_edited_layout_is_never_written_over(
    layout_folder: Path, cases_32: Path, store_32: CaseStore
) -> None:
    row = rows_of(layout_folder, "c0")[1]
    edit(layout_folder, store_32, row)
    edited = sha256_of_file(layout_folder / row["file"])
    result = make_layouts(cases_32, layout_folder, per_case=3)
    assert sha256_of_file(layout_folder / row["file"]) == edited
    assert (result.num_layouts, result.num_edited) == (9, 1)


def test_an_edited_layout_is_kept_also_where_its_record_is_lost(
    layout_folder: Path, cases_32: Path, store_32: CaseStore
) -> None:
    before = bytes_of(layout_folder)
    row = rows_of(layout_folder, "c0")[1]
    edit(layout_folder, store_32, row)
    edited = sha256_of_file(layout_folder / row["file"])
    (layout_folder / "commits" / "c0.json").unlink()
    result = make_layouts(cases_32, layout_folder)
    assert bytes_of(layout_folder) == before | {row["file"]: edited}
    assert (result.num_layouts, result.num_edited) == (6, 1)
    assert (
        rows_of(layout_folder, "c0")[0]["file_sha256"]
        == before[rows_of(layout_folder, "c0")[0]["file"]]
    )


def test_a_layout_that_was_deleted_is_made_again(layout_folder: Path, cases_32: Path) -> None:
    before = bytes_of(layout_folder)
    (layout_folder / rows_of(layout_folder, "c2")[0]["file"]).unlink()
    (layout_folder / "c0" / "ct.nii.gz").unlink()
    (layout_folder / "preview" / "c1.png").unlink()
    make_layouts(cases_32, layout_folder)
    assert bytes_of(layout_folder) == before
    assert (layout_folder / "preview" / "c1.png").exists()


def test_an_edited_layout_of_a_case_that_has_changed_is_kept_and_told_of(
    layout_folder: Path, cases_32: Path, store_32: CaseStore
) -> None:
    row = rows_of(layout_folder, "c0")[0]
    edit(layout_folder, store_32, row)
    edited = sha256_of_file(layout_folder / row["file"])
    commit = layout_folder / "commits" / "c0.json"
    commit.write_text(commit.read_text().replace(row["case_digest"], "of earlier voxels"))
    make_layouts(cases_32, layout_folder)
    assert sha256_of_file(layout_folder / row["file"]) == edited
    assert (
        f"it has changed since its layouts were made, and {row['file']} was edited"
        in (reasons_of(layout_folder)["c0"])
    )


def test_a_drawn_nodule_reaches_out_of_the_lungs(store_32: CaseStore) -> None:
    """What the tests of `generate` count on."""
    layout = draw_nodule(store_32, "c0")
    assert (layout[volume_of(store_32, "c0").layout == 0] == 2).any()


def test_an_edited_layout_that_nothing_can_be_drawn_after_is_told_and_the_rest_goes_on(
    layout_folder: Path, cases_32: Path, store_32: CaseStore
) -> None:
    sound, small = rows_of(layout_folder, "c0")
    torn, missing = rows_of(layout_folder, "c1")
    edit(layout_folder, store_32, sound)
    edit(layout_folder, store_32, small, draw_nodule(store_32, "c0")[:-1].copy())
    (layout_folder / torn["file"]).write_bytes(b"no NIfTI")
    (layout_folder / missing["file"]).unlink()
    kept = {name: sha for name, sha in bytes_of(layout_folder).items() if name != torn["file"]}
    result = make_layouts(cases_32, layout_folder)
    assert (result.num_layouts, result.num_edited, result.num_quarantined) == (6, 3, 2)
    reasons = reasons_of(layout_folder)
    assert set(reasons) == {"c0.01", "c1.00"}
    assert str(layout_folder / small["file"]) in reasons["c0.01"]
    assert "expected the case's grid" in reasons["c0.01"]
    assert f"{layout_folder / torn['file']} cannot be read" in reasons["c1.00"]
    assert kept.items() <= bytes_of(layout_folder).items()
    assert (layout_folder / torn["file"]).read_bytes() == b"no NIfTI"
    assert (layout_folder / missing["file"]).exists()


def test_an_edited_layout_that_was_mended_or_deleted_leaves_the_quarantine(
    layout_folder: Path, cases_32: Path, store_32: CaseStore
) -> None:
    mended, deleted = rows_of(layout_folder, "c0")
    for row in (mended, deleted):
        (layout_folder / row["file"]).write_bytes(b"no NIfTI")
    assert make_layouts(cases_32, layout_folder, per_case=1).num_quarantined == 2
    edit(layout_folder, store_32, mended)
    (layout_folder / deleted["file"]).unlink()
    result = make_layouts(cases_32, layout_folder, per_case=1)
    assert (result.num_quarantined, result.num_layouts, result.num_edited) == (0, 5, 1)


def test_broken_edits_are_told_on_the_way_and_not_read_for_other_cases(
    layout_folder: Path, cases_32: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for case_id in ("c0", "c1"):
        (layout_folder / rows_of(layout_folder, case_id)[0]["file"]).write_bytes(b"no NIfTI")
    make_layouts(cases_32, layout_folder, only=["c1"])
    told = capsys.readouterr().err
    assert (
        f"quarantined: case c1: {layout_folder / rows_of(layout_folder, 'c1')[0]['file']} cannot be"
        in told
    )
    assert "case c0" not in told


def test_an_edited_layout_that_has_no_end_is_told(layout_folder: Path, cases_32: Path) -> None:
    path = layout_folder / rows_of(layout_folder, "c1")[1]["file"]
    path.unlink()
    write_endless(path, "pipe")
    with not_for_ever(30.0):
        make_layouts(cases_32, layout_folder, only=["c1"])
    assert "is a pipe and no regular file; expected one" in reasons_of(layout_folder)["c1.01"]
