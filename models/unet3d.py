"""The 3D U-Net of Lung-DDPM: predicts the noise in a volume, given the noisy volume and its layout.

front end -> stem -> encoder levels (residual blocks, stride-2 convolution) -> bottleneck
     -> decoder levels (a skip into every block, trilinear upsampling) -> head -> front end
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint, create_selective_checkpoint_contexts

from models.blocks import (
    ResBlock,
    SelfAttention,
    conv3d,
    group_norm,
    step_embedding,
    zeroed,
)
from models.front_end import haar, inverse_haar
from models.schedule import NoiseSchedule
from models.unet3d_config import UNet3DConfig


class UNet3D(nn.Module):
    """Noise predictor of Lung-DDPM: guided diffusion's blocks, but trilinear upsampling.

    The last convolution of every residual block, of every attention and of the network starts
    at zero, so an untrained network returns zeros; of one that predicts v, v is zero.

    Args:
        config: The architecture.
        schedule: What its volumes are noised by; a network that predicts v needs it, and keeps it
            with its weights.

    Raises:
        ValueError: The network predicts v, and no schedule is given.

    Attributes:
        config: What the network was made from.
        activation_checkpointing: Whether training keeps no more of a residual block than what its
            convolutions put out, and computes the rest again on the way back: norms, activations,
            concatenation, upsampling. It changes memory and time, but no gradient.
    """

    signal: Tensor
    spread: Tensor

    def __init__(self, config: UNet3DConfig, schedule: NoiseSchedule | None = None) -> None:
        super().__init__()
        self.config = config
        self.activation_checkpointing = False
        if config.prediction == "v":
            if schedule is None:
                raise ValueError("a network that predicts v needs the schedule of its noise")
            alphas_cumprod = schedule.alphas_cumprod
            # On the device where weights are made, which may be the meta device.
            device, dtype = torch.empty(0).device, torch.get_default_dtype()
            self.register_buffer("signal", alphas_cumprod.sqrt().to(device, dtype))
            self.register_buffer("spread", (1.0 - alphas_cumprod).sqrt().to(device, dtype))
        base, widths = config.base_channels, config.level_channels
        self.time_embedding = nn.Sequential(
            nn.Linear(base, 4 * base), nn.SiLU(), nn.Linear(4 * base, 4 * base)
        )
        self.stem = conv3d(config.in_channels * config.bands, base, 3)
        self.encoder = nn.ModuleList()
        skips = [base]
        for level in range(len(widths)):
            encoder_level = _EncoderLevel(config, level, channels_in=skips[-1])
            self.encoder.append(encoder_level)
            skips += encoder_level.skip_channels
        self.bottleneck = _Bottleneck(config)
        self.decoder = nn.ModuleList()
        for level in reversed(range(len(widths))):
            channels_in = widths[min(level + 1, len(widths) - 1)]
            self.decoder.append(_DecoderLevel(config, level, channels_in, skips))
        self.head_norm = group_norm(widths[0])
        self.head = zeroed(conv3d(widths[0], config.bands, 3))

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """Predict the noise in the first channel of `x`.

        Args:
            x: (B, in_channels, D, H, W) noisy volume in window units, then the layout's
                channels in {-1, +1}. Sides are multiples of `config.shrink`.
            t: (B,) long, the step of each volume, in [0, T).

        Returns:
            (B, 1, D, H, W) epsilon.

        Raises:
            ValueError: The channels or the sides do not fit the network.
        """
        return self.eps(self.predict(x, t), x, t)

    def eps(self, predicted: Tensor, x: Tensor, t: Tensor) -> Tensor:
        """Return the noise in the first channel of `x`, by what `predict` returned for it.

        With `v` the noise is mostly the volume itself at the noisiest steps: `x` must then be no
        less exact than the noise shall be.
        """
        if self.config.prediction == "eps":
            return predicted
        signal, spread = (weights[t].view(-1, 1, 1, 1, 1) for weights in (self.signal, self.spread))
        return spread * x[:, :1] + signal * predicted

    def predict(self, x: Tensor, t: Tensor) -> Tensor:
        """Return (B, 1, D, H, W) of what `config.prediction` says; arguments as for `forward`."""
        self._check_input(x)
        sinusoids = step_embedding(t, self.config.base_channels)
        embedding = self.time_embedding(sinusoids.to(next(self.time_embedding.parameters()).dtype))
        recompute = self.activation_checkpointing and self.training and torch.is_grad_enabled()
        # This list alone holds the features, the newest last: a variable would keep them alive
        # while the next level runs.
        has_bands = self.config.bands > 1
        # Sums of bands in bfloat16 would round three times over.
        features = [self.stem(haar(x.float()).to(x.dtype) if has_bands else x)]
        for level in self.encoder:
            level(features, embedding, recompute)
        features.append(self.bottleneck(features[-1], embedding))
        for level in self.decoder:
            level(features, embedding, recompute)
        x = features.pop()
        out = _recomputed(self._put_out, x) if recompute else self._put_out(x)
        return inverse_haar(out.float()) if has_bands else out

    def _put_out(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(F.silu(self.head_norm(x)))
        return out

    def _check_input(self, x: Tensor) -> None:
        config = self.config
        if x.ndim != 5 or x.shape[1] != config.in_channels:
            raise ValueError(
                f"input has shape {tuple(x.shape)}; this network takes "
                f"(B, {config.in_channels}, D, H, W): the noisy volume, then the layout's channels"
            )
        if any(side % config.shrink for side in x.shape[2:]):
            raise ValueError(
                f"input has sides {tuple(x.shape[2:])} voxels; with {config.levels} each must be "
                f"a multiple of {config.shrink}"
            )


class _Block(nn.Module):
    def __init__(
        self, config: UNet3DConfig, level: int, channels_in: int, channels_out: int
    ) -> None:
        super().__init__()
        self.res = _res_block(config, channels_in, channels_out)
        attends = level == config.attention_level
        self.attention = SelfAttention(channels_out, config.num_heads) if attends else None

    def forward(self, parts: list[Tensor], embedding: Tensor, recompute: bool) -> Tensor:
        """Run on the concatenation of `parts`, and empty that list."""
        if recompute:
            x = _recomputed(self._join_and_run, embedding, *parts)
        else:
            x = self.res(_join(parts), embedding)
        return x if self.attention is None else self.attention(x)

    def _join_and_run(self, embedding: Tensor, *parts: Tensor) -> Tensor:
        x: Tensor = self.res(_join([*parts]), embedding)
        return x


def _join(parts: list[Tensor]) -> Tensor:
    joined = parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)
    parts.clear()
    return joined


def _recomputed(part: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
    """Run `part` and keep, of all between its inputs and its output, what convolutions put out.

    The way back runs the rest again, until it has the input of the last convolution.
    """
    out: Tensor = checkpoint(part, *inputs, use_reentrant=False, context_fn=_keep_convolutions)
    return out


_keep_convolutions = partial(
    create_selective_checkpoint_contexts, [torch.ops.aten.convolution.default]
)


def _res_block(config: UNet3DConfig, channels_in: int, channels_out: int) -> ResBlock:
    return ResBlock(
        channels_in,
        channels_out,
        embedding_size=4 * config.base_channels,
        dropout=config.dropout,
    )


class _EncoderLevel(nn.Module):
    def __init__(self, config: UNet3DConfig, level: int, channels_in: int) -> None:
        super().__init__()
        width, num_blocks = config.level_channels[level], config.num_res_blocks
        self.blocks = nn.ModuleList(
            _Block(config, level, channels_in if i == 0 else width, width)
            for i in range(num_blocks)
        )
        coarsest = level == len(config.channel_mults) - 1
        self.down = None if coarsest else conv3d(width, width, 3, stride=2)
        self.skip_channels = [width] * (num_blocks + (not coarsest))

    def forward(self, features: list[Tensor], embedding: Tensor, recompute: bool) -> None:
        """Append what the decoder will want, the output last."""
        for block in self.blocks:
            features.append(block([features[-1]], embedding, recompute))
        if self.down is not None:
            features.append(self.down(features[-1]))


class _Bottleneck(nn.Module):
    def __init__(self, config: UNet3DConfig) -> None:
        super().__init__()
        width = config.level_channels[-1]
        self.res1 = _res_block(config, width, width)
        self.attention = SelfAttention(width, config.num_heads)
        self.res2 = _res_block(config, width, width)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        out: Tensor = self.res2(self.attention(self.res1(x, embedding)), embedding)
        return out


class _DecoderLevel(nn.Module):
    def __init__(
        self, config: UNet3DConfig, level: int, channels_in: int, skips: list[int]
    ) -> None:
        super().__init__()
        width = config.level_channels[level]
        self.blocks = nn.ModuleList()
        for _ in range(config.num_res_blocks + 1):
            self.blocks.append(_Block(config, level, channels_in + skips.pop(), width))
            channels_in = width
        self.up = None if level == 0 else conv3d(width, width, 3)

    def forward(self, features: list[Tensor], embedding: Tensor, recompute: bool) -> None:
        """Take the input and its skips off the end, and append the output."""
        for block in self.blocks:
            parts = [features.pop(), features.pop()]
            features.append(block(parts, embedding, recompute))
        if self.up is not None:
            x = features.pop()
            features.append(_recomputed(self._upsample, x) if recompute else self._upsample(x))

    def _upsample(self, x: Tensor) -> Tensor:
        assert self.up is not None
        out: Tensor = self.up(F.interpolate(x, scale_factor=2.0, mode="trilinear"))
        return out
