"""torch, the GPUs of the machine, and whether the one is for the other."""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from jobs.doctor.asked import Asked
from jobs.doctor.finding import Finding, ok, problem, refused, warning
from jobs.doctor.machine import GIB

_DRIVER = Path("/proc/driver/nvidia/version")
_DEVICES = Path("/dev")
_INSTALL = "Install torch for CUDA: the command for your driver is at pytorch.org/get-started."


def check(asked: Asked) -> Iterator[Finding]:
    """Look at torch, its CUDA, and each GPU that it sees."""
    try:
        import torch
    except (ImportError, OSError) as error:
        yield problem(
            "torch", f"it does not load: {error}", "a torch that loads", "Install it again."
        )
        return
    threads, most = torch.get_num_threads(), torch.get_num_interop_threads()
    build = "CUDA " + torch.version.cuda if torch.version.cuda else "the CPU alone"
    yield ok(
        "torch",
        f"{torch.__version__}, built for {build}; threads: {threads} in an operation, {most} "
        "of operations",
    )
    if not torch.cuda.is_available():
        yield _without_gpu(torch, asked)
        return
    # A driver that is told of once is enough for all its GPUs.
    yield ok("driver", f"NVIDIA {_driver() or 'of unknown version'}, for torch's CUDA {build[5:]}")
    for index in range(torch.cuda.device_count()):
        yield _gpu(torch, index)


def on_cuda(asked: Asked) -> bool:
    """Return whether the job that was asked about would compute on a GPU of this machine.

    Args:
        asked: Its `device` counts.
    """
    import torch

    return asked.device != "cpu" and torch.cuda.is_available()


def _without_gpu(torch: ModuleType, asked: Asked) -> Finding:
    nodes = _gpu_nodes()
    if asked.device == "cpu" or (asked.device == "auto" and not nodes):
        there = f"{len(nodes)} here, not asked for" if nodes else "none"
        return ok("gpu", f"{there}; volumes are drawn on the CPU")
    tell = problem if asked.device == "cuda" else warning
    if not nodes:
        return tell(
            "gpu",
            "no NVIDIA GPU on this machine",
            "one, for --device cuda",
            "Use --device cpu, or join a cluster that has one with --ray-address.",
        )
    found = f"{len(nodes)} on this machine (driver {_driver() or 'unknown'}), and torch uses none"
    if not torch.version.cuda:
        return tell("gpu", f"{found}: it is built without CUDA", "a torch for CUDA", _INSTALL)
    if "CUDA_VISIBLE_DEVICES" in os.environ:
        hidden = os.environ["CUDA_VISIBLE_DEVICES"]
        found += f"; CUDA_VISIBLE_DEVICES={hidden!r}"
    return tell(
        "gpu",
        f"{found}: {_why_not(torch)}",
        f"a driver for CUDA {torch.version.cuda}, and a GPU that is not hidden",
        "Update the driver, install a torch for an older CUDA, or unset CUDA_VISIBLE_DEVICES; in a "
        "container, start it with --gpus all.",
    )


def _why_not(torch: ModuleType) -> str:
    try:
        torch.cuda.init()
    except Exception as error:
        # Of several types, and each is the answer that was looked for.
        return str(error)
    return "it does not say why"


def _gpu(torch: ModuleType, index: int) -> Finding:
    check = f"gpu {index}"
    try:
        about = torch.cuda.get_device_properties(index)
        free, total = torch.cuda.mem_get_info(index)
        torch.zeros(1, device=f"cuda:{index}").add_(1).item()
    except RuntimeError as error:
        return refused(
            check,
            RuntimeError(
                f"it does not compute: {str(error).splitlines()[0]}; expected one that torch "
                f"{torch.__version__} has kernels for. Look at nvidia-smi, or install another torch."
            ),
        )
    found = (
        f"{about.name}, {free / GIB:.1f} GiB free of {total / GIB:.1f} GiB, capability "
        f"{about.major}.{about.minor}, bfloat16 {'yes' if about.major >= 8 else 'no'}"
    )
    if free < total / 2:
        return warning(
            check,
            found,
            "more than half of its memory free",
            "Look with nvidia-smi who uses it, and end that or take another GPU with "
            "CUDA_VISIBLE_DEVICES.",
        )
    return ok(check, found)


def _gpu_nodes() -> list[str]:
    try:
        return sorted(n for n in os.listdir(_DEVICES) if re.fullmatch(r"nvidia\d+", n))
    except OSError:
        return []


def _driver() -> str:
    try:
        text = _DRIVER.read_text(encoding="utf-8")
    except OSError:
        return ""
    version = re.search(r"Kernel Module.*?\s(\d+(?:\.\d+)+)", text)
    return version[1] if version else ""
