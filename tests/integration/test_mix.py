"""A mix of two lakes and a case store, from the command line to Ray."""

from pathlib import Path

import numpy as np
import pytest
from mix_sources import case, drawn, make_source, volume_of
from typer.testing import CliRunner

from jobs.app import app
from jobs.readers import ray_dataset

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_cluster")]


def test_ray_reads_every_volume_of_a_mix_beside_its_row(tmp_path: Path) -> None:
    make_source(tmp_path / "one", "lake", [case("A"), *(drawn("A", i, lake="1") for i in range(3))])
    make_source(tmp_path / "two", "lake", [case("B"), *(drawn("B", i, lake="2") for i in range(3))])
    make_source(tmp_path / "cases", "cases", [case("C"), case("V", split="val")])
    out = tmp_path / "mix.parquet"
    named = [str(tmp_path / name) for name in ("one", "two", "cases")]
    result = CliRunner().invoke(app, ["mix", *named, "--count", "4", "--out", str(out)])
    assert result.exit_code == 0, result.output

    dataset = ray_dataset(out, splits="train", verify=True)
    rows = dataset.take_all()
    assert sorted(row["case_id"] for row in rows if row["kind"] == "real") == ["A", "B", "C"]
    assert len(rows) == 7
    for row in rows:
        whole = volume_of(row["work_id"] or row["case_id"])
        np.testing.assert_array_equal(row["ct"], whole.ct)
        np.testing.assert_array_equal(row["layout"], whole.layout)
        assert (row["ct"].dtype, row["layout"].dtype) == (np.int16, np.uint8)
        assert row["image_uri"].startswith(f"{tmp_path}/")
    # Real rows have no work id, synthetic ones do: one batch holds both.
    (batch,) = dataset.iter_batches(batch_size=7)
    assert batch["ct"].shape == (7, *rows[0]["ct"].shape)
    assert sum(name is None for name in batch["work_id"]) == 3
