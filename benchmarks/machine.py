"""What a benchmark ran on, and how fast its matrix units really are."""

import platform
import re
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

_PROC = Path("/proc/self")


def command() -> str:
    """Return the command line that this process was started with."""
    return "python " + shlex.join([Path(sys.argv[0]).as_posix(), *sys.argv[1:]])


def settle(device: torch.device) -> None:
    """Set what sampler actors set: kernels that do not change from run to run.

    Matrix products may round float32 to TF32, as CUDA's convolutions do by default.
    """
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    if device.type == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32


def describe(device: torch.device) -> str:
    """Return hardware and versions in a line."""
    versions = f"Python {platform.python_version()}, torch {torch.__version__}"
    if device.type == "cuda":
        cuda, cudnn = torch.version.cuda, torch.backends.cudnn.version()
        return f"{torch.cuda.get_device_name(device)}, {versions}, CUDA {cuda}, cuDNN {cudnn}"
    name = torch.cpu.get_capabilities().get("cpu_name") or platform.machine()
    return f"{torch.get_num_threads()} threads of {name}, {versions}"


def synchronize(device: torch.device) -> None:
    """Wait until a device has done all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def matrix_peak(device: torch.device, dtype: torch.dtype) -> float:
    """Return the TFLOP/s of a large matrix product: the best of several, and of two libraries.

    A CPU's product is timed as a convolution of 1x1 too: that is oneDNN's, which is the faster one
    where MKL does not know the processor.
    """
    size = 8192 if device.type == "cuda" else 2048
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    products: list[Callable[[], Tensor]] = [lambda: a @ b]
    if device.type == "cpu":
        voxels = a.t().reshape(1, size, size, 1).contiguous(memory_format=torch.channels_last)
        weights = b.t().reshape(size, size, 1, 1).contiguous(memory_format=torch.channels_last)
        products.append(lambda: F.conv2d(voxels, weights))
    return max(2 * size**3 / _fastest(product, device) / 1e12 for product in products)


def _fastest(call: Callable[[], Tensor], device: torch.device) -> float:
    best = float("inf")
    for _ in range(10):
        synchronize(device)
        start = time.perf_counter()
        call()
        synchronize(device)
        best = min(best, time.perf_counter() - start)
    return best


class PeakMemory:
    """The most memory that was in use since `start`: of the device, or resident on a CPU."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def start(self) -> None:
        """Forget what was before."""
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)
        elif _PROC.exists():
            (_PROC / "clear_refs").write_text("5")

    def gib(self) -> float:
        """Return the peak in GiB; NaN where the system does not tell."""
        if self._device.type == "cuda":
            return torch.cuda.max_memory_allocated(self._device) / 2**30
        if not _PROC.exists():
            return float("nan")
        found = re.search(r"VmHWM:\s+(\d+) kB", (_PROC / "status").read_text())
        return int(found[1]) / 2**20 if found else float("nan")
