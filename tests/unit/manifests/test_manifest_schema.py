"""The columns are a contract with everyone who reads a manifest."""

from pathlib import Path

import pyarrow as pa
import pytest

from manifests.schema import (
    DESCRIPTION,
    LEFT_OUT_SCHEMA,
    LOCATION_COLUMNS,
    MANIFEST_SCHEMA,
    MIX_COLUMNS,
    PLAN_SCHEMA,
    QUARANTINE_SCHEMA,
    RUN_COLUMNS,
    SCHEMA_VERSION,
    schema_problems,
    schema_text,
)

GOLDEN = Path(__file__).parents[2] / "golden" / "manifest_schema.txt"
SCHEMAS = {
    "manifest": MANIFEST_SCHEMA,
    "plan": PLAN_SCHEMA,
    "quarantine": QUARANTINE_SCHEMA,
    "left_out": LEFT_OUT_SCHEMA,
}


def test_no_column_changes_unless_its_golden_text_and_the_schema_version_do() -> None:
    text = f"schema version {SCHEMA_VERSION}\n"
    text += "".join(f"\n{name}\n{schema_text(schema)}" for name, schema in SCHEMAS.items())
    assert text == GOLDEN.read_text(), "raise SCHEMA_VERSION and write the golden file anew"


@pytest.mark.parametrize("schema", SCHEMAS.values(), ids=SCHEMAS)
def test_every_column_says_what_it_means(schema: pa.Schema) -> None:
    assert [field.name for field in schema if not (field.metadata or {}).get(DESCRIPTION)] == []


def plain_parts(kind: pa.DataType) -> list[pa.DataType]:
    if pa.types.is_list(kind):
        return plain_parts(kind.value_type)
    if pa.types.is_struct(kind):
        return [part for field in kind for part in plain_parts(field.type)]
    return [kind]


@pytest.mark.parametrize("schema", SCHEMAS.values(), ids=SCHEMAS)
def test_columns_have_only_types_that_duckdb_polars_and_spark_read_alike(schema: pa.Schema) -> None:
    plain = {"string", "int32", "int64", "double", "bool", "timestamp[us, tz=UTC]"}
    assert {str(part) for field in schema for part in plain_parts(field.type)} <= plain


def test_a_column_of_quality_control_is_null_where_there_was_none() -> None:
    judged = [field for field in MANIFEST_SCHEMA if field.name.startswith("qc_")]
    assert len(judged) == 14
    assert all(field.nullable for field in [*judged, MANIFEST_SCHEMA.field("redraws")])


def test_columns_that_differ_between_runs_come_last() -> None:
    assert tuple(MANIFEST_SCHEMA.names[-len(RUN_COLUMNS) :]) == RUN_COLUMNS
    assert tuple(MANIFEST_SCHEMA.names[-10:-6]) == MIX_COLUMNS
    assert set(LOCATION_COLUMNS) < set(MANIFEST_SCHEMA.names)


def test_schema_problems_name_the_column_what_it_is_and_what_it_should_be() -> None:
    index = MANIFEST_SCHEMA.get_field_index("shape")
    other = MANIFEST_SCHEMA.set(index, pa.field("shape", pa.string()))
    assert schema_problems(other, MANIFEST_SCHEMA) == [
        "column shape is string or null, expected shape is list<element: int32 not null>"
    ]
    assert schema_problems(MANIFEST_SCHEMA.remove(0), MANIFEST_SCHEMA) == [
        "columns are missing: kind"
    ]
    rest = range(2, len(MANIFEST_SCHEMA))
    swapped = pa.schema([MANIFEST_SCHEMA.field(i) for i in (1, 0, *rest)])
    assert schema_problems(swapped, MANIFEST_SCHEMA)[0].startswith("columns are out of order")
