"""Published weights, imported, against what the authors' own code returned for them."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from published_weights import authors_state, write_published
from torch import Tensor

from models.aas import aas_sample
from models.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from models.ddpm import ddpm_sample
from models.engine import SamplingEngine
from models.published import read_published
from models.solvers import Denoiser

ORACLE_DIR = Path(
    os.environ.get("FACTORY_ORACLE_DIR", Path(__file__).resolve().parents[3] / "../shared/oracle")
)


class Oracle(NamedTuple):
    arrays: dict[str, np.ndarray]
    model: Checkpoint
    seed: int

    def tensor(self, name: str) -> Tensor:
        return torch.from_numpy(self.arrays[name].astype(np.float32))

    def noise(self) -> Callable[[tuple[int, ...]], Tensor]:
        random = np.random.RandomState(self.seed + 1)
        return lambda shape: torch.from_numpy(random.standard_normal(shape).astype(np.float32))


def imported(path: Path) -> Checkpoint:
    """Take a published file the whole way: read, saved as a checkpoint of ours, loaded again."""
    published = read_published(path)
    target = path.with_suffix("")
    save_checkpoint(
        target, published.denoiser, schedule=published.schedule, preprocessing={}, training={}
    )
    return load_checkpoint(target)


@pytest.fixture(scope="module", params=[("a_32_c32_in3_t8", 11), ("c_32_c32_in2_t8", 37)])
def oracle(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Oracle:
    name, seed = request.param
    if not (ORACLE_DIR / f"{name}.npz").exists():
        pytest.skip(f"no oracle in {ORACLE_DIR}: set FACTORY_ORACLE_DIR to the authors' outputs")
    shapes = json.loads((ORACLE_DIR / f"{name}_keys.json").read_text())
    with np.load(ORACLE_DIR / f"{name}.npz") as stored:
        arrays = dict(stored)
    state = {**authors_state(shapes), "betas": torch.from_numpy(arrays["betas"])}
    path = write_published(tmp_path_factory.mktemp(name) / "published.pt", state)
    return Oracle(arrays, imported(path), seed)


@pytest.fixture(params=["network", "engine"])
def denoiser(oracle: Oracle, request: pytest.FixtureRequest) -> Denoiser:
    """The network, and what samplers really run."""
    network = oracle.model.denoiser
    return network if request.param == "network" else SamplingEngine(network)


def relative_l2(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


@pytest.mark.parametrize("t", [0, 4, 7])
def test_network_predicts_the_noise_that_the_authors_network_does(
    oracle: Oracle, denoiser: Denoiser, t: int
) -> None:
    x = torch.cat([oracle.tensor("x"), oracle.tensor("cond")], dim=1)
    with torch.inference_mode():
        eps = denoiser(x, torch.tensor([t]))
    assert relative_l2(eps, oracle.tensor(f"eps_t{t}")) < 1e-4


def test_the_grid_is_the_one_that_the_authors_network_was_made_for(oracle: Oracle) -> None:
    assert (oracle.model.card.unet.grid,) * 3 == oracle.arrays["x"].shape[2:]


def test_schedule_has_the_authors_betas(oracle: Oracle) -> None:
    # Theirs are stored as float32.
    np.testing.assert_allclose(oracle.model.schedule.betas, oracle.arrays["betas"], rtol=1e-6)


def test_authors_variant_repeats_the_authors_volume(oracle: Oracle, denoiser: Denoiser) -> None:
    x_0 = aas_sample(
        denoiser,
        oracle.model.schedule,
        layout=oracle.tensor("cond"),
        x_known=oracle.tensor("ref"),
        draw_noise=oracle.noise(),
        variant="authors",
    )
    assert relative_l2(x_0, oracle.tensor("aas_x0")) < 1e-3


def test_plain_sampling_repeats_the_authors_volume(oracle: Oracle, denoiser: Denoiser) -> None:
    x_0 = ddpm_sample(
        denoiser,
        oracle.model.schedule,
        condition=oracle.tensor("cond"),
        draw_noise=oracle.noise(),
    )
    assert relative_l2(x_0, oracle.tensor("plain_x0")) < 1e-3
