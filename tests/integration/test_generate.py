"""The product: what lands in a lake, whatever happened on the way."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import duckdb
import numpy as np
import pyarrow.parquet as pq
import pytest
from support import random_checkpoint, write_scan

from factory.errors import ClusterError, FactoryError, ModelError, StoreError
from factory.ingest.prepare import IngestConfig
from factory.lake import MANIFEST, PLAN, QUARANTINE, Lake
from factory.volumes import read_volume
from jobs import verify
from jobs.amount import Amount
from jobs.generate.actors import NumActors
from jobs.generate.config import GenerateConfig
from jobs.generate.job import EVERY_CLASS, generate
from jobs.generate.publish import GenerateResult
from jobs.ingest.job import ingest
from manifests.read import read_manifest, resolve_uri

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_cluster")]

CONFIG = GenerateConfig(steps=2)
FACTORY = Path(sys.executable).with_name("factory")


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory, ray_cluster: None) -> Path:
    """A store of four phantoms on a 16^3 grid, one without nodules."""
    folder = tmp_path_factory.mktemp("generate")
    for seed in range(4):
        write_scan(folder / "scans", f"p{seed}", seed, nodule=seed != 2)
    ingest(folder / "scans", folder / "cases", IngestConfig(grid=16))
    return folder / "cases"


@pytest.fixture(scope="module")
def lake(cases: Path, model_16: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six volumes, drawn by one actor."""
    path = tmp_path_factory.mktemp("lake") / "lake"
    draw(cases, model_16, path, Amount(count=6), actors=NumActors(1, 1))
    return path


def draw(cases: Path, model: Path, lake: Path, amount: Amount, **options: object) -> GenerateResult:
    return generate(cases, model, lake, amount, CONFIG, device="cpu", **options)  # type: ignore[arg-type]


def voxels(lake: Path) -> dict[str, tuple[str, str]]:
    """What the lake says of each work item's voxels."""
    return {
        row["work_id"]: (row["image_sha256"], row["layout_sha256"])
        for row in read_manifest(lake / MANIFEST).to_pylist()
        if row["kind"] == "synthetic"
    }


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
    cases: Path, model_16: Path, lake: Path, tmp_path: Path
) -> None:
    draw(cases, model_16, tmp_path / "lake", Amount(count=6), actors=NumActors(3, 3))

    assert voxels(tmp_path / "lake") == voxels(lake)


def test_a_larger_plan_begins_with_the_smaller_one(
    cases: Path, model_16: Path, lake: Path, tmp_path: Path
) -> None:
    draw(cases, model_16, tmp_path / "lake", Amount(ratio=0.5))
    small = voxels(tmp_path / "lake")

    assert len(small) == 4
    assert small.items() <= voxels(lake).items()


def test_the_manifest_records_the_ratio_that_was_asked_for(
    cases: Path, model_16: Path, tmp_path: Path
) -> None:
    result = draw(cases, model_16, tmp_path / "lake", Amount(ratio=0.2))
    row = read_manifest(tmp_path / "lake" / MANIFEST).to_pylist()[0]

    assert (row["num_real"], row["num_synthetic"]) == (4, 1)
    assert row["synthetic_fraction"] == result.synthetic_fraction == 0.2


