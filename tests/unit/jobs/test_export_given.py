"""What `factory export` takes and what it refuses: volumes, folders, manifests."""

import json
import threading
from pathlib import Path
from typing import Any

import pytest
from exported_lakes import Made, exported, files_of, manifest_of, set_rows

from factory.errors import StoreError, UsageError
from jobs.export.folder import alone
from jobs.export.job import export
from jobs.export.telling import lines_of


def test_rejected_volumes_are_never_written_and_reviewed_ones_where_they_may(
    exportable: Made, tmp_path: Path, begun_exports: list[str]
) -> None:
    rows = exportable.rows
    # What was never judged counts as review.
    verdicts = iter(["reject", "review", None, *["accept"] * 5])
    rows = [
        row | {"qc_verdict": next(verdicts)} | {"qc_reasons": None}
        if row["kind"] == "synthetic"
        else row
        for row in rows
    ]
    rows = [
        row | {"qc_reasons": ["too flat"]} if row["qc_verdict"] in ("reject", "review") else row
        for row in rows
    ]
    set_rows(exportable.lake, rows)

    assert exported(exportable, tmp_path / "out").num_synthetic == 7
    strict = exported(exportable, tmp_path / "out", min_verdict="accept")

    assert strict.num_synthetic == 5
    assert "removed: the files of 2 volumes of an earlier export, not asked for now" in lines_of(
        strict
    )
    assert strict.num_of_verdict == 3
    assert len(list((tmp_path / "out" / "images").iterdir())) == 9
    assert len(list((tmp_path / "out" / "layouts").iterdir())) == 9
    assert "left out: 3 synthetic volumes, for the verdict of quality control" in lines_of(strict)


def test_a_second_export_waits_for_the_first_and_removes_nothing_under_its_hands(
    exportable: Made,
    tmp_path: Path,
    begun_exports: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out, waits = tmp_path / "out", threading.Event()
    exported(exportable, out)
    whole = files_of(out)
    monkeypatch.setattr("jobs.export.folder.say", lambda told: waits.set())
    second = threading.Thread(target=exported, args=(exportable, out), kwargs={"splits": ["train"]})
    *kept, gone = [row for row in exportable.rows if row["split"] == "train"]
    with alone(out):
        second.start()
        assert waits.wait(timeout=30)
        assert files_of(out) == whole
        set_rows(exportable.lake, [row for row in exportable.rows if row != gone])
    second.join(timeout=60)
    assert not second.is_alive()
    names = {path.name for path in (out / "images").iterdir()}
    assert len(names) == len(kept)
    assert not any(str(gone["work_id"]) in name for name in names)


def test_a_file_that_someone_put_there_stays(
    exportable: Made, tmp_path: Path, begun_exports: list[str]
) -> None:
    exported(exportable, tmp_path / "out")
    own = tmp_path / "out" / "images" / "own.nii.gz"
    own.write_bytes(b"mine")

    exported(exportable, tmp_path / "out", splits=["train"])

    assert own.read_bytes() == b"mine"
    assert len(list((tmp_path / "out" / "images").iterdir())) == 6 + 1


def test_splits_choose_volumes(exportable: Made, tmp_path: Path, begun_exports: list[str]) -> None:
    exported(exportable, tmp_path / "out", splits=["val", "test"])

    assert {name.split("_")[0] for name in begun_exports} == {"c2", "c3"}


def test_a_split_without_volumes_is_told(
    exportable: Made, tmp_path: Path, begun_exports: list[str]
) -> None:
    set_rows(exportable.lake, [row for row in exportable.rows if row["split"] == "train"])

    with pytest.raises(
        UsageError,
        match=r"found 6 volumes of train; expected some of test, .* Take another --split",
    ):
        exported(exportable, tmp_path / "out", splits=["test"])


def test_a_manifest_that_leaks_is_refused(
    exportable: Made, tmp_path: Path, begun_exports: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [
        row | {"split": "train"} if row["case_id"] == "c3" and row["work_id"] else row
        for row in exportable.rows
    ]
    monkeypatch.setattr("manifests.write.validate", lambda table: [])
    set_rows(exportable.lake, rows)

    with pytest.raises(UsageError, match=r"found \d+ problems, the first: "):
        exported(exportable, tmp_path / "out")


def test_two_cases_whose_files_one_disk_takes_for_one_are_refused(
    exportable: Made, tmp_path: Path, begun_exports: list[str]
) -> None:
    first, second, *_ = exportable.rows
    set_rows(exportable.lake, [first, second | {"case_id": "C0"}])

    with pytest.raises(UsageError, match=r"case C0 and case c0, whose files would both be c0"):
        exported(exportable, tmp_path / "out")


def test_a_case_named_as_a_file_of_the_export_does_not_take_its_place(
    exportable: Made, tmp_path: Path, begun_exports: list[str]
) -> None:
    set_rows(exportable.lake, [exportable.rows[0] | {"case_id": "export"}, *exportable.rows[1:4]])

    exported(exportable, tmp_path / "out")

    assert exported(exportable, tmp_path / "out").num_kept == 4


def test_a_folder_of_other_files_is_refused_untouched(
    exportable: Made, tmp_path: Path, begun_exports: list[str]
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("years")

    with pytest.raises(UsageError, match="a folder with files that no export wrote"):
        exported(exportable, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["thesis.tex"]


def test_what_a_file_manager_left_in_the_folder_does_not_refuse_it(
    exportable: Made, tmp_path: Path, begun_exports: list[str]
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / ".DS_Store").write_bytes(b"")

    assert exported(exportable, tmp_path / "out").num_written


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"kind": "monai"}, "format was nifti, is monai"),
        ({"native": True}, "native was False, is True"),
        ({"place": "cases"}, "manifest was"),
    ],
)
def test_another_export_does_not_go_into_the_same_folder(
    change: dict[str, Any], told: str, exportable: Made, tmp_path: Path, begun_exports: list[str]
) -> None:
    exported(exportable, tmp_path / "out")
    before = files_of(tmp_path / "out")
    place = str(exportable.cases if change.pop("place", None) else exportable.lake)

    with pytest.raises(StoreError, match=f"made by another export .*{told}"):
        export(place, tmp_path / "out", change.pop("kind", "nifti"), **change)
    assert files_of(tmp_path / "out") == before


