"""What a sampler gives up, and that nothing else stops it."""

from pathlib import Path
from typing import Any

import pytest
import torch
from sampler_bench import (
    CONFIG,
    RUN,
    Bench,
    MakeBench,
    donor_of,
)

from factory.storage import Storage
from factory.volumes import Volume, write_volume
from jobs.cases import CaseStore
from jobs.generate import actor


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
        bench.lake.start_attempt(work_id, RUN)
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
        bench.lake.start_attempt(work_id, "another-run")
    for _ in range(CONFIG.max_attempts - 1):
        bench.lake.start_attempt(work_id, RUN)
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
    def fail(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(actor, "assess", fail)
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

    def lose(*_: Any) -> None:
        bench.lake.commit(bench.items["c0"].work_id, {"attempt": "theirs"})
        raise FileNotFoundError("swept away")

    monkeypatch.setattr(actor, "assess", lose)
    row = bench.draw("c0")
    assert (row["committed"], row["problem"]) == (True, "")
    assert bench.lake.quarantined_ids() == set()


def test_a_poisoned_gpu_ends_the_actor_and_not_the_item(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def poison(*_: Any) -> None:
        raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered")

    ended: list[int] = []

    def end(status: int) -> None:
        ended.append(status)
        raise SystemExit(status)

    monkeypatch.setattr(actor, "assess", poison)
    monkeypatch.setattr(actor.os, "_exit", end)
    with pytest.raises(SystemExit):
        bench.draw("c0")
    assert ended == [1]
    assert bench.lake.quarantined_ids() == set()
    assert bench.lake.count_attempts(bench.items["c0"].work_id, RUN) == 1


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
