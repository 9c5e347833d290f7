"""What a benchmark ran on, and how fast its matrix units really are."""

import platform
import re
import time
from pathlib import Path

import torch

_PROC = Path("/proc/self")


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
    """Return the TFLOP/s of a large matrix product, the best of several."""
    size = 8192 if device.type == "cuda" else 2048
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    best = float("inf")
    for _ in range(10):
        synchronize(device)
        start = time.perf_counter()
        a @ b
        synchronize(device)
        best = min(best, time.perf_counter() - start)
    return 2 * size**3 / best / 1e12


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
