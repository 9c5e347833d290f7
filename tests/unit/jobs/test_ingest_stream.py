"""How many scans are brought in at once follows from what they take."""

import pickle
import zlib
from dataclasses import replace
from pathlib import Path

import pytest

from factory.ingest.sources import SourceCase
from jobs.ingest import stream
from jobs.ingest.inputs import Input
from jobs.ingest.stream import (
    BYTES_OF_A_WORKER,
    BYTES_PER_SERIES_VOXEL,
    BYTES_PER_VOXEL,
    needed_bytes,
)

GIB = 2**30


def given(name: str, *shape: int, files: int = 1) -> Input:
    series = tuple(f"/archive/patient/study/series/slice_{n:05d}.dcm" for n in range(files))
    source = SourceCase(case_id=name, patient_id="p", series=series)
    return Input(source=source, place="/archive", shape=shape, spacing_mm=None)


def test_scans_are_sorted_by_the_memory_that_they_take_and_the_largest_come_first() -> None:
    inputs = [given("small", 40, 64, 64), given("huge", 900, 512, 512), given("tiny", 2, 2, 2)]
    classes = stream._by_memory(inputs, 64 * GIB)
    names = [[one.source.case_id for one in group] for _, group in classes]
    assert names == [["huge"], ["small", "tiny"]]
    for memory, group in classes:
        assert all(memory >= needed_bytes(one) for one in group)
        assert all(memory < 2 * needed_bytes(one) for one in group)


def test_a_scan_larger_than_any_node_gets_a_node_to_itself() -> None:
    [(memory, group)] = stream._by_memory([given("huge", 2000, 1024, 1024)], 8 * GIB)
    assert (memory, len(group)) == (8 * GIB, 1)


def test_what_is_unknown_counts_as_a_worker_alone() -> None:
    assert needed_bytes(given("odd")) == BYTES_OF_A_WORKER


def test_an_image_file_takes_more_than_a_series_for_its_voxels_may_be_doubles() -> None:
    series = given("series", 10, 10, 10)
    image = replace(series, source=SourceCase(case_id="i", patient_id="p", ct="i_ct.nii.gz"))
    assert needed_bytes(series) == BYTES_OF_A_WORKER + 1000 * BYTES_PER_SERIES_VOXEL
    assert needed_bytes(image) == BYTES_OF_A_WORKER + 1000 * BYTES_PER_VOXEL


def test_a_case_of_a_thousand_files_is_a_few_kilobytes_on_its_way() -> None:
    packed = stream._packed(given("long", 1000, 512, 512, files=1000))
    assert len(packed) < 10_000
    assert pickle.loads(zlib.decompress(packed)) == given("long", files=1000).source


@pytest.mark.parametrize("num", [1, 3])
def test_each_case_ends_once_when_ray_data_breaks_down_on_the_way(
    num: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The cases that are left go on as plain tasks."""
    from ray.exceptions import ObjectLostError, WorkerCrashedError

    from factory.ingest.prepare import IngestConfig
    from factory.lake import Lake
    from jobs.cluster import Cluster
    from jobs.ingest.task import Outcome

    def broken(inputs: list[Input], *_: object) -> object:
        for one in inputs[:num]:
            yield {"case_id": one.source.case_id, "state": "made", "problem": ""}
        raise ObjectLostError("00" * 28, None, "")

    def plain(function: object, calls: object, *, window: int) -> object:
        for call in calls:
            lost = call[0].case_id == "d"
            yield call, WorkerCrashedError() if lost else Outcome("kept")

    monkeypatch.setattr(stream, "_stream", broken)
    monkeypatch.setattr(stream, "run_tasks", plain)
    monkeypatch.setattr(stream, "_bytes_of_a_node", lambda: 64 * GIB)
    lake, inputs = Lake(tmp_path / "cases"), [given(name) for name in "abcd"]
    cluster = Cluster(num_cpus=2, num_gpus=0, is_local=True)
    ended = {
        one.source.case_id: outcome
        for one, outcome in stream.stream(inputs, lake, (IngestConfig(), "r", "threshold"), cluster)
    }
    states = ["made"] * num + ["kept"] * (3 - num) + ["quarantined"]
    assert [ended[name].state for name in "abcd"] == states
    assert "its worker process ended (WorkerCrashedError)" in ended["d"].problem
    (record,) = lake.quarantined()
    assert (record["item_id"], record["retriable"]) == ("d", True)
    left = f"{4 - num} case{'s' * (num < 3)} left for plain tasks"
    assert f"warning: Ray Data ended early (ObjectLostError); {left}" in (capsys.readouterr().err)
