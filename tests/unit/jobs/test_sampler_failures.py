"""What a sampler gives up, and that nothing else stops it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sampler_bench import (
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
