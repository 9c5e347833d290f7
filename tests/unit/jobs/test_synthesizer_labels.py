"""Models that are told of nodules alone, or feed on another window: what any synthesizer draws with them."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sampler_bench import Bench, config_of, reference_of
from support import random_checkpoint

from factory.intensity import HuWindow
from factory.layouts import BACKGROUND, LUNG, NODULE
from factory.preprocessing import Preprocessing
from jobs.cases import CaseStore
from models.aas import aas_sample
from models.checkpoint import load_checkpoint
from models.engine import SamplingEngine


@pytest.fixture(scope="module")
def nodule_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that is told of nodules alone, and draws lungs and nodules."""
    fed = Preprocessing(labels=("nodule",), drawn=("lung", "nodule"))
    path = tmp_path_factory.mktemp("nodule") / "model"
    return random_checkpoint(path, seed=4, preprocessing=fed)


@pytest.mark.parametrize("blend", ["level", "start"])
def test_without_the_layout_of_the_lungs_they_are_drawn_all_the_same_and_nothing_else(
    store: CaseStore, nodule_model: Path, tmp_path: Path, blend: Any
) -> None:
    bench = Bench(store, nodule_model, tmp_path / "lake", config_of("lung-ddpm", blend=blend))
    assert bench.draw("c0")["problem"] == ""
    volume, reference = bench.volume("c0"), reference_of(store, "c0")
    outside = reference.layout == BACKGROUND
    checkpoint, window = load_checkpoint(nodule_model), HuWindow()
    generator = torch.Generator().manual_seed(bench.items["c0"].seed)
    x_0 = aas_sample(
        SamplingEngine(checkpoint.denoiser),
        checkpoint.schedule,
        layout=torch.from_numpy(np.where(volume.layout == NODULE, np.float32(1), np.float32(-1)))[
            None, None
        ],
        x_known=torch.from_numpy(window.encode(reference.ct))[None, None],
        draw_noise=lambda shape: torch.randn(shape, generator=generator),
        num_steps=2,
        blend=blend,
        known_mask=torch.from_numpy(outside)[None, None],
    )
    expected = np.where(outside, reference.ct, window.decode(x_0[0, 0].numpy()))
    np.testing.assert_array_equal(volume.ct, expected)
    assert (
        volume.ct[reference.layout == LUNG] != reference.ct[reference.layout == LUNG]
    ).mean() > 0.9
    assert bench.row("c0")["qc_background_equal"] is True


def test_without_both_the_whole_volume_follows_the_nodules(
    store: CaseStore, nodule_model: Path, tmp_path: Path
) -> None:
    bench = Bench(store, nodule_model, tmp_path / "lake", config_of("med-ddpm"))
    assert bench.draw("c0")["problem"] == ""
    reference = reference_of(store, "c0")
    outside = reference.layout == BACKGROUND
    assert (bench.volume("c0").ct[outside] != reference.ct[outside]).mean() > 0.9


def test_the_scale_of_a_model_is_its_own_whoever_draws(store: CaseStore, tmp_path: Path) -> None:
    fed = replace(Preprocessing(), hu_window=(-900.0, -100.0))
    model = random_checkpoint(tmp_path / "model", seed=0, preprocessing=fed)
    bench = Bench(store, model, tmp_path / "lake", config_of("med-ddpm"))
    bench.draw("c0")
    volume = bench.volume("c0").ct
    assert (volume.min(), volume.max()) == (-900, -100)
