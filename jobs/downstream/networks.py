"""A network of MONAI by its name, checked and tried before hours are spent."""

import difflib
import inspect
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from factory.axes import Triple
from factory.errors import UsageError
from jobs.downstream.config import DownstreamConfig
from jobs.downstream.padded_network import AIR, NUM_CLASSES, PaddedNetwork
from jobs.evaluate.extractors import INSTALL

_KNOWN = {"spatial_dims": 3, "in_channels": 1, "out_channels": NUM_CLASSES}
"""Arguments that follow from the task, where a network has them."""

_USUAL = {"AttentionUnet": {"channels": (16, 32, 64, 128, 256), "strides": (2, 2, 2, 2)}}
"""What a network is called with where nothing else is said: the filters that the authors of Attention U-Net
took for CTs (see `DownstreamConfig`)."""

_DIVISOR_WITHOUT_STRIDES = 32
_REASON_LENGTH = 200

SEGMENTERS = (
    "AttentionUnet",
    "BasicUNet",
    "HighResNet",
    "MedNeXt",
    "SegResNet",
    "SegResNetDS",
    "SwinUNETR",
    "UNet",
    "VNet",
)
"""What is said to people who ask for a network that there is not: those that take whole volumes of any
grid. MONAI has a hundred others, most of them for other tasks."""

_ABSENT = re.compile(r"No module named '([A-Za-z0-9_]+)")


@dataclass(frozen=True, slots=True)
class NetworkCall:
    """A network, and how it is called."""

    name: str
    """As `monai.networks.nets` calls it."""
    arguments: Mapping[str, Any]
    divisors: tuple[int, int, int]
    """What divides (z, y, x) of a volume that the network takes."""


def call_of(config: DownstreamConfig) -> NetworkCall:
    """Return how the network of a recipe is called.

    Raises:
        UsageError: MONAI is not installed or has no such network, or its arguments are others.
    """
    parameters = inspect.signature(_class_of(config.network)).parameters
    known = {name: value for name, value in _KNOWN.items() if name in parameters}
    arguments = {**known, **_USUAL.get(config.network, {}), **config.network_args}
    _check_arguments(config.network, parameters, arguments)
    return NetworkCall(config.network, arguments, _divisors(config, arguments))


def check_network(config: DownstreamConfig) -> PaddedNetwork:
    """Refuse a network that no worker could make, before any is started; return it otherwise.

    Raises:
        UsageError: As in `call_of` and `build_network`, or it has nothing to train.
    """
    with torch.random.fork_rng():
        network = build_network(call_of(config))
    if not any(True for _ in network.parameters()):
        raise UsageError(
            f"[downstream] network {config.network}: found no weights in it; expected some to train. Choose "
            f"another, as {', '.join(SEGMENTERS)}."
        )
    return network


def build_network(call: NetworkCall) -> PaddedNetwork:
    """Return a network with fresh weights, drawn from torch's generator.

    Raises:
        UsageError: MONAI is not installed, or its network does not take the arguments.
    """
    try:
        network = _class_of(call.name)(**call.arguments)
    except ImportError as error:
        raise _lacking(call.name, error) from error
    except Exception as error:
        # What a network raises for arguments that it cannot mean is its own affair.
        raise UsageError(
            f"[downstream.network_args]: {call.name} does not take {_shown(call.arguments)}: {_reason(error)}; "
            f"expected what MONAI's {call.name} takes. Correct them."
        ) from error
    return PaddedNetwork(network, call.divisors, call.name)


def try_network(network: PaddedNetwork, shape: Triple | Sequence[int]) -> None:
    """Feed a network with air of a grid, to fail before hours are spent.

    Args:
        network: On the device to train on.
        shape: (z, y, x) voxels.

    Raises:
        UsageError: It does not take the grid, or gives something else than two logits a voxel.
    """
    device = next(network.parameters()).device
    air = torch.full((1, 1, *(int(num) for num in shape)), AIR, device=device)
    network.train()
    try:
        with torch.no_grad(), torch.random.fork_rng():
            network(air)
    except UsageError:
        raise
    except ImportError as error:
        raise _lacking(network.name, error) from error
    except Exception as error:
        if device.type == "meta" and _needs_numbers(error):
            return
        # What a network raises for a grid that it cannot mean is its own affair.
        raise UsageError(
            f"[downstream] network {network.name}: found that it fails on a volume of {tuple(shape)} voxels "
            f"({_reason(error)}); expected it to take one. Set divisible_by, or what its arguments say of "
            "the grid, or choose another network."
        ) from error


