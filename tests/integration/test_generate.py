"""The product: what lands in a lake, whatever happened on the way."""

import json
import sys
from pathlib import Path

import duckdb
import numpy as np
import pyarrow.parquet as pq
import pytest
from generated import draw, voxels

from factory.errors import StoreError
from factory.lake import MANIFEST, PLAN, Lake
from factory.volumes import read_volume
from jobs.amount import Amount
from jobs.generate.actors import NumActors
from manifests.read import read_manifest, resolve_uri

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_cluster")]
FACTORY = Path(sys.executable).with_name("factory")


@pytest.fixture(scope="module")
def lake(four_cases: Path, model_16: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six volumes, drawn by one actor."""
    path = tmp_path_factory.mktemp("lake") / "lake"
    draw(four_cases, model_16, path, Amount(count=6), actors=NumActors(1, 1))
    return path


def test_outside_the_layout_a_volume_is_its_reference_and_inside_it_is_new(lake: Path) -> None:
    rows = read_manifest(lake / MANIFEST).to_pylist()
    donors = {row["case_id"]: row for row in rows if row["kind"] == "real"}
    synthetic = [row for row in rows if row["kind"] == "synthetic"]
    assert len(synthetic) == 6
    for row in synthetic:
        drawn, reference = (
            read_volume(Lake(Path(uri).parent).storage, Path(uri).name)
            for uri in (
                resolve_uri(lake / MANIFEST, source["image_uri"])
                for source in (row, donors[row["case_id"]])
            )
        )
        outside = drawn.layout == 0
        np.testing.assert_array_equal(drawn.ct[outside], reference.ct[outside])
        assert (drawn.ct[~outside] != reference.ct[~outside]).mean() > 0.9
        # The lung itself is the reference's; only nodules may have been added to it.
        np.testing.assert_array_equal(outside, reference.layout == 0)
        np.testing.assert_array_equal(drawn.affine, reference.affine)


def test_two_volumes_of_one_case_differ(lake: Path) -> None:
    assert len({image for image, _ in voxels(lake).values()}) == 6


def test_a_case_without_nodules_gets_some_and_another_keeps_its_own(lake: Path) -> None:
    rows = read_manifest(lake / MANIFEST).to_pylist()
    for row in rows:
        if row["kind"] == "synthetic":
            assert row["nodules"]
            assert row["layout_origin"] == ("placed" if row["case_id"] == "p2" else "annotated")


def test_the_number_of_actors_does_not_change_a_voxel(
    four_cases: Path, model_16: Path, lake: Path, tmp_path: Path
) -> None:
    draw(four_cases, model_16, tmp_path / "lake", Amount(count=6), actors=NumActors(3, 3))

    assert voxels(tmp_path / "lake") == voxels(lake)


def test_a_larger_plan_begins_with_the_smaller_one(
    four_cases: Path, model_16: Path, lake: Path, tmp_path: Path
) -> None:
    draw(four_cases, model_16, tmp_path / "lake", Amount(ratio=0.5))
    small = voxels(tmp_path / "lake")

    assert len(small) == 4
    assert small.items() <= voxels(lake).items()


def test_the_manifest_records_the_ratio_that_was_asked_for(
    four_cases: Path, model_16: Path, tmp_path: Path
) -> None:
    result = draw(four_cases, model_16, tmp_path / "lake", Amount(ratio=0.2))
    row = read_manifest(tmp_path / "lake" / MANIFEST).to_pylist()[0]

    assert (row["num_real"], row["num_synthetic"]) == (4, 1)
    assert row["synthetic_fraction"] == result.synthetic_fraction == 0.2


def test_a_finished_lake_is_not_drawn_again(
    four_cases: Path, model_16: Path, lake: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_cluster(address: object) -> None:
        raise AssertionError("a finished lake needs no cluster")

    before = sorted((lake / "volumes").iterdir())
    monkeypatch.setattr("jobs.generate.job.connect", no_cluster)
    result = draw(four_cases, model_16, lake, Amount(count=6))

    assert result.num_synthetic == 6
    assert sorted((lake / "volumes").iterdir()) == before


def test_a_lake_of_another_plan_is_refused(four_cases: Path, model_16: Path, lake: Path) -> None:
    with pytest.raises(
        StoreError,
        match=r"planned with 6 volumes, and 5 are .*: factory mix .* --count 5 --out mix-5\.parquet\.",
    ):
        draw(four_cases, model_16, lake, Amount(count=5))
    with pytest.raises(StoreError, match=r"settings\.seed was 0, is 1"):
        draw(four_cases, model_16, lake, Amount(count=6), seed=1)


def test_volumes_are_valid_ome_zarr_for_other_readers(lake: Path) -> None:
    from ome_zarr.io import parse_url
    from ome_zarr.reader import Reader
    from ome_zarr_models.v05.image import Image
    from ome_zarr_models.v05.image_label import ImageLabel

    for group in (lake / "volumes").iterdir():
        image = Image.from_zarr(_group(group))
        assert image.ome_attributes.version == "0.5"
        assert [axis.name for axis in image.ome_attributes.multiscales[0].axes] == ["z", "y", "x"]
        ImageLabel.from_zarr(_group(group / "labels" / "layout"))
        opened = {str(node.zarr.path): node for node in Reader(parse_url(str(group)))()}
        shapes = [np.asarray(node.data[0]).shape for node in opened.values() if node.data]
        assert shapes == [(16, 16, 16), (16, 16, 16)]


def _group(path: Path) -> object:
    import zarr

    return zarr.open_group(path, mode="r")


def test_the_manifest_can_be_asked_in_duckdb(lake: Path) -> None:
    query = f"""
        SELECT count(*), min(synthetic_fraction), bool_and(qc_background_equal)
        FROM '{lake / MANIFEST}' WHERE kind = 'synthetic' AND len(nodules) > 0
        AND nodules[1].diameter_mm > 0
    """
    assert duckdb.sql(query).fetchall() == [(6, 0.6, True)]


def test_the_plan_is_written_once_and_lists_every_item(lake: Path) -> None:
    plan = pq.read_table(lake / PLAN).to_pylist()
    assert [row["plan_index"] for row in plan] == list(range(6))
    assert {row["work_id"] for row in plan} == set(voxels(lake))
    identity = json.loads((lake / "dataset.json").read_text())
    assert identity["planned"] == 6
    assert identity["asked"] == {"count": 6}
