"""torch, GPUs and attention, on machines that this one is not."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from jobs.doctor import attention_kernel, torch_build
from jobs.doctor.asked import Asked
from jobs.doctor.finding import Finding, Verdict
from models import attention

GIB = 2**30
DRIVER = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar  5 22:23:56 UTC 2024\n"
OPEN_DRIVER = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.95.05  Release Build\n"


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Return what is found of a machine with so many GPUs, and a torch as the arguments say."""

    def find(
        device: str = "auto",
        *,
        cuda: str | None = "12.8",
        there: int = 1,
        seen: int = 1,
        free: float = 70.0,
        computes: bool = True,
        driver: str = DRIVER,
    ) -> dict[str, Finding]:
        (tmp_path / "version").write_text(driver)
        for index in range(there):
            (tmp_path / f"nvidia{index}").touch()
        (tmp_path / "nvidiactl").touch()
        monkeypatch.setattr(torch_build, "_DRIVER", tmp_path / "version")
        monkeypatch.setattr(torch_build, "_DEVICES", tmp_path)
        monkeypatch.setattr(torch.version, "cuda", cuda)
        monkeypatch.setattr(torch, "zeros", zeros(computes))
        about = SimpleNamespace(name="NVIDIA H100", major=9, minor=0)
        for name, value in {
            "is_available": lambda: bool(cuda and seen),
            "device_count": lambda: seen,
            "init": refuse,
            "get_device_properties": lambda _: about,
            "mem_get_info": lambda _: (int(free * GIB), 80 * GIB),
        }.items():
            monkeypatch.setattr(torch.cuda, name, value)
        return {one.check: one for one in torch_build.check(Asked(device=device))}

    return find


def refuse() -> None:
    raise RuntimeError("The NVIDIA driver on your system is too old (found version 11040)")


def zeros(computes: bool) -> Any:
    kept = torch.zeros

    def made(*shape: Any, device: str = "cpu", **options: Any) -> torch.Tensor:
        if device.startswith("cuda") and not computes:
            raise RuntimeError("no kernel image is available for execution on the device\nmore")
        return kept(*shape, **options)

    return made


def test_a_gpu_is_told_with_its_memory_and_what_it_can(found) -> None:
    findings = found()
    assert findings["gpu 0"].verdict is Verdict.ok
    assert findings["gpu 0"].found == (
        "NVIDIA H100, 70.0 GiB free of 80.0 GiB, capability 9.0, bfloat16 yes"
    )
    assert findings["driver"].found == "NVIDIA 550.54.15, for torch's CUDA 12.8"
    assert "built for CUDA 12.8" in findings["torch"].found


def test_the_version_of_an_open_driver_is_read_too(found) -> None:
    assert "NVIDIA 580.95.05" in found(driver=OPEN_DRIVER)["driver"].found


@pytest.mark.parametrize(
    ("device", "verdict"),
    [("auto", Verdict.warning), ("cuda", Verdict.problem), ("cpu", Verdict.ok)],
)
def test_a_torch_without_cuda_beside_a_gpu_is_told(found, device: str, verdict: Verdict) -> None:
    gpu = found(device, cuda=None, there=2)["gpu"]
    assert gpu.verdict is verdict
    assert gpu.found.startswith("2 ")
    if device != "cpu":
        assert "built without CUDA" in gpu.found
        assert "pytorch.org" in gpu.advice


def test_a_driver_that_is_too_old_is_told_in_torchs_own_words(
    found, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    gpu = found(seen=0)["gpu"]
    assert gpu.verdict is Verdict.warning
    assert "too old (found version 11040)" in gpu.found
    assert "CUDA_VISIBLE_DEVICES=''" in gpu.found
    assert "Update the driver" in gpu.advice


def test_no_gpu_is_a_problem_only_where_one_is_asked_for(found) -> None:
    assert found(cuda=None, there=0)["gpu"].verdict is Verdict.ok
    asked = found("cuda", cuda=None, there=0)["gpu"]
    # The folder of the first call is another's: the nodes are counted anew.
    assert asked.verdict is Verdict.problem
    assert "no NVIDIA GPU" in asked.found


def test_a_gpu_that_torch_has_no_kernels_for_is_a_problem(found) -> None:
    gpu = found(computes=False)["gpu 0"]
    assert gpu.verdict is Verdict.problem
    assert "no kernel image" in gpu.found
    assert "more" not in gpu.found


def test_a_gpu_that_others_fill_is_warned_of(found) -> None:
    gpu = found(free=3.0)["gpu 0"]
    assert gpu.verdict is Verdict.warning
    assert "nvidia-smi" in gpu.advice


def test_a_torch_that_does_not_load_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "torch", None)
    (broken,) = torch_build.check(Asked())
    assert (broken.check, broken.verdict) == ("torch", Verdict.problem)


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch):
    """Return what is found of attention where CUDA is there."""

    def find(cuda: str, *, backend: str, installed: tuple[str, ...]) -> Finding:
        monkeypatch.setattr(attention_kernel, "on_cuda", lambda _: True)
        monkeypatch.setattr(attention, "attention_backend", lambda: backend)
        monkeypatch.setattr(attention_kernel, "_why_not", lambda: "no libcudart.so.12")
        monkeypatch.setattr(attention_kernel, "_is_installed", lambda name: name in installed)
        monkeypatch.setattr(
            attention_kernel, "find_spec", lambda name: name if name in installed else None
        )
        monkeypatch.setattr(torch.version, "cuda", cuda)
        (finding,) = attention_kernel.check(Asked())
        return finding

    return find


def test_kernels_that_run_are_told(kernel) -> None:
    found = kernel("12.8", backend="xformers", installed=("xformers",))
    assert found.verdict is Verdict.ok
    assert found.found.startswith("xformers ")


def test_a_cuda_13_torch_without_the_cuda_12_runtime_is_told_the_extra(kernel) -> None:
    found = kernel("13.0", backend="sdpa", installed=("xformers",))
    assert found.verdict is Verdict.warning
    assert "does not bring the CUDA 12 runtime" in found.found
    assert "pip install 'ct-factory[cuda13]'" in found.advice


@pytest.mark.parametrize(
    ("cuda", "installed"),
    [("12.8", ("xformers",)), ("13.0", ("xformers", "nvidia-cuda-runtime-cu12"))],
)
def test_where_the_runtime_is_there_the_extra_is_not_the_advice(
    kernel, cuda: str, installed: tuple[str, ...]
) -> None:
    found = kernel(cuda, backend="sdpa", installed=installed)
    assert found.verdict is Verdict.warning
    assert "cuda13" not in found.advice


def test_a_machine_without_xformers_is_told_how_to_have_it(kernel) -> None:
    found = kernel("12.8", backend="sdpa", installed=())
    assert "--no-deps xformers" in found.advice


def test_on_a_cpu_attention_is_torchs_own_and_well() -> None:
    (found,) = attention_kernel.check(Asked(device="cpu"))
    assert found.verdict is Verdict.ok
    assert found.found.startswith("torch's own, on the CPU")
