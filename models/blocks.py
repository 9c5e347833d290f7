"""What the U-Net is built of: group norm, residual block, self-attention, step embedding."""

import math
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.attention import attention

_MAX_PERIOD = 1_000.0

ModuleT = TypeVar("ModuleT", bound=nn.Module)


def step_embedding(t: Tensor, size: int) -> Tensor:
    """Return the (B, size) float32 sinusoids of steps `t` (B,), cosines first.

    A geometric series of periods from 2π towards 2π · 1000 steps, as in Lung-DDPM's code; guided
    diffusion goes on to 2π · 10,000.
    """
    half = size // 2
    exponents = torch.arange(half, dtype=torch.float32, device=t.device) / half
    angles = t[:, None].float() * torch.exp(-math.log(_MAX_PERIOD) * exponents)
    return torch.cat([angles.cos(), angles.sin()], dim=1)


class GroupNorm32(nn.GroupNorm):
    """Group norm that computes in float32 whatever the activations are."""

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type == "cpu" and not torch.compiler.is_compiling():
            return self._on_cpu(x)
        # CUDA's eager kernel knows no channels last, and would copy the float32 voxels once more.
        is_eager = x.is_cuda and not torch.compiler.is_compiling()
        kept = torch.contiguous_format if is_eager or x.is_meta else torch.preserve_format
        return self._norm(x.to(torch.float32, memory_format=kept)).to(x.dtype)

    def _norm(self, x: Tensor) -> Tensor:
        weight, bias = self.weight.float(), self.bias.float()
        return F.group_norm(x, self.num_groups, weight, bias, self.eps)

    def _on_cpu(self, x: Tensor) -> Tensor:
        # Channels last, the CPU's kernel adds all voxels up in one float32 and has the variance from
        # E[x^2] - E[x]^2: wrong in the third digit at 64^3 where the mean is ten times the spread.
        if x.ndim != 5 or x.is_contiguous():
            return self._norm(x if x.dtype == torch.bfloat16 else x.float()).to(x.dtype)
        if x.dtype == torch.bfloat16:
            # bfloat16 has no third digit: it is enough to bring the mean near zero.
            return self._norm(x - _by_channel(_group_means(_rough_means(x), self.num_groups), x))
        return self._norm_by_planes(x.float()).to(x.dtype)

    def _norm_by_planes(self, x: Tensor) -> Tensor:
        """Normalize (B, C, D, H, W), channels last, with sums by plane that are added in float64."""
        size = x[0, 0].numel()
        means = _planes(x).sum(dim=2).double().sum(dim=1) / size
        centred = x - _by_channel(_group_means(means, self.num_groups), x)
        squares = torch.linalg.vector_norm(_planes(centred), dim=2).double().square().sum(dim=1)
        variances = _group_means(squares / size, self.num_groups)
        scale = self.weight * torch.rsqrt(variances + self.eps)
        return torch.addcmul(self.bias[:, None, None, None], centred, _by_channel(scale, x))


def _planes(x: Tensor) -> Tensor:
    """Return (B, D, H x W, C) of (B, C, D, H, W): a view where channels lie last."""
    return x.permute(0, 2, 3, 4, 1).flatten(2, 3)


def _rough_means(x: Tensor) -> Tensor:
    """Return (B, C) means of one voxel in 64."""
    return x[:, :, ::4, ::4, ::4].float().mean(dim=(2, 3, 4))


def _group_means(of_channels: Tensor, num_groups: int) -> Tensor:
    """Return (B, C), each channel with the mean of its group."""
    batch, channels = of_channels.shape
    groups = of_channels.view(batch, num_groups, -1)
    return groups.mean(dim=2, keepdim=True).expand_as(groups).reshape(batch, channels)


def _by_channel(values: Tensor, x: Tensor) -> Tensor:
    """Return (B, C, 1, 1, 1) in the dtype of `x`."""
    return values.to(x.dtype)[:, :, None, None, None]


def num_groups(channels: int) -> int:
    """Return 32, or the largest divisor of 32 and the width."""
    return math.gcd(32, channels)


