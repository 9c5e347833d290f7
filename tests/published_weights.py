"""Files as Lung-DDPM's own code writes them: of the recipe behind the oracle, or of a network of ours."""

import math
import zlib
from collections.abc import Mapping
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from models.errors import CheckpointError
from models.published import read_published
from models.schedule import NoiseSchedule, ScheduleConfig
from models.unet3d import UNet3D
from models.unet3d_config import UNet3DConfig

NETWORK = "denoise_fn."

PUBLISHED_RES = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "step": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "skip": "skip_connection",
}
PUBLISHED_ATTENTION = {"norm": "norm", "qkv": "qkv", "proj": "proj_out"}


def authors_weight(name: str, shape: list[int]) -> Tensor:
    """Draw the weight that the authors' code had under a name when the oracle was written."""
    random = np.random.RandomState(zlib.crc32(name.encode()) & 0x7FFFFFFF)
    values = torch.from_numpy(random.standard_normal(tuple(shape)).astype(np.float32))
    if len(shape) > 1:
        return values * (1.0 / math.sqrt(math.prod(shape[1:])))
    return 1 + 0.1 * values if name.endswith(".weight") else 0.1 * values


def authors_state(shapes: Mapping[str, list[int]]) -> dict[str, Tensor]:
    """Return the oracle's network; the schedule's buffers are left out."""
    learned = {name: shape for name, shape in shapes.items() if name.startswith(NETWORK)}
    return {name: authors_weight(name, shape) for name, shape in learned.items()}


def random_unet(config: UNet3DConfig, seed: int = 0) -> UNet3D:
    """Return a network in which every tensor counts, the zeroed convolutions too."""
    torch.manual_seed(seed)
    denoiser = UNet3D(config).eval()
    with torch.no_grad():
        for weight in denoiser.parameters():
            weight.add_(0.05 * torch.randn_like(weight))
    return denoiser


def published_state(denoiser: UNet3D) -> dict[str, Tensor]:
    """Return a network's tensors under the authors' names, numbered by counting blocks."""
    state: dict[str, Tensor] = {}

    def put(name: str, module: nn.Module) -> None:
        for kind, tensor in module.state_dict().items():
            state[f"{NETWORK}{name}.{kind}"] = tensor.clone()

    def put_parts(name: str, module: nn.Module, parts: Mapping[str, str]) -> None:
        for own, published in parts.items():
            put(f"{name}.{published}", getattr(module, own))

    def put_block(name: str, block: nn.Module) -> int:
        put_parts(f"{name}.0", block.res, PUBLISHED_RES)
        if block.attention is None:
            return 1
        put_parts(f"{name}.1", block.attention, PUBLISHED_ATTENTION)
        return 2

    put("time_embed", denoiser.time_embedding)
    put("input_blocks.0.0", denoiser.stem)
    position = count(1)
    for level in denoiser.encoder:
        for block in level.blocks:
            put_block(f"input_blocks.{next(position)}", block)
        if level.down is not None:
            put(f"input_blocks.{next(position)}.0.op", level.down)
    put_parts("middle_block.0", denoiser.bottleneck.res1, PUBLISHED_RES)
    put_parts("middle_block.1", denoiser.bottleneck.attention, PUBLISHED_ATTENTION)
    put_parts("middle_block.2", denoiser.bottleneck.res2, PUBLISHED_RES)
    position = count()
    for level in denoiser.decoder:
        for block in level.blocks:
            name = f"output_blocks.{next(position)}"
            index = put_block(name, block)
        if level.up is not None:
            put(f"{name}.{index}.conv", level.up)
    put("out.0", denoiser.head_norm)
    put("out.2", denoiser.head)
    return state


def schedule_buffers(num_steps: int) -> dict[str, Tensor]:
    """Return the buffers that stand beside the weights in a published file, some of them."""
    schedule = NoiseSchedule(ScheduleConfig(num_steps=num_steps))
    return {
        "betas": schedule.betas.float(),
        "alphas_cumprod": schedule.alphas_cumprod.float(),
        "posterior_mean_coef3": torch.zeros(num_steps),
    }


def write_published(
    path: Path, state: Mapping[str, object], *, step: object = 7, **changed: object
) -> Path:
    """Write `{"step", "model", "ema"}`, both of the same state unless one is given."""
    torch.save({"step": step, "model": dict(state), "ema": dict(state), **changed}, path)
    return path


def refusal(path: Path, **options: Any) -> str:
    """Return why a published file is refused."""
    with pytest.raises(CheckpointError) as caught:
        read_published(path, **options)
    assert str(caught.value).startswith(f"published checkpoint {path}: ")
    return str(caught.value)
