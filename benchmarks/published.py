"""The method as published, written plainly: what `benchmarks/sampler.py` compares ours with.

float32, contiguous volumes, attention as two einsums over the whole score matrix, a float32
schedule gathered from tensors, and one reverse step of DDPM after the other. The weights are those
of a `UNet3D`, so that both sides compute the same function.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from models.blocks import ResBlock, SelfAttention, step_embedding
from models.schedule import NoiseSchedule
from models.solvers import Denoiser
from models.unet3d import UNet3D


class PublishedNetwork:
    """The forward pass of a `UNet3D`, operation by operation."""

    def __init__(self, network: UNet3D) -> None:
        self._network = network

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        """Predict the noise in the first channel of `x` (B, in_channels, D, H, W)."""
        network = self._network
        embedding = network.time_embedding(step_embedding(t, network.config.base_channels))
        x = _conv(network.stem, x)
        skips = [x]
        for level in network.encoder:
            for block in level.blocks:
                x = _block(block, x, embedding)
                skips.append(x)
            if level.down is not None:
                x = _conv(level.down, x)
                skips.append(x)
        middle = network.bottleneck
        x = _res_block(middle.res1, x, embedding)
        x = _attend(middle.attention, x)
        x = _res_block(middle.res2, x, embedding)
        for level in network.decoder:
            for block in level.blocks:
                x = _block(block, torch.cat([x, skips.pop()], dim=1), embedding)
            if level.up is not None:
                x = _conv(level.up, F.interpolate(x, scale_factor=2.0, mode="trilinear"))
        eps: Tensor = _conv(network.head, F.silu(_norm(network.head_norm, x)))
        return eps


class PublishedLoop:
    """Their sampling loop with a reference, one step a call; see `aas_sample(variant="authors")`.

    Args:
        schedule: The schedule the network was trained with.
        layout: (1, L, D, H, W) channels in {-1, +1}.
        x_known: (1, 1, D, H, W) reference, in [-1, 1].
    """

    def __init__(self, schedule: NoiseSchedule, layout: Tensor, x_known: Tensor) -> None:
        kept = schedule.alphas_cumprod
        before = torch.cat([torch.ones(1, dtype=kept.dtype), kept[:-1]])
        betas = schedule.betas
        variance = betas * (1 - before) / (1 - kept)
        self._tables = {
            "signal": kept.sqrt(),
            "spread": (1 - kept).sqrt(),
            "recip": (1 / kept).sqrt(),
            "recipm1": (1 / kept - 1).sqrt(),
            "from_start": betas * before.sqrt() / (1 - kept),
            "from_x_t": (1 - before) * (1 - betas).sqrt() / (1 - kept),
            "log_variance": variance.clamp(min=1e-20).log(),
        }
        self._tables = {name: table.float().to(x_known) for name, table in self._tables.items()}
        self._layout, self._x_known = layout, x_known
        self._outside = (layout == -1).all(dim=1, keepdim=True)

    def step(self, network: Denoiser, x_t: Tensor, t: int) -> Tensor:
        """Return the volume after reverse step `t`."""
        steps = torch.full((x_t.shape[0],), t, device=x_t.device, dtype=torch.long)
        eps = network(torch.cat([x_t, self._layout], dim=1), steps)
        x_start = self._at("recip", steps) * x_t - self._at("recipm1", steps) * eps
        x_start = x_start.clamp(-1, 1)
        mean = self._at("from_start", steps) * x_start + self._at("from_x_t", steps) * x_t
        noise = torch.randn(x_t.shape, device=x_t.device)
        moves = (steps != 0).float().reshape(-1, 1, 1, 1, 1)
        x_t = mean + moves * (0.5 * self._at("log_variance", steps)).exp() * noise
        fresh = torch.randn(x_t.shape, device=x_t.device)
        known = self._at("signal", steps) * self._x_known + self._at("spread", steps) * fresh
        return torch.where(self._outside, known, x_t)

    def _at(self, name: str, steps: Tensor) -> Tensor:
        return self._tables[name].gather(0, steps).reshape(-1, 1, 1, 1, 1)


def _block(block: torch.nn.Module, x: Tensor, embedding: Tensor) -> Tensor:
    x = _res_block(block.res, x, embedding)
    return x if block.attention is None else _attend(block.attention, x)


def _res_block(block: ResBlock, x: Tensor, embedding: Tensor) -> Tensor:
    h = _conv(block.conv1, F.silu(_norm(block.norm1, x)))
    h = h + block.step(F.silu(embedding))[:, :, None, None, None]
    h = _conv(block.conv2, F.silu(_norm(block.norm2, h)))
    same = isinstance(block.skip, torch.nn.Identity)
    return (x if same else _conv(block.skip, x)) + h


def _conv(conv: torch.nn.Conv3d, x: Tensor) -> Tensor:
    return F.conv3d(x, conv.weight, conv.bias, conv.stride, conv.padding)


def _norm(norm: torch.nn.GroupNorm, x: Tensor) -> Tensor:
    return F.group_norm(x, norm.num_groups, norm.weight, norm.bias, norm.eps)


def _attend(attention: SelfAttention, x: Tensor) -> Tensor:
    flat = x.flatten(2)
    qkv = attention.qkv(
        F.group_norm(
            flat,
            attention.norm.num_groups,
            attention.norm.weight,
            attention.norm.bias,
            attention.norm.eps,
        )
    )
    q, k, v = qkv.unflatten(1, (3, attention.num_heads, -1)).unbind(1)
    scale = q.shape[2] ** -0.25
    weights = torch.einsum("bhct,bhcs->bhts", q * scale, k * scale).softmax(dim=-1)
    h = torch.einsum("bhts,bhcs->bhct", weights, v).flatten(1, 2)
    return x + attention.proj(h).reshape(x.shape)
