"""One sampler: what it commits, what it gives up, and that nothing else stops it."""

import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from factory.digests import sha256_of_voxels
from factory.intensity import HuWindow
from factory.lake import Lake
from factory.layouts import BACKGROUND, NODULE, layout_channels
from factory.storage import Storage
from factory.volumes import Volume, read_volume, write_volume
from jobs.cases import CaseStore, open_case_store
from jobs.generate import actor, job, pool
from jobs.generate.actor import Sampler, SamplerSettings
from jobs.generate.config import GenerateConfig
from jobs.generate.plan import WorkItem, plan_items
from models.aas import aas_sample
from models.card import read_model_card
from models.checkpoint import load_checkpoint
from models.errors import CheckpointError

CONFIG = GenerateConfig(steps=2)
RUN = "run"


@pytest.fixture(scope="module")
def store(cases_16: Path) -> CaseStore:
    return open_case_store(cases_16)


def settings_of(store: CaseStore, model: Path, lake: Path, config: GenerateConfig = CONFIG) -> Any:
    return SamplerSettings(
        lake_url=Lake(lake).url,
        cases_url=store.url,
        model=str(model),
        model_digest=read_model_card(model).digest,
        nodules="",
        steps=config.steps,
        seed=0,
        hu_window=(-1024.0, 600.0),
        config=config,
        device="cpu",
        run_id=RUN,
    )


def items_of(store: CaseStore, model: Path, config: GenerateConfig = CONFIG) -> dict[str, WorkItem]:
    """The first item of each case."""
    shared = job._shared(read_model_card(model), config, None, 0)
    return {item.case_id: item for item in plan_items(store.training_rows(), shared, 3)}


def donor_of(store: CaseStore, case_id: str) -> dict[str, Any]:
    return next(pool.donor(row) for row in store.rows if row["case_id"] == case_id)


class Bench:
    """A sampler on a fresh lake."""

    def __init__(self, store: CaseStore, model: Path, lake: Path, config: GenerateConfig) -> None:
        self.store, self.lake = store, Lake(lake)
        self.items = items_of(store, model, config)
        self.sampler = Sampler(settings_of(store, model, lake, config))

    def draw(self, case_id: str, donor: dict[str, Any] | None = None) -> dict[str, Any]:
        content = donor or donor_of(self.store, case_id)
        return self.sampler.draw({"work": asdict(self.items[case_id]), "donor": content})

    def row(self, case_id: str) -> dict[str, Any]:
        return self.lake.committed_row(self.items[case_id].work_id)

    def volume(self, case_id: str) -> Volume:
        return read_volume(self.lake.storage, self.row(case_id)["image_uri"])

    def reason(self, case_id: str) -> dict[str, Any]:
        (record,) = (r for r in self.lake.quarantined() if r["case_id"] == case_id)
        return record


MakeBench = Callable[..., Bench]


@pytest.fixture
def make_bench(store: CaseStore, model_16: Path, tmp_path: Path) -> MakeBench:
    def make(name: str = "lake", config: GenerateConfig = CONFIG, **changes: Any) -> Bench:
        return Bench(changes.get("store", store), model_16, tmp_path / name, config)

    return make


@pytest.fixture
def bench(make_bench: MakeBench) -> Bench:
    return make_bench()


@pytest.fixture
def own_store(cases_16: Path, tmp_path: Path) -> CaseStore:
    """A case store to be damaged."""
    return open_case_store(shutil.copytree(cases_16, tmp_path / "cases"))


def reference_of(store: CaseStore, case_id: str) -> Volume:
    return read_volume(Storage(store.url), donor_of(store, case_id)["image_uri"])


@pytest.mark.parametrize("case_id", ["c0", "c2"])
def test_a_volume_is_its_reference_outside_the_layout_and_new_inside(
    bench: Bench, case_id: str
) -> None:
    row = bench.draw(case_id)
    assert (row["committed"], row["problem"]) == (True, "")

    drawn, reference = bench.volume(case_id), reference_of(bench.store, case_id)
    outside = drawn.layout == BACKGROUND
    np.testing.assert_array_equal(drawn.ct[outside], reference.ct[outside])
    np.testing.assert_array_equal(outside, reference.layout == BACKGROUND)
    np.testing.assert_array_equal(drawn.affine, reference.affine)
    assert (drawn.ct[~outside] != reference.ct[~outside]).mean() > 0.9


@pytest.mark.parametrize(
    "config",
    [CONFIG, GenerateConfig(steps=2, clip_x0=False), GenerateConfig(steps=3, sigma="beta")],
    ids=["clipped", "not clipped", "beta"],
)
def test_the_lungs_are_what_the_sampler_draws_from_the_seed_of_the_item(
    make_bench: MakeBench, model_16: Path, config: GenerateConfig
) -> None:
    bench = make_bench(config=config)
    assert bench.draw("c0")["committed"]
    drawn, reference = bench.volume("c0"), reference_of(bench.store, "c0")

    checkpoint, window = load_checkpoint(model_16), HuWindow(-1024.0, 600.0)
    generator = torch.Generator().manual_seed(bench.items["c0"].seed)
    x_0 = aas_sample(
        checkpoint.denoiser,
        checkpoint.schedule,
        layout=torch.from_numpy(layout_channels(drawn.layout))[None],
        x_known=torch.from_numpy(window.encode(reference.ct))[None, None],
        draw_noise=lambda shape: torch.randn(shape, generator=generator),
        num_steps=config.steps,
        clip_x0=config.clip_x0,
        sigma=config.sigma,  # type: ignore[arg-type]
    )
    inside = drawn.layout != BACKGROUND
    np.testing.assert_array_equal(drawn.ct[inside], window.decode(x_0[0, 0].numpy())[inside])