def group_norm(channels: int) -> GroupNorm32:
    """Return the group norm for a width."""
    return GroupNorm32(num_groups(channels), channels)


_UNSOUND_DEPTH = 2
"""Slices of a volume for which oneDNN's bfloat16 gradient of a filter of three reads memory that
nobody has written (torch 2.13): NaN, or what was there before."""


class Conv3d(nn.Conv3d):
    """A convolution that takes oneDNN for small volumes too, when sampling on a CPU."""

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[2] <= _UNSOUND_DEPTH and _trains_in_bfloat16_on_cpu(x):
            with torch.autocast("cpu", enabled=False):
                return super().forward(x.float()).to(torch.bfloat16)
        # In float32 torch leaves volumes of fewer than 20,480 rows to a plain loop, half as fast:
        # at 32^3 that is every level but the first.
        sampling = not torch.is_grad_enabled() and not torch.compiler.is_compiling()
        if not sampling or x.dtype != torch.float32 or x.device.type != "cpu" or not _has_onednn():
            return super().forward(x)
        padding = [side // 2 for side in self.kernel_size]
        out: Tensor = torch.mkldnn_convolution(
            x, self.weight, self.bias, padding, self.stride, self.dilation, self.groups
        )
        return out


def _trains_in_bfloat16_on_cpu(x: Tensor) -> bool:
    autocasts = torch.is_autocast_enabled("cpu")
    in_bfloat16 = autocasts and torch.get_autocast_dtype("cpu") == torch.bfloat16
    return x.device.type == "cpu" and in_bfloat16 and torch.is_grad_enabled()


def _has_onednn() -> bool:
    mkldnn = torch.backends.mkldnn
    return bool(mkldnn.is_available() and mkldnn.enabled)  # type: ignore[no-untyped-call]


def conv3d(channels_in: int, channels_out: int, size: int, *, stride: int = 1) -> Conv3d:
    """Return a convolution that keeps the side, or with a stride divides it."""
    return Conv3d(channels_in, channels_out, size, stride=stride, padding=size // 2)


def zeroed(module: ModuleT) -> ModuleT:
    """Set all parameters of a module to zero, and return it."""
    for parameter in module.parameters():
        nn.init.zeros_(parameter)
    return module


class ResBlock(nn.Module):
    """Two convolutions, each after group norm and SiLU; the step embedding is added between.

    Args:
        channels_in: Of the input.
        channels_out: Of the output; where it differs, a 1x1x1 convolution carries the input over.
        embedding_size: Of the step embedding, (B, embedding_size).
        dropout: Probability before the second convolution.
    """

    def __init__(
        self, channels_in: int, channels_out: int, *, embedding_size: int, dropout: float
    ) -> None:
        super().__init__()
        self.norm1 = group_norm(channels_in)
        self.conv1 = conv3d(channels_in, channels_out, 3)
        self.step = nn.Linear(embedding_size, channels_out)
        self.norm2 = group_norm(channels_out)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = zeroed(conv3d(channels_out, channels_out, 3))
        same = channels_in == channels_out
        self.skip = nn.Identity() if same else conv3d(channels_in, channels_out, 1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        h = h + self.step(F.silu(embedding)).to(h.dtype)[:, :, None, None, None]
        h = self.conv2(self.dropout(F.silu(self.norm2(h))))
        out: Tensor = self.skip(x) + h
        return out


class SelfAttention(nn.Module):
    """Attention of every voxel to all others of a volume, added to its input."""

    def __init__(self, channels: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.norm = group_norm(channels)
        self.qkv = nn.Conv1d(channels, 3 * channels, 1)
        self.proj = zeroed(nn.Conv1d(channels, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Let every voxel of `x` (B, C, D, H, W) attend to all others; C = heads x K."""
        qkv = self.qkv(self.norm(x).flatten(2)).unflatten(1, (3, self.num_heads, -1))
        # Kernels want the channels of a head to be contiguous: (B, 3, heads, tokens, K).
        q, k, v = qkv.transpose(-1, -2).contiguous().unbind(1)
        h = attention(q, k, v).transpose(-1, -2).flatten(1, 2)
        out: Tensor = x + self.proj(h).reshape(x.shape)
        return out
