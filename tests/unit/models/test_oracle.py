"""The network and both samplers against what the authors' own code returned."""

import json
import math
import os
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

from models.aas import aas_sample
from models.ddpm import ddpm_sample
from models.schedule import NoiseSchedule, ScheduleConfig
from models.unet3d import UNet3D, UNet3DConfig

ORACLE_DIR = Path(
    os.environ.get("FACTORY_ORACLE_DIR", Path(__file__).resolve().parents[3] / "../shared/oracle")
)

PARTS = {
    "in_layers.0": "norm1",
    "in_layers.2": "conv1",
    "emb_layers.1": "step",
    "out_layers.0": "norm2",
    "out_layers.3": "conv2",
    "skip_connection": "skip",
    "norm": "norm",
    "qkv": "qkv",
    "proj_out": "proj",
}


class Oracle(NamedTuple):
    arrays: dict[str, np.ndarray]
    denoiser: UNet3D
    seed: int

    def tensor(self, name: str) -> Tensor:
        return torch.from_numpy(self.arrays[name].astype(np.float32))

    def noise(self) -> Callable[[tuple[int, ...]], Tensor]:
        random = np.random.RandomState(self.seed + 1)
        return lambda shape: torch.from_numpy(random.standard_normal(shape).astype(np.float32))


def authors_weight(name: str, shape: list[int]) -> np.ndarray:
    random = np.random.RandomState(zlib.crc32(name.encode()) & 0x7FFFFFFF)
    values = random.standard_normal(tuple(shape)).astype(np.float32)
    if len(shape) > 1:
        return values * (1.0 / math.sqrt(math.prod(shape[1:])))
    return 1 + 0.1 * values if name.endswith(".weight") else 0.1 * values


def own_name(authors_name: str) -> str:
    """Translate a tensor's name; five levels with one residual block each."""
    block, rest = authors_name.removeprefix("denoise_fn.").split(".", 1)
    if block == "time_embed":
        return f"time_embedding.{rest}"
    if block == "out":
        return rest.replace("0.", "head_norm.").replace("2.", "head.")
    if block == "middle_block":
        index, rest = rest.split(".", 1)
        return f"bottleneck.{('res1', 'attention', 'res2')[int(index)]}.{own_part(rest)}"
    position, index, rest = rest.split(".", 2)
    return own_block(block, int(position), index, rest)


def own_block(block: str, position: int, index: str, rest: str) -> str:
    if block == "output_blocks":
        level = f"decoder.{position // 2}"
        if rest.startswith("conv."):
            return f"{level}.up.{rest.removeprefix('conv.')}"
        return f"{level}.blocks.{position % 2}.{('res', 'attention')[int(index)]}.{own_part(rest)}"
    if position == 0:
        return f"stem.{rest}"
    level = f"encoder.{(position - 1) // 2}"
    if rest.startswith("op."):
        return f"{level}.down.{rest.removeprefix('op.')}"
    return f"{level}.blocks.0.{('res', 'attention')[int(index)]}.{own_part(rest)}"


def own_part(rest: str) -> str:
    part, kind = rest.rsplit(".", 1)
    return f"{PARTS[part]}.{kind}"


@pytest.fixture(scope="module", params=[("a_32_c32_in3_t8", 11), ("c_32_c32_in2_t8", 37)])
def oracle(request: pytest.FixtureRequest) -> Oracle:
    name, seed = request.param
    if not (ORACLE_DIR / f"{name}.npz").exists():
        pytest.skip(f"no oracle in {ORACLE_DIR}: set FACTORY_ORACLE_DIR to the authors' outputs")
    shapes = json.loads((ORACLE_DIR / f"{name}_keys.json").read_text())
    with np.load(ORACLE_DIR / f"{name}.npz") as stored:
        arrays = dict(stored)
    denoiser = UNet3D(
        UNet3DConfig(grid=32, in_channels=1 + arrays["cond"].shape[1], base_channels=32)
    ).eval()
    denoiser.load_state_dict(
        {
            own_name(key): torch.from_numpy(authors_weight(key, shape))
            for key, shape in shapes.items()
            if key.startswith("denoise_fn.")
        }
    )
    return Oracle(arrays, denoiser, seed)


def relative_l2(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


def oracle_schedule() -> NoiseSchedule:
    return NoiseSchedule(ScheduleConfig(num_steps=8))


@pytest.mark.parametrize("t", [0, 4, 7])
def test_network_predicts_the_noise_that_the_authors_network_does(oracle: Oracle, t: int) -> None:
    x = torch.cat([oracle.tensor("x"), oracle.tensor("cond")], dim=1)
    with torch.inference_mode():
        eps = oracle.denoiser(x, torch.tensor([t]))
    assert relative_l2(eps, oracle.tensor(f"eps_t{t}")) < 1e-4


def test_schedule_has_the_authors_betas(oracle: Oracle) -> None:
    # Theirs are stored as float32.
    np.testing.assert_allclose(oracle_schedule().betas, oracle.arrays["betas"], rtol=1e-6)


def test_authors_variant_repeats_the_authors_volume(oracle: Oracle) -> None:
    x_0 = aas_sample(
        oracle.denoiser,
        oracle_schedule(),
        layout=oracle.tensor("cond"),
        x_known=oracle.tensor("ref"),
        draw_noise=oracle.noise(),
        variant="authors",
    )
    assert relative_l2(x_0, oracle.tensor("aas_x0")) < 1e-3


def test_plain_sampling_repeats_the_authors_volume(oracle: Oracle) -> None:
    x_0 = ddpm_sample(
        oracle.denoiser,
        oracle_schedule(),
        condition=oracle.tensor("cond"),
        draw_noise=oracle.noise(),
    )
    assert relative_l2(x_0, oracle.tensor("plain_x0")) < 1e-3
