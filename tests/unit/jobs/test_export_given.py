"""What `factory export` takes and what it refuses: volumes, folders, manifests."""

import json
from pathlib import Path
from typing import Any

import pytest
from exported_lakes import Made, export_in_process, make_lake, manifest_of, set_rows

from factory.digests import sha256_of_file
from factory.errors import StoreError, UsageError
from jobs.export.job import ExportResult, export
from jobs.export.telling import lines_of

SPLITS = ("train", "train", "val", "test")


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Four cases with two volumes drawn into each; only to be read."""
    return make_lake(tmp_path_factory.mktemp("made"), SPLITS)


@pytest.fixture
def made(given: Made, tmp_path: Path) -> Made:
    """The same with a lake of its own."""
    return given.copied(tmp_path / "lake")


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of volumes as they are begun, in this process."""
    return export_in_process(monkeypatch)


def exported(made: Made, out: Path, **options: Any) -> ExportResult:
    return export(str(made.lake), out, "nifti", **options)


def files_of(out: Path) -> dict[str, str]:
    return {
        path.relative_to(out).as_posix(): sha256_of_file(path)
        for path in sorted(out.rglob("*"))
        if path.is_file() and ".export" not in path.parts
    }


def synthetic(made: Made, number: int = 0) -> dict[str, Any]:
    return [row for row in made.rows if row["kind"] == "synthetic"][number]


def name_of(row: dict[str, Any]) -> str:
    return f"{row['case_id']}_{row['work_id']}"


def test_rejected_volumes_are_never_written_and_reviewed_ones_where_they_may(
    made: Made, tmp_path: Path, begun: list[str]
) -> None:
    rows = made.rows
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
    set_rows(made.lake, rows)

    assert exported(made, tmp_path / "out").num_synthetic == 7
    strict = exported(made, tmp_path / "out", min_verdict="accept")

    assert strict.num_synthetic == 5
    assert strict.num_of_verdict == 3
    assert len(list((tmp_path / "out" / "images").iterdir())) == 9
    assert len(list((tmp_path / "out" / "layouts").iterdir())) == 9
    assert "left out: 3 synthetic volumes, for the verdict of quality control" in lines_of(strict)


def test_a_file_that_someone_put_there_stays(made: Made, tmp_path: Path, begun: list[str]) -> None:
    exported(made, tmp_path / "out")
    own = tmp_path / "out" / "images" / "own.nii.gz"
    own.write_bytes(b"mine")

    exported(made, tmp_path / "out", splits=["train"])

    assert own.read_bytes() == b"mine"
    assert len(list((tmp_path / "out" / "images").iterdir())) == 6 + 1


def test_splits_choose_volumes(made: Made, tmp_path: Path, begun: list[str]) -> None:
    exported(made, tmp_path / "out", splits=["val", "test"])

    assert {name.split("_")[0] for name in begun} == {"c2", "c3"}


def test_a_split_without_volumes_is_told(made: Made, tmp_path: Path, begun: list[str]) -> None:
    set_rows(made.lake, [row for row in made.rows if row["split"] == "train"])

    with pytest.raises(UsageError, match=r"found 6 volumes, 0 of them of the splits"):
        exported(made, tmp_path / "out", splits=["test"])


