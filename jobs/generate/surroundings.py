"""What can move the last bit of a voxel without being part of the plan."""

import os

import numpy as np
import scipy
import torch

from jobs.generate.config import GenerateConfig
from models.attention import attention_backend


def device_name(device: torch.device) -> str:
    """Return what a row says of the device."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def environment(device: torch.device, config: GenerateConfig) -> str:
    """Return what can move the last bit of a voxel without being part of the plan."""
    if not config.traits.needs_model:
        return f"numpy {np.__version__}, scipy {scipy.__version__}"
    parts = [f"torch {torch.__version__}", device_name(device), attention_backend()]
    if config.compiled:
        parts.append("compiled")
    if device.type == "cuda":
        parts += [
            f"cuda {torch.version.cuda}",
            f"cudnn {torch.backends.cudnn.version()}",  # type: ignore[no-untyped-call]
            f"tf32 {torch.backends.cudnn.allow_tf32} {torch.backends.cuda.matmul.allow_tf32}",
        ]
    else:
        capability = torch.backends.cpu.get_cpu_capability()
        parts += [capability, f"threads {config.num_threads}"]
    return ", ".join(parts)


def make_deterministic() -> None:
    """Choose kernels by name and not by the clock: the same item, the same voxels."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
