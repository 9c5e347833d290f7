"""What a sampler gives up, and that nothing else stops it."""

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sampler_bench import (
    CONFIG,
    RUN,
    Bench,
    MakeBench,
    donor_of,
    settings_of,
)

from factory.errors import StoreError
from factory.storage import Storage
from factory.volumes import Volume, write_volume
from jobs.cases import CaseStore
from jobs.generate import actor, volume_sampler
from jobs.generate.watchdog import EXIT_STATUS


def flip_a_byte(folder: Path) -> None:
    """Flip one byte in the middle of the largest file below a folder."""
    largest = max(
        (path for path in folder.rglob("*") if path.is_file()), key=lambda p: p.stat().st_size
    )
    content = bytearray(largest.read_bytes())
    content[len(content) // 2] ^= 0xFF
    largest.write_bytes(content)


def test_a_reference_with_a_flipped_byte_is_quarantined_and_the_sampler_goes_on(
    own_store: CaseStore, make_bench: MakeBench
) -> None:
    flip_a_byte(Path(own_store.url, donor_of(own_store, "c0")["image_uri"]))
    bench = make_bench(store=own_store)
    row = bench.draw("c0")

    assert row["committed"] is False
    assert row["problem"].startswith("case c0: volume ")
    assert "expected a whole OME-Zarr group" in row["problem"]
    assert row["problem"].endswith("Make the volume again.")
    reason = bench.reason("c0")
    assert (reason["message"], reason["stage"]) == (row["problem"], "generate")
    assert (reason["error_class"], reason["retriable"]) == ("StoreError", False)
    assert "read_volume" in reason["traceback_tail"]
    assert bench.lake.committed_ids() == set()
    assert bench.draw("c1")["committed"]


def test_a_reference_of_other_voxels_than_its_manifest_says_is_quarantined(bench: Bench) -> None:
    for key in ("image_sha256", "layout_sha256"):
        row = bench.draw("c0", donor_of(bench.store, "c0") | {key: "0" * 64})
        assert row["committed"] is False
        assert "has other voxels than its manifest says; expected image sha256" in row["problem"]
        assert row["problem"].endswith("Ingest the case again.")
    assert bench.reason("c0")["error_class"] == "CaseError"
    assert bench.reason("c0")["retriable"] is False
    assert bench.draw("c1")["committed"]


def test_an_item_that_keeps_ending_its_process_is_given_up(bench: Bench) -> None:
    work_id = bench.items["c0"].work_id
    for _ in range(CONFIG.max_attempts):
        bench.lake.attempts.start(work_id, RUN)
    row = bench.draw("c0")

    assert row["committed"] is False
    assert row["problem"] == (
        f"case c0: work item {work_id} ended its process 3 times; expected a volume. Give the actor "
        "more memory and run again, or leave the case out."
    )
    reason = bench.reason("c0")
    assert (reason["attempts"], reason["retriable"], reason["run_id"]) == (3, True, RUN)
    assert bench.lake.storage.names("volumes") == []


def test_attempts_of_other_runs_and_one_less_than_too_many_do_not_count(bench: Bench) -> None:
    work_id = bench.items["c0"].work_id
    for _ in range(5):
        bench.lake.attempts.start(work_id, "another-run")
    for _ in range(CONFIG.max_attempts - 1):
        bench.lake.attempts.start(work_id, RUN)
    assert bench.draw("c0")["committed"]


def test_of_two_samplers_on_one_item_the_first_wins_and_the_other_cleans_up(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    work_id = bench.items["c0"].work_id
    theirs = {"image_uri": bench.lake.volume_path(work_id, "theirs")}

    def write_late(storage: Storage, path: str, volume: Volume, **attributes: Any) -> None:
        write_volume(storage, theirs["image_uri"], volume)
        assert bench.lake.commit(work_id, theirs)
        write_volume(storage, path, volume, **attributes)

    monkeypatch.setattr(actor, "write_volume", write_late)
    row = bench.draw("c0")

    assert (row["committed"], row["problem"]) == (True, "")
    assert bench.row("c0") == theirs
    assert bench.lake.storage.names("volumes") == [f"{work_id}.theirs.ome.zarr"]


def test_any_error_is_a_record_with_its_traceback_and_not_the_end(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(volume_sampler, "assess", fail)
        row = bench.draw("c0")
    assert row["problem"] == (
        "case c0: found OSError: [Errno 28] No space left on device; expected none. Mend the cause "
        "and run again; the traceback is in the quarantine record."
    )
    assert "raise OSError(28" in bench.reason("c0")["traceback_tail"]
    assert (bench.reason("c0")["error_class"], bench.reason("c0")["retriable"]) == ("OSError", True)
    assert bench.draw("c0")["committed"]


def test_an_item_that_another_driver_committed_meanwhile_is_not_given_up(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other driver swept away what this one was still writing."""

    def lose(*_: Any, **__: Any) -> None:
        bench.lake.commit(bench.items["c0"].work_id, {"attempt": "theirs"})
        raise FileNotFoundError("swept away")

    monkeypatch.setattr(volume_sampler, "assess", lose)
    row = bench.draw("c0")
    assert (row["committed"], row["problem"]) == (True, "")
    assert bench.lake.quarantined_ids() == set()


def test_a_poisoned_gpu_ends_the_actor_and_not_the_item(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def poison(*_: Any, **__: Any) -> None:
        raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered")

    ended: list[int] = []

    def end(status: int) -> None:
        ended.append(status)
        raise SystemExit(status)

    monkeypatch.setattr(volume_sampler, "assess", poison)
    monkeypatch.setattr("jobs.generate.watchdog.os._exit", end)
    with pytest.raises(SystemExit):
        bench.draw("c0")
    assert ended == [EXIT_STATUS]
    assert bench.lake.quarantined_ids() == set()
    (died,) = bench.lake.attempts.died(bench.items["c0"].work_id, RUN)
    assert died.ended.startswith("the device failed: CUDA error: an illegal memory access")


def test_a_disk_that_takes_not_even_the_reason_leaves_the_item_open(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(actor, "write_volume", full)
        patch.setattr(actor, "give_up", full)
        row = bench.draw("c0")
    assert row["committed"] is False
    assert "could not be recorded: [Errno 28]" in row["problem"]
    assert bench.lake.quarantined_ids() == set()
    assert bench.draw("c0")["committed"]


def test_deaths_in_company_and_on_lost_nodes_are_not_the_items_fault(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    work_id = bench.items["c0"].work_id
    for _ in range(CONFIG.max_attempts):
        bench.lake.attempts.start(work_id, RUN, alone=False)
        bench.lake.attempts.start(work_id, RUN, node_id="gone")
    monkeypatch.setattr(actor, "_lost_nodes", lambda: {"gone"})
    assert bench.draw("c0")["committed"]
    assert bench.lake.attempts.died(work_id, RUN) == []


def test_what_takes_whole_nodes_with_it_is_given_up_in_the_end(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(4 * CONFIG.max_attempts):
        bench.lake.attempts.start(bench.items["c0"].work_id, RUN, node_id="gone")
    monkeypatch.setattr(actor, "_lost_nodes", lambda: {"gone"})
    problem = bench.draw("c0")["problem"]
    assert "ended its process 12 times with nodes that were lost; expected a volume" in problem


def test_an_item_that_died_once_is_tried_alone_and_a_new_one_is_not(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, bool] = {}
    start = bench.lake.attempts.start

    def watch(item: str, run: str, *, node_id: str, alone: bool) -> Any:
        asked[item] = alone
        return start(item, run, node_id=node_id, alone=alone)

    monkeypatch.setattr(bench.sampler._lake.attempts, "start", watch)
    suspect, new = bench.items["c0"].work_id, bench.items["c1"].work_id
    start(suspect, RUN, alone=False)
    bench.draw("c0")
    bench.draw("c1")
    assert asked == {suspect: True, new: False}


def test_a_step_that_was_too_slow_each_time_says_so(bench: Bench) -> None:
    work_id = bench.items["c0"].work_id
    for _ in range(CONFIG.max_attempts):
        attempt = bench.lake.attempts.start(work_id, RUN)
        bench.lake.attempts.end(attempt, "a step of it ran longer than 30 s")
    problem = bench.draw("c0")["problem"]
    assert "ended its process 3 times (a step of it ran longer than 30 s)" in problem
    assert "Give it more time (max_seconds of [generate])" in problem


@pytest.mark.parametrize(("failures", "committed"), [(1, True), (2, False)])
def test_a_full_device_gets_a_second_try_with_an_empty_cache(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, failures: int, committed: bool
) -> None:
    left = [torch.OutOfMemoryError("CUDA out of memory")] * failures
    sample = bench.sampler._sampler.sample

    def run_out(*given: Any) -> Any:
        if left:
            raise left.pop()
        return sample(*given)

    monkeypatch.setattr(bench.sampler._sampler, "sample", run_out)
    row = bench.draw("c0")
    assert row["committed"] is committed
    if not committed:
        assert "ran out of memory, also with an empty cache" in row["problem"]
        assert "--precision bfloat16" in row["problem"]
        record = bench.reason("c0")
        assert (record["error_class"], record["retriable"]) == ("OutOfMemoryError", True)


def test_a_step_beyond_its_time_is_recorded_before_the_process_ends(
    make_bench: MakeBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = make_bench(config=replace(CONFIG, max_seconds=0.2))
    ended: list[int] = []
    monkeypatch.setattr("jobs.generate.watchdog.os._exit", ended.append)
    monkeypatch.setattr(bench.sampler._sampler, "sample", lambda *_: time.sleep(1.0))
    told: list[str] = []
    monkeypatch.setattr(
        bench.sampler._lake.attempts, "end", lambda attempt, reason: told.append(reason)
    )
    bench.draw("c0")
    assert ended == [EXIT_STATUS]
    assert told == ["a step of it ran longer than 0.2 s"]


def test_a_rejected_volume_is_drawn_again_with_another_seed_and_all_of_it_is_told(
    make_bench: MakeBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = make_bench(config=replace(CONFIG, max_redraws=2))
    assess, seen = bench.sampler._sampler.assess, []

    def reject_twice(item: Any, prepared: Any, hu: Any) -> Any:
        seen.append(hu.copy())
        quality = assess(item, prepared, hu)
        return replace(quality, background_changed=int(len(seen) < 3), lung_median_hu=-800.0)

    monkeypatch.setattr(bench.sampler._sampler, "assess", reject_twice)
    assert bench.draw("c0")["committed"]
    row = bench.row("c0")
    assert [redraw["verdict"] for redraw in row["redraws"]] == ["reject", "reject"]
    assert "background has 1 voxel unlike" in row["redraws"][0]["reasons"][0]
    seeds = [redraw["seed"] for redraw in row["redraws"]] + [row["seed"]]
    assert seeds[0] == bench.items["c0"].seed
    assert len(set(seeds)) == 3
    assert row["qc_verdict"] != "reject"
    np.testing.assert_array_equal(bench.volume("c0").ct, seen[2])
    assert not (seen[0] == seen[1]).all()


def test_redraws_end_and_the_last_volume_stands_rejected(
    make_bench: MakeBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = make_bench(config=replace(CONFIG, max_redraws=1))
    assess = bench.sampler._sampler.assess
    monkeypatch.setattr(
        bench.sampler._sampler,
        "assess",
        lambda *given: replace(assess(*given), background_changed=1),
    )
    assert bench.draw("c0")["committed"]
    assert len(bench.row("c0")["redraws"]) == 1
    assert bench.row("c0")["qc_verdict"] == "reject"


def test_a_rehearsed_volume_is_noise_of_its_seed_and_rejected(make_bench: MakeBench) -> None:
    config = replace(CONFIG, rehearsal=True)
    one, other = make_bench("one", config), make_bench("other", config)
    assert one.draw("c0")["committed"]
    assert other.draw("c0")["committed"]
    np.testing.assert_array_equal(one.volume("c0").ct, other.volume("c0").ct)
    row = one.row("c0")
    assert (row["sampler"], row["qc_verdict"]) == ("rehearsal", "reject")
    assert row["qc_reasons"] == ["drawn in a rehearsal, without the network"]
    assert row["qc_background_equal"]


@pytest.mark.parametrize(("redraws", "committed"), [(1, True), (0, False)])
def test_a_volume_that_is_no_number_is_drawn_again_or_given_up_but_never_written(
    make_bench: MakeBench, monkeypatch: pytest.MonkeyPatch, redraws: int, committed: bool
) -> None:
    bench = make_bench(config=replace(CONFIG, max_redraws=redraws))
    drawn = volume_sampler.aas_sample
    left = [1]

    def once_not_finite(*given: Any, **options: Any) -> Any:
        x_0 = drawn(*given, **options)
        if left:
            left.pop()
            x_0[:] = float("nan")
        return x_0

    monkeypatch.setattr(volume_sampler, "aas_sample", once_not_finite)
    row = bench.draw("c0")
    assert row["committed"] is committed
    if committed:
        (redraw,) = bench.row("c0")["redraws"]
        assert "finite" in redraw["reasons"][0]
    else:
        assert "finite" in row["problem"]
        assert bench.lake.storage.names("volumes") == []


class EndpointConnectionError(Exception):
    """As botocore's, which is no `OSError`."""


def test_a_storage_that_is_out_of_reach_ends_no_run(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(*_: Any, **__: Any) -> Any:
        raise EndpointConnectionError("Could not connect to the endpoint URL")

    with monkeypatch.context() as patch:
        for name in ("is_committed", "commit", "quarantine"):
            patch.setattr(bench.sampler._lake, name, unreachable)
        row = bench.draw("c0")
    assert (row["committed"], row["recorded"]) == (False, False)
    assert "could not be recorded: Could not connect" in row["problem"]
    assert bench.draw("c0")["committed"]


def test_what_was_given_up_leaves_no_attempt_that_looks_like_a_death(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise ValueError("broken")

    monkeypatch.setattr(volume_sampler, "assess", fail)
    assert bench.draw("c0")["recorded"]
    assert bench.lake.attempts.items() == set()


def test_a_commit_whose_answer_was_lost_keeps_its_volume(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = Storage.create_json

    def lose_the_answer(self: Storage, relative: str, content: Any) -> bool:
        create(self, relative, content)
        return False

    monkeypatch.setattr(Storage, "create_json", lose_the_answer)
    assert bench.draw("c0")["committed"]
    assert bench.volume("c0").ct.shape == (16, 16, 16)


def test_a_bank_that_is_not_the_plans_is_refused_before_anything_is_drawn(
    store: CaseStore, model_16: Path, tmp_path: Path
) -> None:
    settings = replace(settings_of(store, model_16, tmp_path / "lake"), bank_digest="f" * 64)
    with pytest.raises(
        StoreError, match=r"\(embedded\): found a bank of digest .*same file on every"
    ):
        actor.Sampler(settings)
