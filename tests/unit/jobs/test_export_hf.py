"""A Hugging Face folder says what its volumes are, where they come from and what may be done with them."""

import fnmatch
import json
import shlex
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from exported_lakes import Made, export_in_process, make_lake

from factory.digests import sha256_of_file
from jobs.export.job import export

SPLITS = ("train", "train", "val", "test")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Four cases with two volumes drawn into each; only to be read."""
    return make_lake(tmp_path_factory.mktemp("made"), SPLITS)


@pytest.fixture(scope="module")
def out(made: Made, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An export of them; only to be read."""
    with pytest.MonkeyPatch.context() as patch:
        export_in_process(patch)
        folder = tmp_path_factory.mktemp("out") / 'lung "ct": 1'
        return export(str(made.lake), folder, "hf", license="CC-BY-4.0").out


@pytest.fixture(scope="module")
def told(out: Path) -> Any:
    return json.loads((out / "croissant.json").read_text())


def header(out: Path) -> Any:
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
    return yaml.safe_load((out / "README.md").read_text().split("---\n")[1])


def rows(out: Path, split: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = pq.read_table(out / "data" / f"{split}.parquet").to_pylist()
    return found


def test_the_upload_can_be_pasted_whatever_the_folder_is_called_and_its_condition_stands_apart(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export_in_process(monkeypatch)
    result = export(str(made.lake), tmp_path / "it's lung CT", "hf")
    assert shlex.split(result.next_step) == [
        *("hf", "upload", "USER/it-s-lung-CT", str(result.out), "--repo-type", "dataset"),
        *("--private", "--exclude", ".export/*"),
    ]
    assert result.caveat == "upload it only if those whose scans it holds have agreed to it"


def test_each_row_leads_to_its_files_and_vouches_for_them(out: Path, made: Made) -> None:
    found = [row for split in ("train", "val", "test") for row in rows(out, split)]

    assert len(found) == 12
    expected = {(row["case_id"], row["work_id"]): row for row in made.rows}
    for row in found:
        of = expected[row["case_id"], row["work_id"]]
        assert row["image"].startswith(f"images/{row['split']}/")
        assert sha256_of_file(out / row["image"]) == row["image_file_sha256"]
        assert sha256_of_file(out / row["layout"]) == row["layout_file_sha256"]
        for name in ("kind", "split", "patient_id", "image_sha256", "seed", "reference_sha256"):
            assert row[name] == of[name]


def test_no_column_tells_of_this_machine(out: Path) -> None:
    columns = set(rows(out, "train")[0])

    assert not columns & {"image_uri", "layout_uri", "source_uri", "device", "run_id", "notes"}
    assert {"source_sha256", "reference_sha256", "model_digest", "qc_verdict"} <= columns


def test_the_hub_finds_splits_licence_and_size_in_the_card(out: Path) -> None:
    found = header(out)

    assert found["pretty_name"] == 'lung "ct": 1'
    assert found["license"] == "cc-by-4.0"
    assert found["size_categories"] == ["n<1K"]
    assert found["configs"][0]["data_files"] == [
        {"split": "train", "path": "data/train.parquet"},
        {"split": "validation", "path": "data/val.parquet"},
        {"split": "test", "path": "data/test.parquet"},
    ]


def test_the_card_counts_what_there_is_and_says_that_nobody_is_anonymous(out: Path) -> None:
    card = (out / "README.md").read_text()

    assert "| train | 2 | 4 |" in card
    assert "| val | 1 | 2 |" in card
    assert "12 volumes of 4 patients" in card
    assert "not anonymised, and not for clinical use" in card
    assert "8 synthetic volumes by `aas`, 20 steps, model `" in card


def test_croissant_vouches_for_each_table(out: Path, told: Any) -> None:
    assert told["conformsTo"] == "http://mlcommons.org/croissant/1.1"
    assert told["license"] == "https://spdx.org/licenses/CC-BY-4.0.html"
    files = [one for one in told["distribution"] if one["@type"] == "cr:FileObject"]
    assert [one["contentUrl"] for one in files] == [
        "data/train.parquet",
        "data/val.parquet",
        "data/test.parquet",
    ]
    for one in files:
        assert one["sha256"] == sha256_of_file(out / one["contentUrl"])
        assert one["contentSize"] == f"{(out / one['contentUrl']).stat().st_size} B"


def test_croissants_patterns_find_every_volume(out: Path, told: Any) -> None:
    sets = {one["@id"]: one for one in told["distribution"] if one["@type"] == "cr:FileSet"}
    files = [path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()]

    for name, count in (("images", 12), ("layouts", 12), ("tables", 3)):
        assert len(fnmatch.filter(files, sets[name]["includes"])) == count


def test_each_field_of_croissant_is_a_column_of_its_type(out: Path, told: Any) -> None:
    schema = pq.read_schema(out / "data" / "train.parquet")
    fields = {field["name"]: field for field in told["recordSet"][0]["field"]}

    assert all(field["source"]["extract"]["column"] in schema.names for field in fields.values())
    assert fields["kind"]["dataType"] == "sc:Text"
    assert fields["seed"]["dataType"] == "sc:Integer"
    assert (fields["affine"]["dataType"], fields["affine"]["isArray"]) == ("sc:Float", True)
    assert fields["kind"]["description"] == "real or synthetic"
    # Lists of records: Croissant has no word for them here, and Parquet has their types.
    assert set(schema.names) - set(fields) == {"nodules", "redraws", "created_at"} & set(
        schema.names
    )


def test_croissant_says_what_each_volume_was_made_from(told: Any) -> None:
    of = {
        field["name"]: field["equivalentProperty"]
        for field in told["recordSet"][0]["field"]
        if "equivalentProperty" in field
    }

    assert of == {
        "reference_sha256": "prov:wasDerivedFrom",
        "source_sha256": "prov:hadPrimarySource",
        "model_digest": "prov:wasAttributedTo",
    }
    made = [one["prov:label"] for one in told["prov:wasGeneratedBy"]]
    assert made == [
        "factory ingest: 4 real scans",
        "factory generate: 8 volumes, aas, 20 steps",
    ]
    assert told["prov:wasGeneratedBy"][1]["prov:used"]["@id"].startswith("urn:ct-factory:model:")


def test_run_again_the_folder_is_the_same(
    out: Path, made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    export_in_process(monkeypatch)
    paths = ["README.md", "croissant.json", "data/train.parquet"]
    before = [sha256_of_file(out / path) for path in paths]

    export(str(made.lake), out, "hf", license="CC-BY-4.0")

    assert [sha256_of_file(out / path) for path in paths] == before


def test_a_split_that_is_not_asked_for_any_more_goes(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export_in_process(monkeypatch)
    out = export(str(made.lake), tmp_path / "out", "hf").out
    export(str(made.lake), tmp_path / "out", "hf", splits=["train"])

    assert [path.name for path in (out / "data").iterdir()] == ["train.parquet"]
    assert [path.name for path in (out / "images").iterdir() if any(path.iterdir())] == ["train"]
    assert header(out)["license"] == "unknown"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_mlcroissant_finds_nothing_wrong_and_reads_the_records(out: Path) -> None:
    import mlcroissant

    dataset = mlcroissant.Dataset(jsonld=out / "croissant.json")

    assert dataset.metadata.ctx.issues.report() == ""
    assert len(list(dataset.records("volumes"))) == 12
