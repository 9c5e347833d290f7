"""Which kernel attention takes, and why not the other."""

import importlib
import logging
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

from jobs.doctor.asked import Asked
from jobs.doctor.finding import Finding, ok, warning
from jobs.doctor.torch_build import on_cuda

_RUNTIME = "nvidia-cuda-runtime-cu12"


def check(asked: Asked) -> Iterator[Finding]:
    """Look at what `models.attention` takes here."""
    import torch

    from models.attention import attention_backend

    if not on_cuda(asked):
        yield ok(
            "attention",
            f"torch's own, on the CPU; xformers ({_xformers() or 'not installed'}) is for CUDA alone",
        )
    elif attention_backend() == "xformers":
        yield ok("attention", f"xformers {_xformers()} on CUDA; torch's own where it is compiled")
    else:
        yield warning("attention", *_without_kernels(torch.version.cuda or ""))


def _without_kernels(cuda: str) -> tuple[str, str, str]:
    """Return found, expected and advice where CUDA is there, and xformers' kernels are not."""
    expected = "xformers' kernels; without them the volumes are as good, to a float's rounding"
    if find_spec("xformers") is None:
        return (
            "torch's own: xformers is not installed",
            expected,
            "Install it: pip install --no-deps xformers, which leaves torch as it is.",
        )
    found = f"torch's own: xformers {_xformers()} has no kernel that runs here ({_why_not()})"
    if cuda.startswith("12.") or _is_installed(_RUNTIME):
        return (
            found,
            expected,
            "See python -m xformers.info, and install the xformers of this torch.",
        )
    return (
        f"{found}; torch is built for CUDA {cuda}, which does not bring the CUDA 12 runtime",
        expected,
        f"Install that beside it: pip install 'ct-factory[cuda13]', which is {_RUNTIME}.",
    )


def _why_not() -> str:
    logger = logging.getLogger("xformers")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        library = importlib.import_module("xformers._cpp_lib")
    except (ImportError, OSError) as error:
        return str(error).splitlines()[0] if str(error) else type(error).__name__
    finally:
        logger.setLevel(level)
    # A name of xformers' own, which it may drop.
    reason = getattr(library, "_cpp_library_load_exception", None)
    cause = getattr(reason, "__cause__", None) or reason
    return str(cause).splitlines()[0] if cause and str(cause) else "every one refuses CUDA tensors"


def _xformers() -> str:
    return version("xformers") if _is_installed("xformers") else ""


def _is_installed(package: str) -> bool:
    try:
        version(package)
    except PackageNotFoundError:
        return False
    return True