def test_a_manifest_that_leaks_is_refused(
    made: Made, tmp_path: Path, begun: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [
        row | {"split": "train"} if row["case_id"] == "c3" and row["work_id"] else row
        for row in made.rows
    ]
    monkeypatch.setattr("manifests.write.validate", lambda table: [])
    set_rows(made.lake, rows)

    with pytest.raises(UsageError, match=r"found \d+ problems, the first: "):
        exported(made, tmp_path / "out")


def test_two_cases_whose_files_one_disk_takes_for_one_are_refused(
    made: Made, tmp_path: Path, begun: list[str]
) -> None:
    first, second, *_ = made.rows
    set_rows(made.lake, [first, second | {"case_id": "C0"}])

    with pytest.raises(UsageError, match=r"case C0 and case c0, whose files would both be c0"):
        exported(made, tmp_path / "out")


def test_a_case_named_as_a_file_of_the_export_does_not_take_its_place(
    made: Made, tmp_path: Path, begun: list[str]
) -> None:
    set_rows(made.lake, [made.rows[0] | {"case_id": "export"}, *made.rows[1:4]])

    exported(made, tmp_path / "out")

    assert exported(made, tmp_path / "out").num_kept == 4


def test_a_folder_of_other_files_is_refused_untouched(
    made: Made, tmp_path: Path, begun: list[str]
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("years")

    with pytest.raises(UsageError, match="a folder with files that no export wrote"):
        exported(made, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"kind": "monai"}, "format was nifti, is monai"),
        ({"native": True}, "native was False, is True"),
        ({"place": "cases"}, "manifest was"),
    ],
)
def test_another_export_does_not_go_into_the_same_folder(
    change: dict[str, Any], told: str, made: Made, tmp_path: Path, begun: list[str]
) -> None:
    exported(made, tmp_path / "out")
    before = files_of(tmp_path / "out")
    place = str(made.cases if change.pop("place", None) else made.lake)

    with pytest.raises(StoreError, match=f"made by another export .*{told}"):
        export(place, tmp_path / "out", change.pop("kind", "nifti"), **change)
    assert files_of(tmp_path / "out") == before


def test_a_manifest_is_the_same_by_each_of_its_paths(
    made: Made, tmp_path: Path, begun: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    export(manifest_of(made.lake), tmp_path / "out", "nifti")
    monkeypatch.chdir(made.lake)

    assert export("manifest.parquet", tmp_path / "out", "nifti").num_kept == 12
    assert export(".", tmp_path / "out", "nifti").num_kept == 12


@pytest.mark.parametrize("text", ["not json", "[]", '"export"'])
def test_an_identity_of_nonsense_is_told(
    text: str, made: Made, tmp_path: Path, begun: list[str]
) -> None:
    (tmp_path / "out" / ".export").mkdir(parents=True)
    (tmp_path / "out" / ".export" / "export.json").write_text(text)

    with pytest.raises(StoreError, match=r"out.*(expected JSON|no table)"):
        exported(made, tmp_path / "out")


def test_a_record_that_leads_out_of_the_folder_removes_nothing(
    made: Made, tmp_path: Path, begun: list[str]
) -> None:
    exported(made, tmp_path / "out")
    outside = tmp_path / "outside.nii.gz"
    outside.write_bytes(b"kept")
    record = {"image": "../outside.nii.gz", "layout": str(outside)}
    records = tmp_path / "out" / ".export" / "volumes"
    (records / "gone.json").write_text(json.dumps(record))
    (records / "strange.json").write_text("[1")

    exported(made, tmp_path / "out")

    assert outside.read_bytes() == b"kept"
    assert sorted(path.stem for path in records.iterdir())[-1] != "strange"


@pytest.mark.parametrize("name", ["CC BY", "", "a\nb: c", "x" * 61])
def test_a_licence_that_is_no_id_is_refused(
    name: str, made: Made, tmp_path: Path, begun: list[str]
) -> None:
    with pytest.raises(UsageError, match="found no id of a licence"):
        exported(made, tmp_path / "out", license=name)


def test_a_folder_that_is_no_lake_is_refused(tmp_path: Path, begun: list[str]) -> None:
    (tmp_path / "lake").mkdir()

    with pytest.raises(StoreError, match="found neither a lake nor a case store"):
        export(str(tmp_path / "lake"), tmp_path / "out", "nifti")
    assert not (tmp_path / "out").exists()


def test_what_ends_with_its_worker_is_told_and_the_rest_goes_on(
    made: Made, tmp_path: Path, begun: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from jobs.export import job

    def run_tasks(function: Any, calls: Any, *, window: int) -> Any:
        for call in calls:
            is_doomed = call[0].name == "c1"
            yield call, RuntimeError("OOM") if is_doomed else function(*call)

    monkeypatch.setattr(job, "run_tasks", run_tasks)

    result = exported(made, tmp_path / "out")

    assert result.num_written == 11
    assert "its worker process ended (RuntimeError)" in result.left_out["c1"]
