"""A network made ready to sample with: precision, memory format, compiled graphs and warm-up."""

import copy
import functools
from collections.abc import Callable
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from models.unet3d import UNet3D

Precision = Literal["float32", "bfloat16"]
"""Of convolutions, attention and activations; group norms and the schedule stay in float32."""


class SamplingEngine:
    """A copy of a network for inference; called like the network, and as good as it.

    Convolutions and attention run in `precision`, with their weights cast once rather than at
    each step, group norms and the step embedding in float32. Voxels lie channels last, the format
    in which both oneDNN and cuDNN compute; on CUDA only a compiled network keeps to it, since
    torch's own group norm there does not know it. The network that was given stays as it is.

    Args:
        denoiser: The network, on the device to sample on; it is copied.
        precision: "bfloat16" is for devices that compute in it, see `computes_in_bfloat16`.
        compiled: Compile the network, on CUDA into CUDA graphs, and run it twice at once, so that
            the first volume does not wait. Takes a minute or more; the input's shape is fixed.
        grid: Side of the volumes that a compiled network is for, in voxels, one at a time; None
            takes the network's own.

    Raises:
        ValueError: `precision` is unknown, or the device does not compute in it.
    """

    def __init__(
        self,
        denoiser: UNet3D,
        *,
        precision: Precision = "float32",
        compiled: bool = False,
        grid: int | None = None,
    ) -> None:
        self.config = denoiser.config
        self.device = next(denoiser.parameters()).device
        self._dtype = _dtype_of(precision, self.device)
        network = _cast(copy.deepcopy(denoiser).eval().requires_grad_(False), self._dtype)
        self._network = network
        self._predict: Callable[[Tensor, Tensor], Tensor] = network.predict
        if compiled:
            # Kernels of a network this deep wait for Python on a fast GPU; graphs do not.
            mode = "reduce-overhead" if self.device.type == "cuda" else "default"
            self._predict = torch.compile(network.predict, mode=mode, dynamic=False, fullgraph=True)
            self._warm_up(self.config.grid if grid is None else grid)

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        """Predict the noise in the first channel of `x`.

        Args:
            x: (B, in_channels, D, H, W) float32, as `UNet3D.forward` takes it.
            t: (B,) long, the step of each volume.

        Returns:
            (B, 1, D, H, W) epsilon, float32.
        """
        cast = x.to(self._dtype, memory_format=torch.channels_last_3d)
        # A copy, for CUDA graphs write the next prediction over this one.
        predicted = self._predict(cast, t).to(torch.float32, copy=True)
        return self._network.eps(predicted, x, t)

    @torch.inference_mode()
    def _warm_up(self, grid: int) -> None:
        x = torch.zeros(1, self.config.in_channels, grid, grid, grid, device=self.device)
        for _ in range(2):
            self(x, torch.zeros(1, dtype=torch.long, device=self.device))


def computes_in_bfloat16(device: torch.device | str) -> bool:
    """Return whether a device has bfloat16 arithmetic, rather than emulating it.

    CUDA from Ampere on; x86 CPUs with AVX512-BF16 or AMX, Arm CPUs with BF16.
    """
    device = torch.device(device)
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device.type == "meta" or (device.type == "cpu" and _cpu_computes_in_bfloat16())


@functools.cache
def _cpu_computes_in_bfloat16() -> bool:
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def _dtype_of(precision: Precision, device: torch.device) -> torch.dtype:
    if precision not in get_args(Precision):
        raise ValueError(f"precision is {precision!r}; known are {', '.join(get_args(Precision))}")
    if precision == "float32":
        return torch.float32
    if not computes_in_bfloat16(device):
        raise ValueError(
            f"precision is 'bfloat16', but this {device.type} has no bfloat16 arithmetic and would "
            "be slower than in float32; take precision='float32'"
        )
    return torch.bfloat16


def _cast(network: UNet3D, dtype: torch.dtype) -> UNet3D:
    for module in network.modules():
        if isinstance(module, nn.Conv3d | nn.Conv1d):
            module.to(dtype)
    return network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload,no-any-return]
