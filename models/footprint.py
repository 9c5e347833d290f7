"""How much memory the network takes on a GPU, and how many operations; found without a GPU.

The network runs on torch's meta device, whose tensors have a shape and a dtype but no data, and
every storage is followed from its birth to its death. Not seen are what a kernel takes and gives
back inside one operation (cuDNN's workspaces), the CUDA context, and gaps between allocations.
"""

import weakref
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, get_args

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

# What torch's notes on extending it name; it has no public alias, nor a public tool that does this.
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from models.engine import Precision, SamplingEngine
from models.schedule import NoiseSchedule, ScheduleConfig
from models.unet3d import UNet3D
from models.unet3d_config import UNet3DConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class Footprint:
    """Bytes that one worker holds on its GPU."""

    state_bytes: int
    """Float32 weights. When sampling, also the engine's copy of them; when training, also their
    gradients, Adam's two moments and the moving average."""

    activation_bytes: int
    """The most that was alive at one moment beyond the state."""

    @property
    def total_bytes(self) -> int:
        """State and activations together."""
        return self.state_bytes + self.activation_bytes


def peak_bytes(call: Callable[[], object]) -> int:
    """Return the most bytes of tensors alive at one moment of `call`, on whatever device.

    Counted are storages, so views are free, that were made inside `call`, also in a backward pass.
    """
    live = _LiveBytes()
    with live:
        call()
    return live.peak


def sampling_footprint(
    config: UNet3DConfig, *, grid: int | None = None, precision: Precision = "float32"
) -> Footprint:
    """Return what a `SamplingEngine` takes for one prediction of the noise, for one volume.

    A sampler holds beside it a handful of volumes of one channel; the weights that the engine copied
    are its caller's to drop.

    Args:
        config: The network.
        grid: Side of the volume, in voxels; None takes the network's own. Attention stays at the
            level where `config.grid` puts it.
        precision: Of the engine.

    Raises:
        ValueError: The grid does not fit the network, or the precision is unknown.
    """
    network, x, t = _on_meta(config, grid, batch_size=1)
    # Not inference mode: it hides what operations made of others, such as group norm, copy.
    with _LiveBytes() as live, _CudaKernels(channels_last=True), torch.no_grad():
        engine = SamplingEngine(network, precision=precision)
        copy, live.peak = live.now, live.now
        engine(x, t)
    return Footprint(state_bytes=copy, activation_bytes=live.peak - copy)


def training_footprint(
    config: UNet3DConfig,
    *,
    grid: int | None = None,
    precision: Precision = "float32",
    activation_checkpointing: bool = False,
    batch_size: int = 1,
) -> Footprint:
    """Return what a training step takes: L1 loss and backward pass beside Adam and the average.

    Gradients count as state: with DistributedDataParallel they stay, as views of its buckets, which
    then take nothing more.

    Args:
        config: The network.
        grid: Side of the volumes, in voxels; None takes the network's own.
        precision: Of the computation; weights, gradients and Adam stay float32.
        activation_checkpointing: As the network's attribute.
        batch_size: Volumes in one forward pass.

    Raises:
        ValueError: The grid does not fit the network, or the precision is unknown.
    """
    if precision not in get_args(Precision):
        raise ValueError(f"precision is {precision!r}; known are {', '.join(get_args(Precision))}")
    network, x, t = _on_meta(config, grid, batch_size)
    network.activation_checkpointing = activation_checkpointing
    noise, state, casts = torch.empty_like(x[:, :1]), _COPIES * _weight_bytes(network), 0
    if precision == "bfloat16":
        # Autocast passes meta tensors by. This makes the same activations, since norms compute in
        # float32 either way; only upsampling, which CUDA's autocast takes through float32, differs,
        # and that is not where the peak is.
        network, x = network.bfloat16(), x.bfloat16()
        casts = _weight_bytes(network)
    for weight in network.parameters():
        weight.grad = torch.zeros_like(weight)

    def step() -> None:
        with _CudaKernels(channels_last=False):
            eps: Tensor = network(x, t)
        F.l1_loss(eps.to(noise.dtype), noise).backward()  # type: ignore[no-untyped-call]

    return Footprint(state_bytes=state, activation_bytes=peak_bytes(step) + casts)


def forward_flops(config: UNet3DConfig, *, grid: int | None = None) -> int:
    """Return the floating-point operations of one prediction; a multiply-add counts as two.

    Counted are convolutions, linear layers and attention.

    Raises:
        ValueError: The grid does not fit the network.
    """
    network, x, t = _on_meta(config, grid, batch_size=1)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(x, t)
    return int(counter.get_total_flops())


def _on_meta(
    config: UNet3DConfig, grid: int | None, batch_size: int
) -> tuple[UNet3D, Tensor, Tensor]:
    side = config.grid if grid is None else grid
    with torch.device("meta"):
        x = torch.empty(batch_size, config.in_channels, side, side, side)
        return (
            UNet3D(config, NoiseSchedule(ScheduleConfig())),
            x,
            torch.empty(batch_size, dtype=torch.long),
        )


_COPIES = 5
"""Numbers that training holds for a weight: itself, its gradient, Adam's two moments, the moving average."""


def _weight_bytes(network: UNet3D) -> int:
    return sum(weight.nbytes for weight in network.parameters())


class _CudaKernels(TorchFunctionMode):
    """Makes of meta tensors what CUDA's kernels would, where torch's choice for them differs."""

    def __init__(self, *, channels_last: bool) -> None:
        super().__init__()
        self._channels_last = channels_last

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func is F.scaled_dot_product_attention:
            # The fused kernel; a meta tensor would get one that holds all N x N scores.
            fused = torch.ops.aten._scaled_dot_product_efficient_attention
            return fused(*args, attn_bias=None, compute_log_sumexp=torch.is_grad_enabled())[0]
        out = func(*args, **(kwargs or {}))
        if func is F.conv3d and self._channels_last:
            # It matters to group norm, which on CUDA first copies voxels that lie channels last.
            return out.to(memory_format=torch.channels_last_3d)
        return out


class _LiveBytes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of storages that appear while it is active, until they are freed."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = 0
        self.peak = 0
        self._known: set[int] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        # An argument that was never an output is older than this mode; its views cost nothing.
        for tensor in _tensors((args, kwargs)):
            self._meet(tensor, is_new=False)
        out = func(*args, **(kwargs or {}))
        for tensor in _tensors(out):
            self._meet(tensor, is_new=True)
        self.peak = max(self.peak, self.now)
        return out

    def _meet(self, tensor: Tensor, *, is_new: bool) -> None:
        storage = tensor.untyped_storage()
        if id(storage) in self._known:
            return
        size = storage.nbytes() if is_new else 0
        self._known.add(id(storage))
        self.now += size
        weakref.finalize(storage, self._forget, id(storage), size).atexit = False

    def _forget(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.now -= size


def _tensors(tree: object) -> Iterator[Tensor]:
    if isinstance(tree, Tensor):
        yield tree
    elif isinstance(tree, Mapping):
        yield from _tensors(list(tree.values()))
    elif isinstance(tree, list | tuple):
        for branch in tree:
            yield from _tensors(branch)