def test_the_row_says_what_the_volume_is(bench: Bench) -> None:
    bench.draw("c0")
    row, volume, item = bench.row("c0"), bench.volume("c0"), bench.items["c0"]
    assert row["image_sha256"] == sha256_of_voxels(volume.ct)
    assert row["layout_sha256"] == sha256_of_voxels(volume.layout)
    assert row["reference_sha256"] == donor_of(bench.store, "c0")["image_sha256"]
    assert {key: row[key] for key in ("work_id", "seed", "case_id", "patient_id", "layout_id")} == {
        key: getattr(item, key) for key in ("work_id", "seed", "case_id", "patient_id", "layout_id")
    }
    assert (row["sampler"], row["steps"], row["hu_window"]) == ("ddpm", 2, [-1024.0, 600.0])
    assert (row["kind"], row["split"], row["run_id"]) == ("synthetic", "train", RUN)
    assert row["qc_background_equal"] is True
    assert len(row["nodules"]) == 1


def test_a_case_without_nodules_gets_them_inside_its_lungs(bench: Bench) -> None:
    bench.draw("c2")
    drawn, reference = bench.volume("c2"), reference_of(bench.store, "c2")
    placed = drawn.layout == NODULE
    assert placed.any()
    assert (reference.layout[placed] != BACKGROUND).all()
    assert len(bench.row("c2")["nodules"]) >= 1


@pytest.mark.parametrize("case_id", ["c0", "c2"])
def test_an_item_has_the_same_voxels_whoever_draws_it_and_after_what(
    make_bench: MakeBench, case_id: str
) -> None:
    one, other = make_bench("one"), make_bench("other")
    one.draw(case_id)
    other.draw("c1")
    torch.manual_seed(99)
    torch.randn(7)
    other.draw(case_id)

    for key in ("image_sha256", "layout_sha256"):
        assert one.row(case_id)[key] == other.row(case_id)[key]
    assert one.row(case_id)["attempt"] != other.row(case_id)["attempt"]


def test_drawing_leaves_the_random_numbers_of_others_alone(bench: Bench) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    bench.draw("c2")
    assert torch.equal(torch.get_rng_state(), before)


def files_of(lake: Lake) -> set[tuple[str, int]]:
    return {(str(path), path.stat().st_mtime_ns) for path in Path(lake.url).rglob("*")}


def test_a_committed_item_is_not_touched(bench: Bench) -> None:
    bench.draw("c0")
    before = files_of(bench.lake)
    row = bench.draw("c0")
    assert (row["committed"], row["problem"]) == (True, "")
    assert files_of(bench.lake) == before


def test_bone_outside_the_window_survives_beside_the_lungs(
    own_store: CaseStore, make_bench: MakeBench
) -> None:
    """The window ends at 600 HU; cortical bone and metal do not."""
    reference = reference_of(own_store, "c0")
    z, y, x = np.argwhere(reference.layout == BACKGROUND)[0]
    hu = reference.ct.copy()
    hu[z, y, x] = 1500
    write_volume(
        Storage(own_store.url),
        "volumes/bone.ome.zarr",
        Volume(ct=hu, layout=reference.layout, affine=reference.affine),
    )
    donor = donor_of(own_store, "c0") | {
        "image_uri": "volumes/bone.ome.zarr",
        "image_sha256": sha256_of_voxels(hu),
    }
    bench = make_bench("bone", store=own_store)
    assert bench.draw("c0", donor)["problem"] == ""
    assert bench.volume("c0").ct[z, y, x] == 1500
    assert bench.row("c0")["qc_background_equal"] is True


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


def test_a_batch_from_ray_gives_a_small_row_an_item(bench: Bench) -> None:
    import json

    texts = [
        json.dumps({"work": asdict(bench.items[case]), "donor": donor_of(bench.store, case)})
        for case in ("c0", "c1")
    ]
    columns = bench.sampler({"item": np.array(texts, dtype=object)})
    assert columns["work_id"] == [bench.items["c0"].work_id, bench.items["c1"].work_id]
    assert columns["committed"] == [True, True]
    assert all(seconds > 0 for seconds in columns["seconds"])


def test_another_model_than_the_plans_is_refused_before_anything_is_drawn(
    store: CaseStore, model_16: Path, tmp_path: Path
) -> None:
    settings = replace(settings_of(store, model_16, tmp_path / "lake"), model_digest="0" * 64)
    with pytest.raises(CheckpointError, match=r"its digest is \w+ but 0{64} was expected\. Give"):
        Sampler(settings)