def try_without_weights(network: PaddedNetwork, shape: Triple | Sequence[int]) -> None:
    """Feed a network with the shape of a grid alone: no memory, no time, and nothing to compute.

    What it lacks, and what does not fit, is told before any process is started. One that asks for
    numbers on its way, which there are none of, is let through: its run will try it.

    Args:
        network: Loses its weights.
        shape: (z, y, x) voxels.

    Raises:
        UsageError: As in `try_network`.
    """
    try_network(network.to("meta"), shape)


def _needs_numbers(error: Exception) -> bool:
    named = re.search(r"\bmeta\b", str(error), re.IGNORECASE)
    return isinstance(error, NotImplementedError) or named is not None


def _lacking(name: str, error: ImportError) -> UsageError:
    found = _ABSENT.search(str(error))
    if found is None:
        return UsageError(
            f"[downstream] network {name}: found that it cannot be imported ({_reason(error)}); expected all that "
            "it needs. Install that, or choose another network."
        )
    return UsageError(
        f"[downstream] network {name}: found no {found[1]}, which it needs; expected it. Run `pip install "
        f"{found[1]}`, or choose another network."
    )


def _class_of(name: str) -> type[nn.Module]:
    try:
        from monai.networks import nets
    except ImportError as error:
        raise UsageError(
            f"[downstream] network {name}: found no MONAI, whose network it is; expected it. {INSTALL}."
        ) from error
    known = {key: one for key, one in vars(nets).items() if _is_network(one)}
    if name not in known:
        there = [one for one in SEGMENTERS if one in known]
        like = difflib.get_close_matches(name, there, cutoff=0.4) or there
        raise UsageError(
            f"[downstream] network {name}: MONAI has none of this name; expected one of monai.networks.nets, "
            f"as {', '.join(like)}. Correct the name."
        )
    found: type[nn.Module] = known[name]
    return found


def _is_network(value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, nn.Module)


def _check_arguments(
    name: str, parameters: Mapping[str, inspect.Parameter], arguments: Mapping[str, Any]
) -> None:
    kinds = [one.kind for one in parameters.values()]
    named = [key for key, one in parameters.items() if one.kind not in _UNNAMED]
    unknown = sorted(set(arguments) - set(named))
    if unknown and inspect.Parameter.VAR_KEYWORD not in kinds:
        raise UsageError(
            f"[downstream.network_args] {unknown[0]}: {name} has no such argument; expected some of "
            f"{', '.join(named)}. Correct the name or remove the line."
        )
    needed = [key for key in named if parameters[key].default is inspect.Parameter.empty]
    if missing := [key for key in needed if key not in arguments]:
        raise UsageError(
            f"[downstream.network_args]: found no {missing[0]}; expected it, for {name} needs "
            f"{', '.join(needed)}. Set it."
        )


_UNNAMED = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)


def _divisors(config: DownstreamConfig, arguments: Mapping[str, Any]) -> tuple[int, int, int]:
    if config.divisible_by:
        return (config.divisible_by,) * 3
    strides = arguments.get("strides")
    if not isinstance(strides, list | tuple) or not strides:
        return (_DIVISOR_WITHOUT_STRIDES,) * 3
    each = [one if isinstance(one, list | tuple) else (one,) * 3 for one in strides]
    if not all(len(one) == 3 and all(type(n) is int and n > 0 for n in one) for one in each):
        raise UsageError(
            f"[downstream.network_args] strides: found {strides!r}; expected whole numbers, or three of "
            "them, for each level. Correct them."
        )
    z, y, x = (math.prod(axis) for axis in zip(*each, strict=True))
    return (z, y, x)


def _shown(arguments: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} = {value!r}" for name, value in arguments.items())[:_REASON_LENGTH]


def _reason(error: Exception) -> str:
    text = (str(error).splitlines() or [""])[0][:_REASON_LENGTH]
    if isinstance(error, RuntimeError | ValueError | TypeError) and text:
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