def test_a_manifest_is_the_same_by_each_of_its_paths(
    exportable: Made, tmp_path: Path, begun_exports: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    export(manifest_of(exportable.lake), tmp_path / "out", "nifti")
    monkeypatch.chdir(exportable.lake)

    assert export("manifest.parquet", tmp_path / "out", "nifti").num_kept == 12
    assert export(".", tmp_path / "out", "nifti").num_kept == 12


@pytest.mark.parametrize("text", ["not json", "[]", '"export"'])
def test_an_identity_of_nonsense_is_told(
    text: str, exportable: Made, tmp_path: Path, begun_exports: list[str]
) -> None:
    (tmp_path / "out" / ".export").mkdir(parents=True)
    (tmp_path / "out" / ".export" / "export.json").write_text(text)

    with pytest.raises(StoreError, match=r"out.*(expected JSON|no table)"):
        exported(exportable, tmp_path / "out")


def test_a_record_that_leads_out_of_the_folder_removes_nothing(
    exportable: Made, tmp_path: Path, begun_exports: list[str]
) -> None:
    exported(exportable, tmp_path / "out")
    outside = tmp_path / "outside.nii.gz"
    outside.write_bytes(b"kept")
    record = {"image": "../outside.nii.gz", "layout": str(outside)}
    records = tmp_path / "out" / ".export" / "volumes"
    (records / "gone.json").write_text(json.dumps(record))
    (records / "strange.json").write_text("[1")

    exported(exportable, tmp_path / "out")

    assert outside.read_bytes() == b"kept"
    assert sorted(path.stem for path in records.iterdir())[-1] != "strange"


@pytest.mark.parametrize("name", ["CC BY", "", "a\nb: c", "x" * 61])
def test_a_licence_that_is_no_id_is_refused(
    name: str, exportable: Made, tmp_path: Path, begun_exports: list[str]
) -> None:
    with pytest.raises(UsageError, match="found no id of a licence"):
        exported(exportable, tmp_path / "out", license=name)


def test_a_folder_that_is_no_lake_is_refused(tmp_path: Path, begun_exports: list[str]) -> None:
    (tmp_path / "lake").mkdir()

    with pytest.raises(StoreError, match="found neither a lake nor a case store"):
        export(str(tmp_path / "lake"), tmp_path / "out", "nifti")
    assert not (tmp_path / "out").exists()


def test_what_ends_with_its_worker_is_told_and_the_rest_goes_on(
    exportable: Made, tmp_path: Path, begun_exports: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from jobs.export import job

    def run_tasks(function: Any, calls: Any, *, window: int) -> Any:
        for call in calls:
            is_doomed = call[0].name == "c1"
            yield call, RuntimeError("OOM") if is_doomed else function(*call)

    monkeypatch.setattr(job, "run_tasks", run_tasks)

    result = exported(exportable, tmp_path / "out")

    assert result.num_written == 11
    assert "its worker process ended (RuntimeError)" in result.left_out["c1"]
