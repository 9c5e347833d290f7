"""What the sampler benchmark draws with and into: random weights, a ramp with two lungs."""

import torch
from torch import Tensor

from models.unet3d import UNet3D
from models.unet3d_config import UNet3DConfig


def random_network(config: UNet3DConfig) -> UNet3D:
    """Return a network in which every layer counts: an untrained one returns zeros."""
    generator = torch.Generator().manual_seed(0)
    network = UNet3D(config).eval().requires_grad_(False)
    for weight in network.parameters():
        spread = 0.1 if weight.ndim == 1 else weight[0].numel() ** -0.5
        centre = 1.0 if weight.ndim == 1 else 0.0
        weight.copy_(centre + spread * torch.randn(weight.shape, generator=generator))
    return network


def scene(config: UNet3DConfig, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return a reference and a layout: two lungs of a quarter of the volume, with a nodule."""
    size = config.grid
    x_known = torch.linspace(-1, 1, size**3, device=device).reshape(1, 1, size, size, size)
    layout = torch.full((1, config.in_channels - 1, size, size, size), -1.0, device=device)
    low, high, middle = size // 5, size - size // 5, size // 2
    layout[:, 0, low:high, low:high, low : middle - 1] = 1.0
    layout[:, 0, low:high, low:high, middle + 1 : high] = 1.0
    layout[:, -1, middle : middle + 2, middle : middle + 2, low + 1 : low + 3] = 1.0
    return x_known, layout
