"""What a mix is for next: what would end in an error is not said."""

from pathlib import Path
from typing import Any

import pytest
from mix_sources import case, drawn, nodules

from jobs.after_mix import after_mix
from jobs.downstream.plan import make_plan
from manifests.write import manifest_table, write_manifest

READ: dict[str, Any] = {"layout_origin": "annotated", "nodules": nodules(7.0)}
BARE = READ | {"nodules": []}


def next_of(tmp_path: Path, *rows: dict[str, Any]) -> str:
    target = tmp_path / "mix.parquet"
    write_manifest(list(rows), target)
    return after_mix("mix.parquet", manifest_table(list(rows)))


def test_a_mix_with_patients_held_out_trains_a_segmentation_network(tmp_path: Path) -> None:
    rows = [case("A", **READ), case("B", split="test", **READ), drawn("A", 0)]
    assert next_of(tmp_path, *rows) == "factory downstream --manifest mix.parquet"
    make_plan(str(tmp_path / "mix.parquet"))


def test_a_mix_that_holds_nobody_out_parts_its_patients_into_folds(tmp_path: Path) -> None:
    rows = [case(name, **READ) for name in "ABC"]
    assert next_of(tmp_path, *rows) == "factory downstream --manifest mix.parquet --folds 3"
    make_plan(str(tmp_path / "mix.parquet"), num_folds=3)


@pytest.mark.parametrize(
    "rows",
    [
        [case("A", **READ)],
        [case("A", **READ), case("B", **READ | {"layout_origin": "none"})],
        [case("A", **BARE), case("B", **BARE)],
        [case("A", **BARE), case("B", split="test", **BARE)],
    ],
    ids=["one patient", "one who was read", "no nodule", "no nodule, one held out"],
)
def test_a_mix_that_is_too_small_to_train_on_goes_to_other_tools(
    tmp_path: Path, rows: list[dict[str, Any]]
) -> None:
    line = next_of(tmp_path, *rows)
    assert line == "factory export mix.parquet --format nifti --out nifti"
