"""Volumes without a model, and a model that is told of nodules alone, through the real jobs."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from generated import ingested
from nodule_crops import write_crops

from factory.lake import MANIFEST, Lake
from jobs import verify
from jobs.amount import Amount
from jobs.generate.actors import NumActors
from jobs.generate.config import GenerateConfig
from jobs.generate.job import generate
from jobs.lakes import read_row
from jobs.mix import write as write_mix
from jobs.recipe import load_recipe
from jobs.train.config import TrainConfig
from jobs.train.job import train
from manifests.read import read_manifest
from models.card import read_model_card

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_cluster")]


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory, ray_cluster: None) -> Path:
    """Three phantoms on a 16^3 grid, one without nodules."""
    return ingested(tmp_path_factory.mktemp("synthesizers"), 3)


def test_pasted_nodules_come_out_alike_from_one_actor_and_from_three_and_enter_a_mix(
    cases: Path, tmp_path: Path
) -> None:
    crops = write_crops(tmp_path / "crops.npz")
    config = load_recipe("copy-paste").table("generate", GenerateConfig)
    voxels = []
    for actors in (1, 3):
        lake = tmp_path / f"lake-{actors}"
        result = generate(
            cases,
            None,
            lake,
            Amount(count=6),
            config,
            nodules=crops,
            actors=NumActors(actors, actors),
        )
        assert (result.num_synthetic, result.num_quarantined) == (6, 0)
        assert verify.problems(Lake(lake)) == []
        rows = [r for r in read_manifest(lake / MANIFEST).to_pylist() if r["work_id"]]
        voxels.append({row["work_id"]: row["image_sha256"] for row in rows})
    assert voxels[0] == voxels[1]
    assert {row["qc_verdict"] for row in rows} <= {"accept", "review"}
    mix = write_mix(tmp_path / "lake-1", tmp_path / "mix.parquet", Amount(ratio=0.5))
    kinds = [row["kind"] for row in read_manifest(mix).to_pylist()]
    assert (kinds.count("real"), kinds.count("synthetic")) == (3, 3)


@pytest.mark.slow
def test_a_model_without_the_layout_of_the_lungs_is_trained_and_drawn_with(
    cases: Path, tmp_path: Path
) -> None:
    """As the recipes of the ablations ask for it, at a size for tests."""
    tiny, ablation = load_recipe("tiny"), load_recipe("ablation-no-lung-layout")
    small = tiny.table("train", TrainConfig, steps=2)
    asked = ablation.table("train", TrainConfig)
    config = replace(
        small,
        labels=asked.labels,
        sample_every=2,
        num_samples=1,
        num_probes=1,
        model=replace(small.model, in_channels=asked.model.in_channels),
    )
    run = tmp_path / "run"
    result = train(cases, run, config, recipe="tiny", num_workers=1, device="cpu")
    card = read_model_card(result.model)
    assert (card.unet.in_channels, card.preprocessing["labels"]) == (2, ["nodule"])
    assert list((run / "samples").iterdir())

    changed = {}
    for recipe in ("ablation-no-lung-layout", "ablation-no-both"):
        lake = tmp_path / recipe
        settings = load_recipe(recipe).table("generate", GenerateConfig, steps=2)
        generate(cases, run, lake, Amount(count=1), settings, device="cpu")
        assert verify.problems(Lake(lake)) == []
        rows = read_manifest(lake / MANIFEST).to_pylist()
        (row,) = (row for row in rows if row["work_id"])
        reference = next(r for r in rows if r["kind"] == "real" and r["case_id"] == row["case_id"])
        drawn, before = (read_row(lake / MANIFEST, one) for one in (row, reference))
        differs = drawn.ct != before.ct
        changed[recipe] = [
            float(differs[mask].mean()) for mask in (before.layout > 0, before.layout == 0)
        ]
    assert changed["ablation-no-lung-layout"][0] > 0.9
    assert changed["ablation-no-lung-layout"][1] == 0.0
    assert np.min(changed["ablation-no-both"]) > 0.9
