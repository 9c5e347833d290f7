"""One sampler: what it commits."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sampler_bench import CONFIG, RUN, Bench, MakeBench, donor_of, reference_of, settings_of
from support import random_checkpoint

from factory.digests import sha256_of_voxels
from factory.intensity import HuWindow
from factory.lake import Lake
from factory.layouts import BACKGROUND, NODULE, layout_channels
from factory.nodules.place import PlacementConfig
from factory.preprocessing import published
from factory.storage import Storage
from factory.volumes import Volume, write_volume
from jobs.cases import CaseStore
from jobs.generate.actor import Sampler
from jobs.generate.config import GenerateConfig
from models import engine
from models.aas import aas_sample
from models.checkpoint import load_checkpoint
from models.errors import CheckpointError


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
    ("config", "taken"),
    [
        (CONFIG, {"num_steps": 2}),
        (GenerateConfig(steps=2, clip_x0=False), {"num_steps": 2, "clip_x0": False}),
        (GenerateConfig(steps=3, sigma="beta"), {"num_steps": 3, "sigma": "beta"}),
        (GenerateConfig(steps=2, blend="start"), {"num_steps": 2, "blend": "start"}),
        (GenerateConfig(steps=2, sampler="ddim"), {"num_steps": 2, "sampler": "ddim"}),
        (
            GenerateConfig(steps=3, sampler="dpmpp_2m", blend="level"),
            {"num_steps": 3, "sampler": "dpmpp_2m", "blend": "level"},
        ),
        (GenerateConfig(variant="authors"), {"variant": "authors"}),
        (GenerateConfig(steps=2, precision="bfloat16"), {"num_steps": 2}),
    ],
    ids=lambda value: " ".join(map(str, value.values())) if isinstance(value, dict) else "",
)
def test_the_lungs_are_what_the_sampler_draws_from_the_seed_of_the_item(
    make_bench: MakeBench,
    model_16: Path,
    monkeypatch: pytest.MonkeyPatch,
    config: GenerateConfig,
    taken: dict[str, Any],
) -> None:
    monkeypatch.setattr(engine, "computes_in_bfloat16", lambda device: True)
    bench = make_bench(config=config)
    assert bench.draw("c0")["committed"]
    drawn, reference = bench.volume("c0"), reference_of(bench.store, "c0")

    checkpoint, window = load_checkpoint(model_16), HuWindow(-1024.0, 600.0)
    generator = torch.Generator().manual_seed(bench.items["c0"].seed)
    x_0 = aas_sample(
        engine.SamplingEngine(checkpoint.denoiser, precision=config.precision),  # type: ignore[arg-type]
        checkpoint.schedule,
        layout=torch.from_numpy(layout_channels(drawn.layout))[None],
        x_known=torch.from_numpy(window.encode(reference.ct))[None, None],
        draw_noise=lambda shape: torch.randn(shape, generator=generator),
        **taken,
    )
    inside = drawn.layout != BACKGROUND
    np.testing.assert_array_equal(drawn.ct[inside], window.decode(x_0[0, 0].numpy())[inside])


def test_published_weights_draw_turned_volumes_of_scaled_slices(
    store: CaseStore, tmp_path: Path
) -> None:
    """Turned and scaled here by hand: x from the right, y from the front, each z by its range."""
    labels = ("lung", "nodule")
    model = random_checkpoint(tmp_path / "model", seed=3, preprocessing=published(labels, 16))
    bench = Bench(store, model, tmp_path / "lake", CONFIG)
    assert bench.draw("c0")["problem"] == ""
    drawn, reference = bench.volume("c0"), reference_of(store, "c0")

    low, high = (end(axis=(1, 2))[:, None, None] for end in (reference.ct.min, reference.ct.max))
    units = ((reference.ct.astype(np.float32) - low) / (high - low) * 2 - 1).astype(np.float32)
    channels = np.where([drawn.layout == 1, drawn.layout == 2], np.float32(1), np.float32(-1))
    checkpoint = load_checkpoint(model)
    generator = torch.Generator().manual_seed(bench.items["c0"].seed)
    x_0 = aas_sample(
        checkpoint.denoiser,
        checkpoint.schedule,
        layout=torch.from_numpy(channels[..., ::-1, ::-1].swapaxes(2, 3).copy())[None],
        x_known=torch.from_numpy(units[:, ::-1, ::-1].swapaxes(1, 2).copy())[None, None],
        draw_noise=lambda shape: torch.randn(shape, generator=generator),
        num_steps=CONFIG.steps,
    )
    back = x_0[0, 0].numpy().swapaxes(1, 2)[:, ::-1, ::-1].clip(-1, 1)
    inside = drawn.layout != BACKGROUND
    expected = np.rint((back + 1) / 2 * (high - low) + low)
    np.testing.assert_allclose(drawn.ct[inside], expected[inside], atol=1)
    np.testing.assert_array_equal(drawn.ct[~inside], reference.ct[~inside])
    assert bench.row("c0")["hu_window"] is None


def test_a_model_of_nodules_alone_gives_up_a_layout_without_any(
    store: CaseStore, tmp_path: Path
) -> None:
    model = random_checkpoint(tmp_path / "model", seed=3, preprocessing=published(("nodule",), 16))
    none = PlacementConfig(min_nodules=0, max_nodules=0)
    bench = Bench(store, model, tmp_path / "lake", replace(CONFIG, placement=none))
    assert bench.draw("c2")["problem"] == (
        "case c2: its layout has no nodule; expected at least one voxel of it, for this model draws "
        "nothing else. Set min_nodules of [generate.placement] to 1 or more, or leave the case out."
    )
    assert bench.reason("c2")["error_class"] == "CaseError"
    assert bench.draw("c0")["committed"]


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
