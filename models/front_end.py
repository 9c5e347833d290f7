"""A change of basis before and behind the U-Net: eight channels at half the side for each of one.

Haar sub-bands, as in WDM (Friedrich et al., "WDM: 3D Wavelet Diffusion Models for High-Resolution
Medical Image Synthesis", 2024). The transform is orthonormal, so white noise stays white: loss,
schedule and samplers see voxels, and know nothing of it.
"""

import torch
from torch import Tensor

FRONT_ENDS = ("none", "haar")
"""What a network can have before its first convolution and behind its last one."""

SUB_BANDS = 8
"""Of one channel: along each axis a sum and a difference of neighbours."""

_SCALE: float = SUB_BANDS**-0.5


def haar(x: Tensor) -> Tensor:
    """Return the Haar sub-bands of volumes, one level deep.

    Args:
        x: (B, C, D, H, W), with even sides.

    Returns:
        (B, 8 C, D/2, H/2, W/2): eight bands of the first channel, the smooth one first, then eight
        of the second.
    """
    bands = x[:, :, None]
    for axis in (3, 4, 5):
        first, second = _split(bands, axis, (-1, 2)).unbind(axis + 1)
        bands = torch.cat([first + second, first - second], dim=2)
    return bands.flatten(1, 2) * _SCALE


def inverse_haar(bands: Tensor) -> Tensor:
    """Return the volumes whose sub-bands `haar` returned.

    Args:
        bands: (B, 8 C, d, h, w).

    Returns:
        (B, C, 2 d, 2 h, 2 w).
    """
    x = _split(bands, 1, (-1, SUB_BANDS))
    for axis in (5, 4, 3):
        total, difference = x.chunk(2, dim=2)
        x = torch.stack([total + difference, total - difference], dim=axis + 1)
        x = x.flatten(axis, axis + 1)
    return x.squeeze(2) * _SCALE


def _split(x: Tensor, axis: int, sizes: tuple[int, int]) -> Tensor:
    parts: Tensor = x.unflatten(axis, sizes)  # type: ignore[no-untyped-call]
    return parts
