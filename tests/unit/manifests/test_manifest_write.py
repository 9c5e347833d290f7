"""A manifest is written whole, sorted and checked, or not at all."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import permutations
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest
from manifest_rows import real, sha

from manifests.digest import content_digest, in_manifest_order
from manifests.errors import ManifestError
from manifests.read import MixCounts, mix_of, read_manifest, read_table
from manifests.schema import MANIFEST_SCHEMA, PLAN_SCHEMA, QUARANTINE_SCHEMA
from manifests.write import manifest_table, write_manifest, write_table

NODULE = {
    "label": 2,
    "center_ras_mm": [-40.0, 12.5, 88.0],
    "diameter_mm": 9.5,
    "volume_mm3": 448.9,
    "num_voxels": 511,
}
_SCORES = ("num_readers", "malignancy", "texture", "malignancy_scores", "texture_scores")
UNREAD = dict.fromkeys(_SCORES)


def synthetic(donor: str, plan_index: int, **changes: object) -> dict[str, object]:
    work_id = sha(f"{donor} {plan_index}")[:32]
    made: dict[str, object] = {
        "kind": "synthetic",
        "work_id": work_id,
        "plan_index": plan_index,
        "image_uri": f"volumes/{work_id}.a1.ome.zarr",
        "image_sha256": sha(work_id),
        "reference_sha256": sha(donor),
        "hu_window": (-1024.0, 600.0),
        "seed": 2**62 + 1,
    }
    return real(donor) | made | changes


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "lake" / "manifest.parquet"


def test_rows_come_back_as_they_were_written(path: Path) -> None:
    born = datetime(2025, 3, 1, 12, 30, tzinfo=UTC)
    row = synthetic("A", 0, nodules=[NODULE], notes=["small nodule"], created_at=born)
    write_manifest([real("A"), row], path)
    first, second = read_manifest(path).to_pylist()
    assert {key: second[key] for key in row} == {
        **row,
        "shape": [8, 8, 8],
        "hu_window": [-1024.0, 600.0],
        "nodules": [NODULE | UNREAD],
    }
    assert first["work_id"] is None
    assert first["nodules"] is None
    assert list(first) == MANIFEST_SCHEMA.names


def test_what_readers_thought_of_a_nodule_comes_back_as_it_was_written(path: Path) -> None:
    scores = {"malignancy_scores": [5, 4, 4], "texture_scores": [5, 5, 4]}
    readings = {"num_readers": 3, "malignancy": 4.0, "texture": 5.0, **scores}
    write_manifest([real("A", nodules=[NODULE | readings, NODULE | {"label": 3}])], path)
    (row,) = read_manifest(path).to_pylist()
    assert row["nodules"] == [NODULE | readings, NODULE | {"label": 3} | UNREAD]


def test_real_rows_come_first_by_case_and_synthetic_rows_in_plan_order(path: Path) -> None:
    write_manifest([synthetic("A", 10), real("B"), synthetic("B", 9), real("A")], path)
    table = read_manifest(path)
    assert table["case_id"].to_pylist() == ["A", "B", "B", "A"]
    assert table["plan_index"].to_pylist() == [None, None, 9, 10]


def test_rows_of_any_order_end_in_the_same_one() -> None:
    rows = [real("A"), real("B"), synthetic("B", 0), synthetic("A", 1), synthetic("B", 1)]
    wanted = manifest_table(rows).select(["work_id", "case_id"]).to_pylist()
    assert [row["case_id"] for row in wanted[:3]] == ["A", "B", "B"]
    assert wanted[2]["work_id"] == rows[2]["work_id"]
    assert wanted[3]["work_id"] < wanted[4]["work_id"]
    for given in permutations(rows):
        table = pa.concat_tables(manifest_table([row]) for row in given)
        assert in_manifest_order(table).select(["work_id", "case_id"]).to_pylist() == wanted


def test_the_mix_is_counted_over_the_training_split_in_each_row_and_in_the_metadata(
    path: Path,
) -> None:
    held_out = [real("T", split="test"), synthetic("T", 2, split="test")]
    rows = [real("A"), real("B"), real("C"), synthetic("A", 0), *held_out]
    digest = write_manifest([row | {"num_real": 99} for row in rows], path)
    table = read_manifest(path)
    assert set(table["num_real"].to_pylist()) == {3}
    assert set(table["num_synthetic"].to_pylist()) == {1}
    assert set(table["synthetic_fraction"].to_pylist()) == {0.25}
    assert set(table["synthetic_per_real"].to_pylist()) == {1 / 3}
    assert mix_of(path) == mix_of(table) == MixCounts(num_real=3, num_synthetic=1)
    assert {k: v for k, v in table.schema.metadata.items() if k.startswith(b"ct_factory.")} == {
        b"ct_factory.schema_version": b"3",
        b"ct_factory.content_digest": digest.encode(),
        b"ct_factory.num_real": b"3",
        b"ct_factory.num_synthetic": b"1",
        b"ct_factory.synthetic_fraction": b"0.25",
        b"ct_factory.synthetic_per_real": str(1 / 3).encode(),
    }


def test_a_manifest_without_real_volumes_has_no_synthetic_per_real(path: Path) -> None:
    write_manifest([synthetic("A", 0)], path)
    (row,) = read_manifest(path).to_pylist()
    assert (row["synthetic_fraction"], row["synthetic_per_real"]) == (1.0, None)
    write_manifest([], path)
    assert mix_of(path).synthetic_fraction is None


def test_duckdb_filters_on_the_mix_on_lists_and_on_nodules(path: Path) -> None:
    small, large = NODULE | {"diameter_mm": 4.0}, NODULE | {"diameter_mm": 21.0}
    rows = [real("A"), synthetic("A", 0, nodules=[small, large]), synthetic("A", 1, nodules=[])]
    write_manifest(rows, path)
    found = duckdb.execute(
        f"""
        SELECT plan_index FROM '{path}'
        WHERE kind = 'synthetic' AND synthetic_per_real = 2 AND spacing_mm[1] = 2.5
        AND len(list_filter(nodules, lambda n: n.diameter_mm > 20 AND n.center_ras_mm[3] = 88)) = 1
        """
    ).fetchall()
    assert found == [(0,)]
    kinds = duckdb.execute(f"SELECT DISTINCT typeof(seed), typeof(shape) FROM '{path}'").fetchall()
    assert kinds == [("BIGINT", "INTEGER[]")]


def test_digest_does_not_depend_on_order_chunks_places_or_the_run(path: Path) -> None:
    rows = [real("A"), real("B"), synthetic("A", 0, nodules=[NODULE]), synthetic("B", 1)]
    again = [
        row
        | {"image_uri": f"s3://bucket/{i}.b7.ome.zarr", "source_uri": "/elsewhere", "seconds": 1.5}
        | {"attempt": "b7", "device": "H100", "run_id": "r2", "created_at": datetime.now(UTC)}
        for i, row in enumerate(rows)
    ]
    digest = write_manifest(rows, path)
    table = manifest_table(again)
    shuffled = pa.concat_tables([table.slice(2, 1), table.slice(0, 2), table.slice(3)])
    assert content_digest(shuffled) == content_digest(read_manifest(path)) == digest
    assert write_manifest(again[::-1], path) == digest


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 2**62},
        {"spacing_mm": [2.5, 2.0, 2.5]},
        {"image_sha256": sha("other")},
        {"steps": 0},
        {"notes": []},
        {"notes": [""]},
        {"nodules": []},
        {"nodules": [NODULE | {"center_ras_mm": [-40.0, 12.5, 88.5]}]},
        {"nodules": [NODULE | {"malignancy": 3.0}]},
        {"nodules": [NODULE | {"texture_scores": []}]},
        {"qc_background_equal": False},
        {"sampler": ""},
    ],
    ids=str,
)
def test_digest_changes_with_anything_that_a_manifest_says(change: dict[str, object]) -> None:
    before = manifest_table([real("A"), synthetic("A", 0)])
    after = manifest_table([real("A"), synthetic("A", 0, **change)])
    assert content_digest(before) != content_digest(after)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"sampler": ["ab", "c"]}, {"sampler": ["a", "bc"]}),
        ({"notes": [["x", "y"], ["z"]]}, {"notes": [["x"], ["y", "z"]]}),
        ({"nodules": [[NODULE], []]}, {"nodules": [[], [NODULE]]}),
        ({"nodules": [[], None]}, {"nodules": [None, []]}),
        (
            {"nodules": [[NODULE | {"malignancy_scores": [1, 2]}], [NODULE]]},
            {"nodules": [[NODULE], [NODULE | {"malignancy_scores": [1, 2]}]]},
        ),
    ],
    ids=["texts", "lists", "nodules", "nulls", "scores"],
)
def test_digest_tells_rows_apart_that_join_to_the_same(
    one: dict[str, list[object]], other: dict[str, list[object]]
) -> None:
    digests = set()
    for columns in (one, other):
        ((name, values),) = columns.items()
        rows = [synthetic("A", i, **{name: value}) for i, value in enumerate(values)]
        digests.add(content_digest(manifest_table(rows)))
    assert len(digests) == 2


def test_an_unknown_key_is_refused_and_the_known_ones_are_named(path: Path) -> None:
    text = r"row 1 \(B\): unknown `spacing`, expected some of kind, work_id.* created_at\. Rename"
    with pytest.raises(ManifestError, match=text):
        write_manifest([real("A"), real("B", spacing=[1, 1, 1])], path)


def test_a_missing_key_is_named(path: Path) -> None:
    row = real("A")
    del row["affine"], row["image_uri"]
    with pytest.raises(ManifestError, match=r"row 0 \(A\): no `affine`, `image_uri`, which every"):
        write_manifest([row], path)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"patient_id": 7}, "patient_id is 7, expected string"),
        ({"steps": 2.5}, "steps is 2.5, expected int32"),
        ({"steps": True}, "steps is True, expected int32"),
        ({"seed": 2**70}, "seed is 1180591620717411303424, expected int64"),
        ({"shape": (128.5, 1, 1)}, r"shape is \(128.5, 1, 1\), expected list<element: int32"),
        ({"affine": [[1.0]]}, r"affine is \[\[1.0\]\], expected list<element: double"),
        ({"notes": "one text"}, "notes is 'one text', expected list<element: string"),
        ({"nodules": [NODULE | {"shape": 5}]}, "nodules is .*'shape': 5.*, expected list<"),
    ],
)
def test_a_value_of_the_wrong_type_is_refused_with_its_row(
    path: Path, change: dict[str, object], text: str
) -> None:
    with pytest.raises(ManifestError, match=rf"row 1 \(B\): {text}"):
        write_manifest([real("A"), real("B", **change)], path)
    assert not path.exists()


def test_a_manifest_with_a_problem_is_not_written_and_the_old_one_stays(path: Path) -> None:
    write_manifest([real("A")], path)
    before = path.read_bytes()
    text = re.escape(f"{path}: not written, as case_id B: found in 2 rows, expected one real")
    with pytest.raises(ManifestError, match=text):
        write_manifest([real("B"), real("B")], path)
    assert path.read_bytes() == before


def test_a_table_of_another_tool_is_cast_and_its_missing_columns_filled(path: Path) -> None:
    table = pa.Table.from_pylist([real("A", affine=[1.0] * 16), real("B", affine=[0.0] * 16)])
    digest = write_manifest(table, path)
    assert read_manifest(path)["shape"].to_pylist() == [[8, 8, 8]] * 2
    assert digest == content_digest(manifest_table(table.to_pylist()))
    with pytest.raises(ManifestError, match=r"the table: steps is double, expected int32 .*2\.5"):
        manifest_table(table.append_column("steps", pa.array([2.0, 2.5])))


def test_a_torn_write_leaves_the_old_manifest_and_no_litter(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_manifest([real("A")], path)

    def torn(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("manifests.write.os.replace", torn)
    with pytest.raises(OSError, match="disk full"):
        write_manifest([real("B")], path)
    assert [file.name for file in path.parent.iterdir()] == ["manifest.parquet"]
    assert read_manifest(path)["case_id"].to_pylist() == ["A"]


def test_a_path_may_be_text_or_a_file_url(path: Path) -> None:
    write_manifest([real("A")], str(path))
    write_manifest([real("B")], f"file://{path}")
    assert read_manifest(f"file://{path}")["case_id"].to_pylist() == ["B"]


def one_of_each(schema: pa.Schema) -> Iterator[tuple[str, object]]:
    values = {"int32": 3, "int64": 4, "bool": True, "string": "x"}
    return ((field.name, values.get(str(field.type))) for field in schema)


@pytest.mark.parametrize("schema", [PLAN_SCHEMA, QUARANTINE_SCHEMA], ids=["plan", "quarantine"])
def test_plan_and_quarantine_come_back_as_they_were_written(path: Path, schema: pa.Schema) -> None:
    table = pa.Table.from_pylist([dict(one_of_each(schema))], schema=schema)
    write_table(table, path)
    assert read_table(path, schema).equals(table)


def test_a_plan_with_a_hole_is_not_written(path: Path) -> None:
    row = dict(one_of_each(PLAN_SCHEMA)) | {"seed": None}
    with pytest.raises(ManifestError, match="volume x: seed is null, expected a value"):
        write_table(pa.Table.from_pylist([row], schema=PLAN_SCHEMA), path)
    assert not path.exists()
