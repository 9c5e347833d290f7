"""Self-attention over voxels: one function, and the only place that chooses a kernel.

Shape letters: B batch, H heads, N tokens (voxels), K channels of a head.
"""

import functools
import importlib
import logging
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

Kernel = Callable[[Tensor, Tensor, Tensor], Tensor]

_KERNEL_CHANNELS = 8
"""xformers has half-precision kernels only for heads of a multiple of this many channels."""


def attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Return softmax(q kᵀ / √K) v.

    xformers' `memory_efficient_attention` on CUDA where its kernels load, torch's
    `scaled_dot_product_attention` elsewhere, and where the network is compiled; both agree to the
    rounding of their dtype.

    Args:
        q: (B, H, N, K) queries.
        k: (B, H, N, K) keys.
        v: (B, H, N, K) values.

    Returns:
        (B, H, N, K), in the dtype and on the device of `q`.
    """
    # A compiler knows torch's own kernels, which are the ones xformers runs, and would trace the probe.
    suits = q.is_cuda and q.shape[-1] % _KERNEL_CHANNELS == 0 and not torch.compiler.is_compiling()
    kernel = _xformers_kernel() if suits else None
    if kernel is None:
        return F.scaled_dot_product_attention(q, k, v)
    # xformers wants (B, N, H, K).
    return kernel(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)).transpose(1, 2)


def attention_backend() -> Literal["xformers", "sdpa"]:
    """Return which kernel `attention` takes for CUDA tensors on this machine."""
    return "sdpa" if _xformers_kernel() is None else "xformers"


@functools.cache
def _xformers_kernel() -> Kernel | None:
    if not torch.cuda.is_available():
        return None
    kernel = _import_quietly()
    return kernel if kernel is not None and _runs(kernel) else None


def _import_quietly() -> Kernel | None:
    # Without its CUDA library xformers imports, but logs a five-line warning.
    logger = logging.getLogger("xformers")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        kernel: Kernel = importlib.import_module("xformers.ops").memory_efficient_attention
    except (ImportError, OSError, AttributeError):
        return None
    finally:
        logger.setLevel(level)
    return kernel


def _runs(kernel: Kernel) -> bool:
    # Importing proves nothing: without libcudart.so.12 every op refuses CUDA tensors.
    probe = torch.zeros(1, 8, 1, _KERNEL_CHANNELS, device="cuda")
    try:
        kernel(probe, probe, probe)
    except torch.OutOfMemoryError:
        # It says nothing of the kernel, and the answer is kept for the process's life.
        raise
    except (NotImplementedError, RuntimeError):
        return False
    return True
