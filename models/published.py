"""Weights that were published with Lung-DDPM, or trained with its code, as a network of ours.

torch file {step, model, ema} --names and shapes--> architecture --> `UNet3D`, `NoiseSchedule`
"""

import os
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import torch
from torch import Tensor

from models.errors import CheckpointError
from models.published_names import infer_config, published_names
from models.schedule import NoiseSchedule, ScheduleConfig
from models.unet3d import UNet3D

Weights = Literal["ema", "model"]
"""The exponential moving average, or the weights of the last step."""

_NETWORK = "denoise_fn."
_BETAS_TOLERANCE = 1e-5
_SHOWN_KEYS = 8

_EXPECTED = "a torch file with step, model and ema, as Lung-DDPM's training writes it"
_DOWNLOAD = "Copy or download it again"

_BUFFERS = frozenset(
    {
        "betas",
        "alphas_cumprod",
        "alphas_cumprod_prev",
        "sqrt_alphas_cumprod",
        "sqrt_one_minus_alphas_cumprod",
        "log_one_minus_alphas_cumprod",
        "sqrt_recip_alphas_cumprod",
        "sqrt_recipm1_alphas_cumprod",
        "posterior_variance",
        "posterior_log_variance_clipped",
        "posterior_mean_coef1",
        "posterior_mean_coef2",
        "posterior_mean_coef3",
    }
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Published:
    """What a published checkpoint holds."""

    denoiser: UNet3D
    """The network, float32, in eval mode."""

    schedule: NoiseSchedule
    """The cosine schedule that it was trained with."""

    step: int
    """Optimizer steps that it was trained for; 0 where the file does not say."""

    is_schedule_assumed: bool
    """Whether neither the file nor the caller said how many diffusion steps there are."""


def read_published(
    path: str | os.PathLike[str], *, use: Weights = "ema", timesteps: int | None = None
) -> Published:
    """Read a checkpoint of Lung-DDPM's own code: any width, depth, input channels and T.

    The architecture follows from names and shapes, with one attention head, as theirs has. T is
    the length of the schedule's buffers; where the file has none, `timesteps`, or else the
    paper's 250. The file is never unpickled beyond tensors, so it cannot run code.

    Args:
        path: Torch file `{"step", "model", "ema"}`.
        use: Which of its two sets of weights.
        timesteps: T, for a file without the schedule's buffers.

    Raises:
        CheckpointError: The file is missing, torn, holds more than tensors, is no network of this
            family, or has another schedule; all tensors that do not fit are named at once.
    """
    path = Path(path)
    content = _load(path)
    state = _state_of(path, content, use)
    denoiser = _denoiser_of(path, state)
    schedule = _schedule_of(path, state, timesteps)
    return Published(
        denoiser=denoiser,
        schedule=schedule,
        step=_step_of(path, content),
        is_schedule_assumed=timesteps is None and not _BUFFERS & state.keys(),
    )


def _refused(path: Path, found: str, expected: str, way_out: str) -> CheckpointError:
    return CheckpointError(
        f"published checkpoint {path}: found {found}; expected {expected}. {way_out}"
    )


def _load(path: Path) -> dict[object, object]:
    if path.is_dir():
        way_out = "Give the file itself; a folder with model.json needs no import"
        raise _refused(path, "a folder", _EXPECTED, way_out)
    if not path.exists():
        raise _refused(path, "no such file", _EXPECTED, "Correct the path")
    # Opened here: torch would take a name that ends in .safetensors for another format.
    with path.open("rb") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            content = torch.load(file, map_location="cpu", weights_only=True)
        except MemoryError:
            raise
        except Exception as error:  # Torn bytes raise nearly anything, OSError too.
            raise _unreadable(path, error) from error
    if not isinstance(content, dict):
        raise _refused(path, f"a {type(content).__name__}", _EXPECTED, "Give another file")
    return content


def _unreadable(path: Path, error: Exception) -> CheckpointError:
    # torch's own text is left out: it advises to load the file without the safeguard.
    if name := re.search(r"GLOBAL (\S+)", str(error)):
        return _refused(
            path,
            f"{name[1]} in it, so it was not loaded: to do so would run code from the file",
            "tensors, numbers, texts and nothing else",
            "Save it again as plain tensors where it was made",
        )
    found = f"{path.stat().st_size} bytes that are torn or no torch file"
    return _refused(path, found, _EXPECTED, _DOWNLOAD)


def _state_of(path: Path, content: Mapping[object, object], use: Weights) -> dict[str, object]:
    if use not in content:
        other = "model" if use == "ema" else "ema"
        way_out = f"Take --use {other}" if other in content else "Give another file"
        raise _refused(path, f"no key {use!r} among {_listed(content)}", _EXPECTED, way_out)
    state = content[use]
    if not isinstance(state, dict):
        found = f"a {type(state).__name__} under {use!r}"
        raise _refused(path, found, "named tensors", "Give another file")
    return {str(name): value for name, value in state.items()}


def _listed(names: Mapping[object, object] | Mapping[str, object]) -> str:
    shown = ", ".join(str(name) for name in list(names)[:_SHOWN_KEYS])
    left = len(names) - _SHOWN_KEYS
    return f"{shown or 'no keys at all'}{f' and {left} more' if left > 0 else ''}"


def _denoiser_of(path: Path, state: Mapping[str, object]) -> UNet3D:
    network = {
        name.removeprefix(_NETWORK): value
        for name, value in state.items()
        if name.startswith(_NETWORK) and isinstance(value, Tensor)
    }
    if not network:
        found = f"no tensor under {_NETWORK} among {_listed(state)}"
        raise _refused(path, found, "those of Lung-DDPM's U-Net", "Give another file")
    denoiser = _unfilled(path, network)
    modules, expected = published_names(denoiser.config), denoiser.state_dict()
    names = {own: _published_name(own, modules) for own in expected}
    _check_fit(path, state, {names[own]: tensor for own, tensor in expected.items()})
    weights = {own: network[name.removeprefix(_NETWORK)].float() for own, name in names.items()}
    _check_finite(path, {names[own]: tensor for own, tensor in weights.items()})
    denoiser.to_empty(device="cpu").load_state_dict(weights)
    return denoiser.eval()


def _unfilled(path: Path, network: Mapping[str, Tensor]) -> UNet3D:
    try:
        with torch.device("meta"):
            return UNet3D(infer_config(network))
    except ValueError as error:
        raise CheckpointError(
            f"published checkpoint {path}: its tensors make no network of Lung-DDPM's family: "
            f"{error}. Give weights of Lung-DDPM or Lung-DDPM+"
        ) from error


def _published_name(own: str, modules: Mapping[str, str]) -> str:
    module, _, kind = own.rpartition(".")
    return f"{_NETWORK}{modules[module]}.{kind}"


def _check_fit(path: Path, found: Mapping[str, object], expected: Mapping[str, Tensor]) -> None:
    problems = {
        "missing": sorted(expected.keys() - found.keys()),
        "unknown": sorted(found.keys() - expected.keys() - _BUFFERS),
        "of another kind": [
            f"{name} {_kind(found[name])} instead of {tuple(tensor.shape)}"
            for name, tensor in sorted(expected.items())
            if name in found and not _fits(found[name], tensor)
        ],
    }
    listed = [
        f"{len(names)} {problem} ({', '.join(names)})"
        for problem, names in problems.items()
        if names
    ]
    if listed:
        raise _refused(
            path,
            f"tensors that do not fit its own architecture: {'; '.join(listed)}",
            f"the {len(expected)} tensors of a Lung-DDPM U-Net",
            "Give weights of Lung-DDPM or Lung-DDPM+ as their code wrote them",
        )


def _fits(found: object, expected: Tensor) -> bool:
    return isinstance(found, Tensor) and _is_plain(found) and found.shape == expected.shape


def _is_plain(tensor: Tensor) -> bool:
    return tensor.is_floating_point() and not tensor.is_sparse and not tensor.is_meta


def _kind(found: object) -> str:
    if not isinstance(found, Tensor):
        return f"a {type(found).__name__}"
    if found.is_sparse or found.is_meta:
        return "without its numbers" if found.is_meta else "sparse"
    return f"{tuple(found.shape)}" if found.is_floating_point() else f"{found.dtype}"


def _check_finite(path: Path, weights: Mapping[str, Tensor]) -> None:
    broken = [name for name, tensor in weights.items() if not bool(tensor.isfinite().all())]
    if broken:
        raise _refused(
            path,
            f"NaN or infinite values in {len(broken)} tensors ({', '.join(broken)})",
            "finite weights",
            f"{_DOWNLOAD}, or take one from before the training diverged",
        )


def _schedule_of(path: Path, state: Mapping[str, object], timesteps: int | None) -> NoiseSchedule:
    buffers = {name: state[name] for name in sorted(_BUFFERS & state.keys())}
    if not buffers:
        config = ScheduleConfig() if timesteps is None else ScheduleConfig(num_steps=timesteps)
        return NoiseSchedule(config)
    lengths = {name: _length(buffer) for name, buffer in buffers.items()}
    num_steps = next(iter(lengths.values()))
    if num_steps < 1 or len(set(lengths.values())) > 1:
        told = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise _refused(path, f"schedule buffers of lengths {told}", "one T, at least 1", _DOWNLOAD)
    if timesteps not in (None, num_steps):
        found = f"a schedule of {num_steps} timesteps"
        raise _refused(path, found, f"{timesteps}, as asked", "Leave --timesteps out")
    schedule = NoiseSchedule(ScheduleConfig(num_steps=num_steps))
    _check_cosine(path, buffers, schedule)
    return schedule


def _length(buffer: object) -> int:
    is_series = isinstance(buffer, Tensor) and _is_plain(buffer) and buffer.ndim == 1
    return cast("Tensor", buffer).numel() if is_series else 0


def _check_cosine(path: Path, buffers: Mapping[str, object], schedule: NoiseSchedule) -> None:
    for name in ("betas", "alphas_cumprod"):
        found, own = buffers.get(name), getattr(schedule, name)
        if not isinstance(found, Tensor):
            continue
        off = float((found.double() - own).abs().max())
        # A buffer in half precision cannot be nearer than that precision.
        tolerance = max(_BETAS_TOLERANCE, torch.finfo(found.dtype).eps)
        # Not `off > tolerance`: a NaN must be refused too.
        if not off <= tolerance:
            raise _refused(
                path,
                f"{name} that are up to {off:.2g} off the cosine schedule of "
                f"{schedule.num_steps} timesteps",
                f"at most {tolerance:.0e}",
                "Weights of another schedule cannot be used: take some that were trained with "
                "the cosine schedule",
            )


def _step_of(path: Path, content: Mapping[object, object]) -> int:
    step = cast("Any", content.get("step", 0))
    try:
        return int(step)
    except (TypeError, ValueError, OverflowError, RuntimeError) as error:
        raise _refused(path, f"{step!r} as its step", "a number", _DOWNLOAD) from error