def test_a_finished_lake_is_not_drawn_again(
    cases: Path, model_16: Path, lake: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_cluster(address: object) -> None:
        raise AssertionError("a finished lake needs no cluster")

    before = sorted((lake / "volumes").iterdir())
    monkeypatch.setattr("jobs.generate.job.connect", no_cluster)
    result = draw(cases, model_16, lake, Amount(count=6))

    assert result.num_synthetic == 6
    assert sorted((lake / "volumes").iterdir()) == before


def test_a_lake_of_another_plan_is_refused(cases: Path, model_16: Path, lake: Path) -> None:
    with pytest.raises(StoreError, match=r"holds 6 volumes, and 5 are .*: factory mix --count 5\."):
        draw(cases, model_16, lake, Amount(count=5))
    with pytest.raises(StoreError, match=r"settings\.seed was 0, is 1"):
        draw(cases, model_16, lake, Amount(count=6), seed=1)


def test_a_broken_reference_is_quarantined_and_the_rest_is_drawn(
    cases: Path, model_16: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "cases"
    shutil.copytree(cases, broken)
    row = next(
        row for row in read_manifest(broken / MANIFEST).to_pylist() if row["case_id"] == "p1"
    )
    shard = next(
        path for path in (broken / row["image_uri"] / "0" / "c").rglob("0") if path.is_file()
    )
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    result = draw(broken, model_16, tmp_path / "lake", Amount(count=6))

    assert (result.num_synthetic, result.num_quarantined) == (5, 1)
    (reason,) = pq.read_table(tmp_path / "lake" / QUARANTINE)["message"].to_pylist()
    assert reason.startswith("case p1: volume ")
    assert "checksum" in reason
    assert verify.problems(Lake(tmp_path / "lake")) != []  # the real volume is torn, and it says so

    shard.write_bytes(
        bytes(content[: len(content) // 2])
        + bytes([content[len(content) // 2] ^ 1])
        + bytes(content[len(content) // 2 + 1 :])
    )
    again = draw(
        broken, model_16, tmp_path / "lake", Amount(count=6), retry_quarantined=EVERY_CLASS
    )
    assert (again.num_synthetic, again.num_quarantined) == (6, 0)
    assert verify.problems(Lake(tmp_path / "lake")) == []


def test_when_nothing_is_left_it_is_an_error(cases: Path, model_16: Path, tmp_path: Path) -> None:
    shutil.copytree(cases, tmp_path / "cases")
    shutil.rmtree(tmp_path / "cases" / "volumes")
    with pytest.raises(FactoryError, match=r"all 1 items were quarantined; expected at least one"):
        draw(tmp_path / "cases", model_16, tmp_path / "lake", Amount(count=1))


def test_an_item_that_ends_its_actor_each_time_is_given_up(
    cases: Path, model_16: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The actor is killed by the item, as by a lack of memory; its neighbours are drawn."""
    from jobs.generate import pool

    monkeypatch.setattr(pool, "Sampler", _deadly_sampler(tmp_path / "lake"))
    result = draw(cases, model_16, tmp_path / "lake", Amount(count=4), actors=NumActors(2, 2))

    assert (result.num_synthetic, result.num_quarantined) == (3, 1)
    (reason,) = pq.read_table(tmp_path / "lake" / QUARANTINE)["message"].to_pylist()
    assert "ended its process 4 times; expected a volume" in reason
    assert verify.problems(Lake(tmp_path / "lake")) == []


def _deadly_sampler(lake: Path) -> type:
    """Return a sampler whose process ends when it draws case p3."""
    from jobs.generate.actor import Sampler

    class DeadlySampler(Sampler):
        def _draw_and_commit(self, item, *rest):  # type: ignore[no-untyped-def]
            if item.case_id == "p3":
                os._exit(137)
            super()._draw_and_commit(item, *rest)

    return DeadlySampler


@pytest.mark.slow
def test_a_driver_killed_half_way_and_run_again_ends_with_the_same_set(
    cases: Path, model_16: Path, tmp_path: Path
) -> None:
    command = [
        *(str(FACTORY), "generate", "--cases", str(cases), "--model", str(model_16)),
        *("--out", str(tmp_path / "lake"), "--recipe", "tiny", "--count", "12"),
        *("--steps", "20", "--actors", "2"),
    ]
    lake = Lake(tmp_path / "lake")
    with (tmp_path / "log").open("wb") as log:
        driver = subprocess.Popen(command, stdout=log, stderr=log)
        deadline = time.monotonic() + 120
        while not 3 <= len(lake.committed_ids()) < 12:
            assert driver.poll() is None, (tmp_path / "log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        driver.send_signal(signal.SIGKILL)
        driver.wait()
    half = {work_id: lake.committed_row(work_id)["attempt"] for work_id in lake.committed_ids()}
    assert 3 <= len(half) < 12
    assert not (tmp_path / "lake" / MANIFEST).exists()
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    # The actors outlive their driver by a moment, and may finish what they were at.
    (resumed,) = re.findall(r"resuming: (\d+) of 12 items are done", ended.stderr)
    assert len(half) <= int(resumed) < 12

    generate(
        cases,
        model_16,
        tmp_path / "calm",
        Amount(count=12),
        replace(CONFIG, steps=20),
        device="cpu",
    )
    assert voxels(tmp_path / "lake") == voxels(tmp_path / "calm")
    digests = [
        pq.read_metadata(tmp_path / name / MANIFEST).metadata[b"ct_factory.content_digest"]
        for name in ("lake", "calm")
    ]
    assert digests[0] == digests[1]
    # What was finished before the kill was kept, and what was left lying is gone.
    assert (
        half.items()
        <= {
            work_id: lake.committed_row(work_id)["attempt"] for work_id in lake.committed_ids()
        }.items()
    )
    assert len(list((tmp_path / "lake" / "volumes").iterdir())) == 12
    assert verify.problems(lake) == []


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


def test_a_model_of_another_grid_is_refused(cases: Path, tmp_path: Path) -> None:
    model = random_checkpoint(tmp_path / "model", seed=0, grid=32)
    with pytest.raises(ModelError, match=r"its grid is 32\^3, but case store .* has 16\^3"):
        draw(cases, model, tmp_path / "lake", Amount(count=1))


def test_a_gpu_that_was_asked_for_and_is_not_there_is_an_error_at_once(
    cases: Path, model_16: Path, tmp_path: Path
) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(ClusterError, match=r"device cuda: the Ray cluster has 4 CPUs and no GPU"):
        generate(cases, model_16, tmp_path / "lake", Amount(count=1), CONFIG, device="cuda")
